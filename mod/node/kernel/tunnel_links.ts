/**
 * The VXLAN devices. What a device is made with (VNI, port, parent, local address, no learning) cannot
 * be changed, and what somebody else has set of it is not worth a way back: it is made anew then. MTU,
 * MAC and being up are set in place. Where the new one cannot be made, the former one comes back.
 *
 * A device that nobody wants any more stays for a few seconds: other nodes hear of the change a moment
 * later than we do, and what they send meanwhile still arrives.
 */
import { KernelError } from "../../../ffi/errors.ts";
import type { Command } from "../../../ffi/route/command.ts";
import { addLink, IFF_NOARP, type Link, setLink } from "../../../ffi/route/link.ts";
import { sameIp } from "../../net/mod.ts";
import { Reconciler } from "../reconciler.ts";
import type { VxlanDevice } from "../vxlan_plan.ts";
import { gone } from "./gone.ts";
import { Later } from "../later.ts";
import type { LinkTable } from "./link_table.ts";

/** Milliseconds. */
const LINGER = 5000;

/** A link under a name of ours; of another kind it is no device of any VNI. */
export function deviceState(link: Link): VxlanDevice {
  const { mac = "", mtu, up, vxlan } = link;
  const astray = [
    vxlan?.astray,
    link.flags & IFF_NOARP ? "arp off" : undefined,
    link.masterIndex ? "part of a bridge" : undefined,
  ].filter((word) => word !== undefined).join(", ");
  return {
    ...(vxlan ?? { vni: -1, port: 0, learning: false }),
    ...{ mac, mtu, up, astray: astray || undefined },
  };
}

/** Whether one can become the other in place. */
function sameMaking(a: VxlanDevice, b: VxlanDevice): boolean {
  return a.vni === b.vni && a.port === b.port && a.learning === b.learning &&
    a.parentIndex === b.parentIndex && a.astray === b.astray &&
    (a.local && b.local ? sameIp(a.local, b.local) : a.local === b.local);
}

/** A device's port is bound when it is set up. */
const portTaken = (name: string, { port }: VxlanDevice) =>
  new Error(
    `UDP port ${port} is taken by another program's socket, so ${name} cannot be up; end that program, ` +
      "or set another vxlanPort in the FelixConfiguration",
  );

const isVxlan = ({ vni }: VxlanDevice) => vni >= 0;

function making(name: string, device: VxlanDevice): Command[] {
  const { mtu, mac, vni, port, local, parentIndex, learning, up } = device;
  const spec = { kind: "vxlan" as const, name, mtu, mac, vni, port, local, parentIndex, learning };
  return [...addLink(spec), setLink(name, { up })];
}

export class TunnelLinks {
  readonly #reconciler: Reconciler<VxlanDevice>;
  readonly #later: Later;
  /** When a device was first seen that nobody wants. */
  readonly #unwanted = new Map<string, number>();

  constructor(readonly links: LinkTable, onDue: () => void, readonly linger = LINGER) {
    this.#later = new Later(() => {
      this.#reconciler.touchAll();
      onDue();
    });
    this.#reconciler = new Reconciler<VxlanDevice>({
      name: "tunnel device",
      read: () => new Map(links.tunnels().map(({ link }) => [link.name, deviceState(link)])),
      same: (a, b) => sameMaking(a, b) && a.mac === b.mac && a.mtu === b.mtu && a.up === b.up,
      put: async (name, desired, actual) => {
        try {
          await this.#put(name, desired, actual);
        } catch (error) {
          throw error instanceof KernelError && error.code === "EADDRINUSE"
            ? portTaken(name, desired)
            : error;
        }
      },
      remove: (name) => this.#delete(name),
      ours: (name) => this.#due(name),
    });
  }

  close(): void {
    this.#later.cancel();
  }

  setDesired(devices: Map<string, VxlanDevice>): void {
    for (const name of devices.keys()) this.#unwanted.delete(name);
    this.#reconciler.setDesired(devices);
  }

  resync(): void {
    this.#reconciler.resync();
  }

  hasten(): void {
    this.#reconciler.hasten();
  }

  apply() {
    return this.#reconciler.apply();
  }

  /** A link event; of a device that was made anew the end of the old one may come late. */
  observed(link: Link, gone: boolean): void {
    const current = this.links.byName(link.name);
    if (gone && current && current.index !== link.index) return;
    this.#reconciler.observed(link.name, gone ? undefined : deviceState(link));
  }

  #due(name: string): boolean {
    const now = performance.now();
    const since = this.#unwanted.get(name) ?? now;
    this.#unwanted.set(name, since);
    if (now - since < this.linger) {
      this.#later.in(this.linger - (now - since));
      return false;
    }
    this.#unwanted.delete(name);
    return true;
  }

  async #put(name: string, desired: VxlanDevice, actual: VxlanDevice | undefined) {
    const { socket } = this.links;
    if (actual && sameMaking(desired, actual)) {
      // What is as it should be is left out: setting a MAC, even to the same, forgets all neighbours.
      socket.setLink(name, {
        mtu: desired.mtu === actual.mtu ? undefined : desired.mtu,
        mac: desired.mac === actual.mac ? undefined : desired.mac,
        up: desired.up === actual.up ? undefined : desired.up,
      });
    } else {
      if (actual && this.#rival(name, desired)) throw this.#taken(name, desired);
      if (actual) await this.#delete(name);
      try {
        socket.run(...making(name, desired));
      } catch (error) {
        // Better the former one than none: its other end may still understand it.
        if (actual && isVxlan(actual)) socket.attempt(making(name, actual));
        this.#see(name);
        const exists = error instanceof KernelError && error.code === "EEXIST";
        throw exists ? this.#taken(name, desired) : error;
      }
    }
    this.#see(name);
  }

  #see(name: string): void {
    const link = this.links.socket.link(name);
    if (link) this.links.saw(link);
  }

  /**
   * Who has the VNI and the port that a device is to have. The kernel keeps the two families apart: our
   * device of the other one is in nobody's way.
   */
  #rival(name: string, { vni, port, local }: VxlanDevice): Link | undefined {
    this.links.read(); // it may have come just now
    return this.links.all().find((link) =>
      link.name !== name && link.vxlan?.vni === vni && link.vxlan.port === port &&
      (!link.vxlan.local || !local || link.vxlan.local.family === local.family)
    );
  }

  /** The kernel's "exists already" does not say what does. */
  #taken(name: string, desired: VxlanDevice): Error {
    const what = `the VNI ${desired.vni} on port ${desired.port} already`;
    const remedy = "or set another vxlanVNI or vxlanPort in the FelixConfiguration";
    const rival = this.#rival(name, desired);
    return new Error(
      rival
        ? `the interface ${rival.name} has ${what}; remove it, ${remedy}`
        : `an interface that was made here and moved to another network namespace has ${what}; ` +
          `remove it there, ${remedy}`,
    );
  }

  async #delete(name: string): Promise<void> {
    const index = this.links.byName(name)?.index;
    await this.links.socket.deleteLink(name).catch((error) =>
      gone(() => {
        throw error;
      })
    );
    if (index !== undefined) this.links.forget(index);
  }
}
