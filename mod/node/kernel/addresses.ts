/**
 * Addresses of the VXLAN devices, by `index address/length`: a device has its tunnel address and no
 * other, but for the link-local ones that the kernel gives it.
 */
import { type Address, IFA_F_NODAD } from "../../../ffi/route/address.ts";
import { formatIp, mustIp } from "../../net/mod.ts";
import { Reconciler } from "../reconciler.ts";
import { gone } from "./gone.ts";
import type { LinkTable } from "./link_table.ts";

const SCOPE_LINK = 253;

export const addressKey = ({ index, ip, length }: Address): string =>
  `${index} ${formatIp(ip)}/${length}`;

/** Whether an address stands where ours would. */
export function concernsAddresses(links: LinkTable, address: Address): boolean {
  return links.tunnelFamily(address.index) === address.ip.family && address.scope !== SCOPE_LINK;
}

function addressOf(key: string): Address {
  const [index, text] = key.split(" ");
  const [ip, length] = text.split("/");
  return { index: Number(index), ip: mustIp(ip), length: Number(length) };
}

export function tunnelAddresses(links: LinkTable): Reconciler<true> {
  const { socket } = links;
  return new Reconciler<true>({
    name: "address",
    read: () =>
      new Map(
        socket.addresses().filter((a) => concernsAddresses(links, a)).map((a) => [
          addressKey(a),
          true,
        ]),
      ),
    same: () => true,
    put(key) {
      const address = addressOf(key);
      // Nobody else can have it: IPAM gave it.
      const flags = address.ip.family === 6 ? IFA_F_NODAD : undefined;
      socket.addAddress({ ...address, flags });
    },
    remove: (key) => gone(() => socket.deleteAddress(addressOf(key))),
  });
}
