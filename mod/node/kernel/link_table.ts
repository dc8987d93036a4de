/** The node's interfaces as they were last seen, by index and by name. */
import type { Link } from "../../../ffi/route/link.ts";
import type { RouteSocket } from "../../../ffi/route/socket.ts";
import type { Family } from "../../net/mod.ts";
import { FAMILIES, VXLAN_DEVICES } from "../vxlan.ts";

export class LinkTable {
  readonly #links = new Map<number, Link>();
  readonly #names = new Map<string, number>();
  /** When an interface was first seen. */
  readonly #born = new Map<number, number>();

  /**
   * `prefixes`: interfaces whose names begin so are pods'. `ipv6`: whether what is of that family is
   * ours to keep (FelixConfiguration's ipv6Support).
   */
  constructor(
    readonly socket: RouteSocket,
    readonly prefixes: readonly string[],
    readonly ipv6: boolean,
  ) {}

  /** Reads them all anew. */
  read(): void {
    const seen = new Set<number>();
    for (const link of this.socket.links()) {
      seen.add(link.index);
      this.saw(link);
    }
    for (const index of [...this.#links.keys()]) if (!seen.has(index)) this.forget(index);
  }

  saw(link: Link): void {
    const before = this.#links.get(link.index);
    if (before && before.name !== link.name && this.#names.get(before.name) === link.index) {
      this.#names.delete(before.name);
    }
    this.#links.set(link.index, link);
    this.#names.set(link.name, link.index);
    if (!this.#born.has(link.index)) this.#born.set(link.index, performance.now());
  }

  forget(index: number): void {
    const link = this.#links.get(index);
    if (link && this.#names.get(link.name) === index) this.#names.delete(link.name);
    this.#links.delete(index);
    this.#born.delete(index);
  }

  get(index: number): Link | undefined {
    return this.#links.get(index);
  }

  byName(name: string): Link | undefined {
    const index = this.#names.get(name);
    return index === undefined ? undefined : this.#links.get(index);
  }

  all(): Link[] {
    return [...this.#links.values()];
  }

  /** Milliseconds since it was first seen. */
  age(index: number): number {
    return performance.now() - (this.#born.get(index) ?? 0);
  }

  isEndpointName(name: string): boolean {
    return this.prefixes.some((prefix) => name.startsWith(prefix));
  }

  /** Whether it is the host's side of a pod's pair. */
  isEndpoint(index: number): boolean {
    const link = this.#links.get(index);
    return link !== undefined && this.isEndpointName(link.name);
  }

  /** Host sides of pods' pairs. */
  endpoints(): Link[] {
    return this.all().filter((link) => this.isEndpointName(link.name));
  }

  /** Our VXLAN devices that are there. */
  tunnels(): { family: Family; link: Link }[] {
    return FAMILIES.flatMap((family) => {
      const link = this.byName(VXLAN_DEVICES[family]);
      return link ? [{ family, link }] : [];
    });
  }

  /** The family whose VXLAN device it is. */
  tunnelFamily(index: number): Family | undefined {
    const name = this.#links.get(index)?.name;
    return FAMILIES.find((family) => VXLAN_DEVICES[family] === name);
  }
}
