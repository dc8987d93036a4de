/**
 * What each endpoint of this node wants of the kernel: its host side up, with sysctls, a neighbour entry
 * and a route for each address. An interface that is not there yet has nothing wanted of it, and one
 * that is down takes no route: its coming, and its coming up, are events.
 *
 *     endpoints, links -> the parts of those that have changed -> keys that are wanted otherwise now
 *
 * A node of a thousand endpoints has ten thousand such objects. One pod more must not cost them all
 * anew, in time or in garbage: so what is wanted is kept, part by part, and only differences are given
 * back. For a moment two endpoints may claim one key (a pod that took another's place); the first by
 * name has it, whoever came first.
 */
import { HOST_MAC } from "../../../cni/kernel.ts";
import type { Link } from "../../../ffi/route/link.ts";
import type { WorkloadEndpoint } from "../../model/workload_endpoint.ts";
import { formatPrefix } from "../../net/mod.ts";
import { endpointFacts } from "../endpoint_facts.ts";
import { type PlannedRoute, PROTOCOL_OWN } from "../route_plan.ts";
import type { LinkState } from "./endpoint_links.ts";
import { neighbourKey } from "./neighbours.ts";

/** What is wanted under keys that have changed; undefined: nothing any more. */
export type Wishes<V> = ReadonlyMap<string, V | undefined>;

interface Tables {
  readonly links: LinkState;
  readonly sysctls: string;
  readonly neighbours: string;
  readonly routes: PlannedRoute;
}
type TableName = keyof Tables;

export type EndpointWishes = { readonly [T in TableName]: Wishes<Tables[T]> };

export interface EndpointPartsInputs {
  readonly endpoints: ReadonlyMap<string, WorkloadEndpoint>;
  linkOf(name: string): Pick<Link, "index" | "name" | "up"> | undefined;
}

type Wish = { readonly [T in TableName]: [table: T, key: string, value: Tables[T]] }[TableName];

/** One endpoint's, and what it was made of. */
interface Part {
  readonly endpoint: WorkloadEndpoint;
  /** Interface index; undefined: the link is not there. */
  readonly index: number | undefined;
  readonly up: boolean;
  readonly wishes: readonly Wish[];
}

/** Who wants something of a key, and what: nearly always one. */
type Claims<V> = Map<string, { owner: string; value: V }[]>;

export class EndpointParts {
  readonly #ipv6: boolean;
  readonly #parts = new Map<string, Part>();
  readonly #claims: { readonly [T in TableName]: Claims<Tables[T]> } = {
    links: new Map(),
    sysctls: new Map(),
    neighbours: new Map(),
    routes: new Map(),
  };
  #ipv6Routes = 0;

  /** `ipv6` false: IPv6 is not handled on this node. */
  constructor(ipv6: boolean) {
    this.#ipv6 = ipv6;
  }

  /** Whether a route of IPv6 is wanted. */
  get hasIpv6(): boolean {
    return this.#ipv6Routes > 0;
  }

  /** Takes endpoints and links as they are now. */
  update({ endpoints, linkOf }: EndpointPartsInputs): EndpointWishes {
    const changed = new Changes();
    this.#parts.forEach((part, owner) => {
      if (!endpoints.has(owner)) this.#replace(owner, part, undefined, changed);
    });
    // No iterator: it would make an object for each of thousands that are as they were.
    endpoints.forEach((endpoint, owner) => {
      const link = linkOf(endpoint.spec.interfaceName ?? "");
      const part = this.#parts.get(owner);
      const index = link?.index, up = link?.up ?? false;
      if (part?.endpoint === endpoint && part.index === index && part.up === up) return;
      const wishes = link ? this.#wishesOf(endpoint, link) : [];
      this.#replace(owner, part, { endpoint, index, up, wishes }, changed);
    });
    return this.#settle(changed);
  }

  #wishesOf(endpoint: WorkloadEndpoint, link: Pick<Link, "index" | "name" | "up">): Wish[] {
    const wishes: Wish[] = [["links", link.name, { up: true, mac: HOST_MAC }]];
    const facts = endpointFacts(endpoint);
    for (const [name, value] of facts.sysctls) {
      if (this.#ipv6 || !name.startsWith("net/ipv6/") || name.endsWith("/accept_ra")) {
        wishes.push(["sysctls", name, value]);
      }
    }
    if (!link.up) return wishes;
    const mac = endpoint.spec.mac?.toLowerCase();
    for (const prefix of facts.prefixes) {
      if (prefix.ip.family === 6 && !this.#ipv6) continue;
      wishes.push(["routes", formatPrefix(prefix), {
        prefix,
        protocol: PROTOCOL_OWN,
        type: "unicast",
        hops: [{ oif: link.index }],
      }]);
      if (mac) wishes.push(["neighbours", neighbourKey(link.index, prefix.ip), mac]);
    }
    return wishes;
  }

  #replace(owner: string, before: Part | undefined, after: Part | undefined, changed: Changes) {
    for (const [table, key, value] of before?.wishes ?? []) {
      const claims: Claims<unknown> = this.#claims[table];
      const others = claims.get(key)!.filter((claim) => claim.owner !== owner);
      if (others.length > 0) claims.set(key, others);
      else claims.delete(key);
      changed[table].add(key);
      this.#count(table, value, -1);
    }
    for (const [table, key, value] of after?.wishes ?? []) {
      const claims: Claims<unknown> = this.#claims[table];
      const others = (claims.get(key) ?? []).filter((claim) => claim.owner !== owner);
      const all = [...others, { owner, value }];
      if (all.length > 1) all.sort((a, b) => a.owner < b.owner ? -1 : 1);
      claims.set(key, all);
      changed[table].add(key);
      this.#count(table, value, 1);
    }
    if (after) this.#parts.set(owner, after);
    else this.#parts.delete(owner);
  }

  #count(table: TableName, value: Tables[TableName], by: number): void {
    if (table === "routes" && (value as PlannedRoute).prefix.ip.family === 6) {
      this.#ipv6Routes += by;
    }
  }

  #settle(changed: Changes): EndpointWishes {
    const now = <V>(claims: Claims<V>, keys: ReadonlySet<string>): Wishes<V> =>
      new Map([...keys].map((key) => [key, claims.get(key)?.[0].value]));
    return {
      links: now(this.#claims.links, changed.links),
      sysctls: now(this.#claims.sysctls, changed.sysctls),
      neighbours: now(this.#claims.neighbours, changed.neighbours),
      routes: now(this.#claims.routes, changed.routes),
    };
  }
}

class Changes implements Record<TableName, Set<string>> {
  readonly links = new Set<string>();
  readonly sysctls = new Set<string>();
  readonly neighbours = new Set<string>();
  readonly routes = new Set<string>();
}
