/**
 * IPAM on host-local's files instead of Calico's blocks, for the interface plugin when the configuration
 * says `ipam.type: host-local` (as Calico's does on nodes whose addresses Kubernetes plans). It is what
 * ADD, DEL, CHECK and GC ask of IPAM, so they need not know which of the two it is.
 *
 * A file knows container and interface; the handle of an attachment is made of these and the network's
 * name, so a handle's files are those whose own names make it. As in the real plugin a file that names
 * the container alone counts where there is no better one.
 */

import { formatIp, type Ip, sameIp } from "../../mod/net/mod.ts";
import type {
  AssignedAddress,
  AssignIpRequest,
  Assignment,
  AutoAssignRequest,
  HandOverRequest,
  ReleaseRequest,
  ReleaseResult,
} from "../../mod/ipam/types.ts";
import { addressOf } from "../../mod/ipam/assign_ip.ts";
import type { CniIpam } from "../deps.ts";
import type { Attachment } from "../environment.ts";
import { CniCode, CniError } from "../errors.ts";
import { handleId } from "../identity.ts";
import { type HostLocalConf, resolveSets, usesPodCidr } from "./conf.ts";
import { HostLocalFiles, type OpenFolder, type Reservation } from "./files.ts";
import { candidates, formatSet, rangeOf, type RangeSet } from "./ranges.ts";

/** In the place of a pool's name. */
const POOL = "host-local";

export class HostLocalIpam implements CniIpam {
  readonly #files: HostLocalFiles;

  /**
   * `attachment`: for whom addresses are; undefined for a GC. `podCidrs`: asked only where needed.
   * `ownAddresses`: the machine's, which ranges may hold and no pod gets.
   */
  constructor(
    readonly network: string,
    readonly conf: HostLocalConf,
    readonly attachment: Attachment | undefined,
    readonly podCidrs: () => Promise<readonly string[]>,
    readonly ownAddresses: () => Promise<readonly Ip[]>,
  ) {
    this.#files = new HostLocalFiles(network, conf.dataDir);
  }

  /** One address of every range set, those of CNI_ARGS where they name them; all or none. */
  async assign(_request: AutoAssignRequest): Promise<AssignedAddress[]> {
    const sets = resolveSets(this.conf, usesPodCidr(this.conf) ? await this.podCidrs() : []);
    const requested = this.#attachment().args.addresses;
    const foreign = requested.find((ip) => !sets.some((set) => rangeOf(set, ip)));
    if (foreign) {
      throw new CniError(
        CniCode.addresses,
        `CNI_ARGS asks for ${formatIp(foreign)}, which is in none of host-local's ranges ` +
          `(${sets.map(formatSet).join("; ")}).`,
      );
    }
    return await this.#files.change(async (folder) => {
      const given: AssignedAddress[] = [];
      try {
        for (const [number, set] of sets.entries()) {
          const wish = requested.find((ip) => rangeOf(set, ip));
          given.push(await this.#assignFrom(folder, number, set, wish));
        }
        return given;
      } catch (error) {
        for (const { ip } of given) await folder.release(ip);
        throw error;
      }
    });
  }

  async #assignFrom(
    folder: OpenFolder,
    number: number,
    set: RangeSet,
    wish: Ip | undefined,
  ): Promise<AssignedAddress> {
    const { containerId, ifname } = this.#attachment();
    const last = wish ? undefined : await folder.lastReserved(number);
    // Whether a wish is a machine's was asked before it came here, as for every named address.
    const taken = new Set(
      wish ? [] : [
        ...(await this.ownAddresses()).map(formatIp),
        ...(await folder.reservations()).map(({ ip }) => formatIp(ip)),
      ],
    );
    const choice = wish ? [{ ip: wish, range: rangeOf(set, wish)! }] : candidates(set, last);
    for (const { ip, range } of choice) {
      if (taken.has(formatIp(ip))) continue;
      if (wish && sameIp(ip, range.gateway)) {
        throw new CniError(
          CniCode.addresses,
          `CNI_ARGS asks for ${formatIp(ip)}, which is its subnet's gateway.`,
        );
      }
      if (!await folder.reserve(ip, containerId, ifname)) continue;
      await folder.setLastReserved(number, ip);
      return { ip, block: range.subnet, pool: POOL };
    }
    throw new CniError(
      CniCode.tryAgain,
      wish
        ? `${formatIp(wish)} is not available in host-local's range ${formatSet(set)}: another ` +
          "container has it."
        : `No IP addresses are available in host-local's range ${formatSet(set)} of network ` +
          `${this.network} on this node: delete pods, or widen the range.`,
    );
  }

  #attachment(): Attachment {
    if (!this.attachment) throw new Error("host-local gives addresses to attachments alone");
    return this.attachment;
  }

  /** A certain address of the ranges. */
  async assignIp(request: AssignIpRequest): Promise<AssignedAddress> {
    const ip = addressOf(request.address);
    const sets = resolveSets(this.conf, usesPodCidr(this.conf) ? await this.podCidrs() : []);
    const number = sets.findIndex((set) => rangeOf(set, ip));
    if (number < 0) {
      throw new CniError(
        CniCode.addresses,
        `${formatIp(ip)} is in none of host-local's ranges (${sets.map(formatSet).join("; ")}).`,
      );
    }
    return await this.#files.change((folder) => this.#assignFrom(folder, number, sets[number], ip));
  }

  async releaseByHandle(handle: string): Promise<Ip[] | undefined> {
    return await this.#files.changeIfThere(async (folder) => {
      const held = this.#of(handle, await folder.reservations());
      for (const { ip } of held) await folder.release(ip);
      return held.length === 0 ? undefined : held.map(({ ip }) => ip);
    });
  }

  async releaseIps(requests: readonly ReleaseRequest[]): Promise<ReleaseResult> {
    const released: Ip[] = [], unallocated: Ip[] = [];
    await this.#files.changeIfThere(async (folder) => {
      const all = await folder.reservations();
      for (const { address, handle } of requests) {
        const ip = addressOf(address);
        const held = all.find((r) => sameIp(r.ip, ip));
        const theirs = held && (handle === undefined || this.#of(handle, all).includes(held));
        if (theirs) await folder.release(ip);
        (theirs ? released : unallocated).push(ip);
      }
    });
    return { released, unallocated };
  }

  /** Of a handle of this network, whose container gets the file. */
  async handOver({ address, handle, to }: HandOverRequest): Promise<boolean> {
    const ip = addressOf(address);
    const { interface: ifname = "eth0" } = to.attributes;
    const start = `${this.network}.`, end = ifname === "eth0" ? "" : `.${ifname}`;
    const containerId = to.handle.slice(start.length, to.handle.length - end.length);
    return await this.#files.changeIfThere(async (folder) => {
      const all = await folder.reservations();
      if (handle === undefined || !this.#of(handle, all).some((held) => sameIp(held.ip, ip))) {
        return false;
      }
      await folder.release(ip);
      return await folder.reserve(ip, containerId, ifname);
    }) ?? false;
  }

  async ipsByHandle(handle: string): Promise<Ip[] | undefined> {
    const held = await this.#files.changeIfThere(async (folder) =>
      this.#of(handle, await folder.reservations())
    );
    return held === undefined || held.length === 0 ? undefined : held.map(({ ip }) => ip);
  }

  async assignment(address: Ip | string): Promise<Assignment | undefined> {
    const ip = addressOf(address);
    const all = await this.#files.changeIfThere((folder) => folder.reservations());
    const held = all?.find((r) => sameIp(r.ip, ip));
    return held && {
      ip,
      block: { ip, length: ip.bytes.length * 8 },
      handle: this.#handleOf(held),
      attributes: { container: held.containerId, interface: held.ifname ?? "" },
      sequenceNumber: 0n,
    };
  }

  /** Handles of all attachments that have an address here: what a GC looks through. */
  async handles(): Promise<Set<string>> {
    const all = await this.#files.changeIfThere((folder) => folder.reservations());
    return new Set((all ?? []).map((r) => this.#handleOf(r)));
  }

  #handleOf({ containerId, ifname }: Reservation): string {
    return handleId(this.network, containerId, ifname ?? "eth0");
  }

  #of(handle: string, all: readonly Reservation[]): Reservation[] {
    const exact = all.filter((r) => r.ifname !== undefined && this.#handleOf(r) === handle);
    if (exact.length > 0) return exact;
    return all.filter(({ containerId, ifname }) => {
      const start = `${this.network}.${containerId}`;
      return ifname === undefined && (handle === start || handle.startsWith(`${start}.`));
    });
  }
}

/** `dns` of a result, as host-local reads it from a resolv.conf. */
export async function readResolvConf(path: string): Promise<Record<string, unknown>> {
  let text: string;
  try {
    text = await Deno.readTextFile(path);
  } catch (error) {
    throw new CniError(
      CniCode.io,
      `ipam.resolvConf ${path} cannot be read: ${(error as Error).message}.`,
    );
  }
  return parseResolvConf(text);
}

/** Pure. Lines that say nothing of these four are passed over. */
export function parseResolvConf(text: string): Record<string, unknown> {
  const nameservers: string[] = [], search: string[] = [], options: string[] = [];
  let domain = "";
  for (const line of text.split("\n")) {
    const [word, ...rest] = line.trim().split(/\s+/);
    if (rest.length === 0 || /^[#;]/.test(word)) continue;
    if (word === "nameserver") nameservers.push(rest[0]);
    else if (word === "domain") domain = rest[0];
    else if (word === "search") search.push(...rest);
    else if (word === "options") options.push(...rest);
  }
  return {
    ...(nameservers.length > 0 && { nameservers }),
    ...(domain !== "" && { domain }),
    ...(search.length > 0 && { search }),
    ...(options.length > 0 && { options }),
  };
}
