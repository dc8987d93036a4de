/**
 * Containers of this node that have addresses to which no route of their own leads: what ADD asks before
 * it gives an address, beside the routes (`cni/live_holders.ts`):
 *
 *   - pods whose WorkloadEndpoint is lost (deleted by hand, or put back from an older backup): with it the
 *     route goes, and the pod keeps its address. Their interfaces are there, and no endpoint speaks of
 *     them. Ours bear the mark of their container; those that Calico made are known by their names alone;
 *   - containers under other interface plugins, as far as they hang on a pair (bridge, ptp): they never
 *     have an endpoint of ours.
 *
 * What such a container has on its side of the pair, the kernel says by the pair itself, without a path to
 * the namespace. It is asked each time: another interface plugin sets one address after the other, and
 * others still later, and no earlier look can say that an address is nobody's. That is one question to the
 * kernel for each interface of which no endpoint speaks, and none for all the others: which endpoint speaks of
 * one is remembered, for as long as both are the same objects. Before the datastore has been read, no endpoint
 * is known and every pod is asked for, which is as true and a little slower.
 *
 * A route goes after the endpoint has gone from the node's state. Who looks at the routes first, and then
 * asks here, finds the address in one of the two at any time.
 *
 * That a lost pod's address is on record is looked at again and again: others may free it, and the datastore
 * may be put back once more.
 */
import type { HostLink } from "../../cni/kernel.ts";
import { type Mark, parseMark } from "../../cni/mark.ts";
import { hostLink } from "../../cni/plumbing.ts";
import type { Link } from "../../ffi/route/link.ts";
import type { WorkloadEndpoint } from "../model/workload_endpoint.ts";
import type { Clock } from "../store/clock.ts";
import { formatIp, type Ip, isLinkLocal } from "../net/mod.ts";
import type { Log } from "./log.ts";
import type { LostContainer, Unrecorded } from "./lost_addresses.ts";

export interface UnroutedHoldersParts {
  /** The host's interfaces, as they were last seen. */
  readonly links: () => Iterable<Link>;
  /** An interface as it is now. */
  readonly now: (index: number) => Link | undefined;
  /** Addresses on the other side of a pair. */
  readonly beyond: (link: Link) => readonly Ip[];
  /** This node's, by key, as the agent has them. */
  readonly endpoints: ReadonlyMap<string, WorkloadEndpoint>;
  readonly log: Log;
  readonly clock: Pick<Clock, "monotonicMs">;
  /** Milliseconds after which a pod without an endpoint is told of: Kubernetes has such that are ending. */
  readonly patience: number;
  /** What the names of workload interfaces begin with, Calico's own too. */
  readonly prefixes: readonly string[];
  /** Of the datastore: another number when it may have been put back (`Store.epoch`). */
  readonly epoch: () => number;
  /** Has `tell` called again after so many milliseconds. */
  readonly again?: (milliseconds: number) => void;
  /** Puts a pod's addresses on record for it (`lost_addresses.ts`). */
  readonly record?: (lost: LostContainer) => Promise<Unrecorded>;
}

interface Lost {
  readonly link: Link;
  /** undefined: Calico made it, or another interface plugin. */
  readonly mark?: Mark;
  /** Another interface plugin made it: there never is an endpoint of ours. */
  readonly foreign: boolean;
  addresses: readonly string[];
  readonly since: number;
  told: boolean;
  /** What has become of its addresses in IPAM; undefined: that is not known yet. */
  unrecorded?: Unrecorded;
  /** When they are put on record (again), or at once in another epoch. */
  due: number;
  epoch: number;
  recording: boolean;
}

interface Speaker {
  readonly key: string;
  readonly endpoint: WorkloadEndpoint;
}

/** Milliseconds after which it is looked again whether a container's addresses are on record. */
const AGAIN = 60_000;
/** Milliseconds that Calico's plugin may take from an interface, which it does not mark, to its endpoint. */
const CALICOS_ADD = 3000;
/** A pod has one address of each family; whoever has changed its interface has more to be told of. */
const MOST_OF_FAMILY = 8;

export class UnroutedHolders {
  /** Of an interface as it was seen. */
  readonly #marks = new WeakMap<Link, Mark | undefined>();
  /** Of an interface as it was seen: whether this endpoint is that of the container beyond it. */
  readonly #lives = new WeakMap<Link, { spec: WorkloadEndpoint["spec"]; is: boolean }>();
  /** Of an interface as it was seen, and bears a mark: the endpoint that speaks of its container. */
  readonly #speakers = new WeakMap<Link, Speaker>();
  /** Interfaces in use without an endpoint. */
  #lost = new Map<string, Lost>();

  constructor(readonly parts: UnroutedHoldersParts) {}

  holderOf(ip: Ip): HostLink | undefined {
    const text = formatIp(ip);
    for (const link of this.#unrecorded()) {
      if (!this.#beyond(link).includes(text)) continue;
      // What has gone since the kernel last told of it holds nothing.
      if (isThere(this.parts.now(link.index), link)) return hostLink(link);
    }
    return undefined;
  }

  /**
   * Says of each pod that lost its endpoint, once, what has become of it, and puts its addresses on record,
   * so that no other node gives them; those of containers under other interface plugins too, which may have
   * them of our IPAM. For a time when all endpoints are known.
   */
  tell(): void {
    const { now, log, clock, patience } = this.parts;
    const before = this.#lost;
    this.#lost = new Map();
    const epoch = this.parts.epoch();
    for (const link of this.#unrecorded()) {
      const mark = this.#markOf(link);
      const foreign = !mark && !this.#isCalicos(link);
      const key = keyOf(link);
      const time = clock.monotonicMs();
      const known = before.get(key);
      // There may be many, of which nothing is said.
      if (
        foreign && known && known.addresses.length > 0 && time < known.due && epoch === known.epoch
      ) {
        this.#lost.set(key, known);
        continue;
      }
      if (!isThere(now(link.index), link)) continue;
      const lost = known ??
        {
          ...{ link, mark, foreign, addresses: [], since: time, told: false, due: time, epoch },
          recording: false,
        };
      this.#lost.set(key, lost);
      if (lost.addresses.length === 0) lost.addresses = oldest(this.#beyond(link));
      const age = time - lost.since;
      if (!foreign && !lost.told && age >= (mark ? patience : Math.max(patience, CALICOS_ADD))) {
        log.warn(
          "a container is in use, and the datastore has no endpoint of it: it has no route and no policy " +
            "until it is deleted and begins anew, and this node gives its addresses to no other",
          { interface: link.name, container: mark?.containerId, addresses: lost.addresses },
        );
        lost.told = true;
      }
      if (lost.addresses.length === 0 || lost.recording) continue;
      if (time < lost.due && epoch === lost.epoch) continue;
      lost.due = time + AGAIN;
      lost.epoch = epoch;
      this.#record(lost);
    }
    if (this.#lost.size === 0) return;
    const isWaiting = [...this.#lost.values()].some(({ told, foreign }) => !told && !foreign);
    this.parts.again?.(isWaiting ? CALICOS_ADD : AGAIN);
  }

  async #record(lost: Lost): Promise<void> {
    const { record, now, log } = this.parts;
    const { link, mark, foreign, addresses } = lost;
    if (!record) return;
    lost.recording = true;
    try {
      const is = () => isThere(now(link.index), link);
      const unrecorded = await record({
        hostName: link.name,
        mark,
        foreign,
        addresses,
        isThere: is,
      });
      const whys = [...unrecorded].map(([address, why]) => `${address}: ${why}`);
      if (!lost.unrecorded?.size && whys.length > 0) {
        log.warn(
          "addresses of a container without an endpoint are not on record: other nodes may give them",
          { interface: link.name, container: mark?.containerId, reasons: whys },
        );
      }
      lost.unrecorded = unrecorded;
    } catch (error) {
      log.error("putting a container's addresses on record failed", { error });
    } finally {
      lost.recording = false;
    }
  }

  /** The pods that lost their endpoints, in words. */
  warnings(): string[] {
    const worthTelling = ({ told, unrecorded }: Lost) => told || unrecorded?.size;
    return [...this.#lost.values()].filter(worthTelling).map((lost) => {
      const { link, mark, foreign, addresses, unrecorded } = lost;
      const others = unrecorded === undefined
        ? []
        : [...unrecorded].map(([address, why]) => `${address} may go to others (${why})`);
      if (foreign) {
        return `a container of another interface plugin (interface ${link.name}) is not on record with ` +
          `its addresses: ${others.join("; ")}`;
      }
      const whose = mark ? `container ${mark.containerId}` : "a container that Calico wired";
      return `${whose} (interface ${link.name}, ${addresses.join(", ")}) is in use, and the ` +
        "datastore has no endpoint of it: it has no route and no policy; delete it, so that it begins " +
        `anew${others.map((other) => `; ${other}`).join("")}`;
    });
  }

  /** Those with somebody in another namespace beyond them, of whom no endpoint speaks. */
  *#unrecorded(): Iterable<Link> {
    const { links, endpoints } = this.parts;
    const search = new Search(endpoints);
    for (const link of links()) {
      if (link.kind !== "veth" || link.linkNetnsId === undefined) continue;
      // As it was found last time: an object that has changed is another one.
      const speaker = this.#speakers.get(link);
      if (speaker && endpoints.get(speaker.key) === speaker.endpoint) continue;
      const mark = this.#markOf(link);
      // Its ADD has not come to the end, and knows its addresses itself.
      if (mark?.state === "adding") continue;
      const found = search.byInterface(link.name, mark?.containerId);
      const isRecorded = found &&
        (mark
          ? found.endpoint.spec.containerID === mark.containerId
          : this.#isOfLife(link, found.endpoint.spec));
      if (!isRecorded) yield link;
      else if (mark) this.#speakers.set(link, found);
    }
  }

  /**
   * Whether the endpoint speaks of the container that is beyond an interface of Calico's, which says of no
   * container: a pod's has the same name in each of its lives, but not the same addresses.
   */
  #isOfLife(link: Link, spec: WorkloadEndpoint["spec"]): boolean {
    const known = this.#lives.get(link);
    if (known?.spec === spec) return known.is;
    const there = this.#beyond(link);
    const is = there.length === 0 ||
      spec.ipNetworks!.some((network) => there.includes(network.split("/")[0]));
    this.#lives.set(link, { spec, is });
    return is;
  }

  #markOf(link: Link): Mark | undefined {
    if (!this.#marks.has(link)) this.#marks.set(link, parseMark(link.alias));
    return this.#marks.get(link);
  }

  #isCalicos({ name }: Link): boolean {
    return this.parts.prefixes.some((prefix) => name.startsWith(prefix));
  }

  #beyond(link: Link): readonly string[] {
    return this.parts.beyond(link).filter((ip) => !isLinkLocal(ip)).map(formatIp);
  }
}

/** So many interfaces are looked for one by one: where all pods are ours, it is those of the last ADDs. */
const FEW = 4;

/** Endpoints by their interfaces; of several of one name the container's, where one is named, else the last. */
class Search {
  #searched = 0;
  #all: Map<string, Speaker[]> | undefined;

  constructor(readonly endpoints: ReadonlyMap<string, WorkloadEndpoint>) {}

  byInterface(name: string, containerId?: string): Speaker | undefined {
    const some = this.#speakers(name);
    return some.find(({ endpoint }) => endpoint.spec.containerID === containerId) ?? some.at(-1);
  }

  #speakers(name: string): readonly Speaker[] {
    if (this.#all) return this.#all.get(name) ?? [];
    if (++this.#searched > FEW) {
      this.#all = new Map();
      this.endpoints.forEach((endpoint, key) => {
        const of = speaksOf(endpoint);
        if (of === undefined) return;
        const some = this.#all!.get(of);
        if (some) some.push({ key, endpoint });
        else this.#all!.set(of, [{ key, endpoint }]);
      });
      return this.#all.get(name) ?? [];
    }
    const some: Speaker[] = [];
    this.endpoints.forEach((endpoint, key) => {
      if (speaksOf(endpoint) === name) some.push({ key, endpoint });
    });
    return some;
  }
}

/** One that was denied its addresses has no route to them. */
function speaksOf({ spec }: WorkloadEndpoint): string | undefined {
  return spec.ipNetworks?.length ? spec.interfaceName || undefined : undefined;
}

/**
 * Of each family the few that have been there longest, longest first, as the kernel has them of IPv4: what
 * somebody in the container has added comes after what ADD gave.
 */
function oldest(addresses: readonly string[]): string[] {
  const isIpv6 = (ip: string) => ip.includes(":");
  return [
    ...addresses.filter((ip) => !isIpv6(ip)).slice(0, MOST_OF_FAMILY),
    ...addresses.filter(isIpv6).reverse().slice(0, MOST_OF_FAMILY),
  ];
}

/** An index is not given twice while a service runs, but for one that was asked for. */
const keyOf = ({ index, name, alias = "" }: Link) => `${index} ${name} ${alias}`;

const isThere = (now: Link | undefined, then: Link) =>
  now !== undefined && keyOf(now) === keyOf(then);
