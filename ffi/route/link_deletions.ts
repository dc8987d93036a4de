/**
 * Deleting links. The kernel waits for its readers each time, 10 to 30 ms, so it runs on another thread,
 * over a socket of its own. Those that are asked for meanwhile go together, for the price of one: they
 * are put into a group of links that nobody else has, and the group is deleted (RTM_DELLINK with
 * IFLA_GROUP). A hundred pods that end at once would hold each other up for seconds otherwise.
 *
 * Who is refused within a group is deleted by himself, and hears of it as if there had been no group.
 */

import { KernelError } from "../errors.ts";
import type { Connection } from "../netlink/connection.ts";
import type { Command } from "./command.ts";
import { deleteLink, deleteLinkGroup, type LinkRef, setLink } from "./link.ts";

/** The kernel holds everybody else's requests meanwhile. */
const MOST_TOGETHER = 64;

interface Condemned {
  readonly link: LinkRef;
  readonly resolve: () => void;
  readonly reject: (error: unknown) => void;
}

export class LinkDeletions {
  readonly #open: () => Connection;
  /** Sends commands at once; those that were refused. */
  readonly #attempt: (commands: readonly Command[]) => ReadonlySet<Command>;
  #connection?: Connection;
  #waiting: Condemned[] = [];
  #running = false;
  #closed = false;

  constructor(
    open: () => Connection,
    attempt: (commands: readonly Command[]) => ReadonlySet<Command>,
  ) {
    this.#open = open;
    this.#attempt = attempt;
  }

  /** Resolves when it is gone, after those that were asked for before. */
  delete(link: LinkRef): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#waiting.push({ link, resolve, reject });
      if (!this.#running) this.#run();
    });
  }

  close(): void {
    this.#closed = true;
    this.#connection?.close();
  }

  async #run(): Promise<void> {
    this.#running = true;
    await null; // those of the same moment go together
    while (this.#waiting.length > 0) {
      const some = this.#waiting.splice(0, MOST_TOGETHER);
      const left = some.length > 1 && !this.#closed ? await this.#together(some) : some;
      for (const one of left) {
        await this.#request(deleteLink(one.link)).then(one.resolve, one.reject);
      }
    }
    this.#running = false;
  }

  /** Those that are still to be deleted. */
  async #together(some: readonly Condemned[]): Promise<readonly Condemned[]> {
    // No other has this number: nobody gives such large ones.
    const [random] = crypto.getRandomValues(new Uint32Array(1));
    const group = 0x40000000 | random >>> 2;
    const marks = some.map(({ link }) => setLink(link, { group }));
    try {
      const refused = this.#attempt(marks);
      const left = some.filter((_, i) => refused.has(marks[i]));
      if (left.length === some.length) return some;
      await this.#request(deleteLinkGroup(group));
      for (const one of some) if (!left.includes(one)) one.resolve();
      return left;
    } catch {
      return some; // why, each hears by himself
    }
  }

  async #request(command: Command): Promise<void> {
    if (this.#closed) throw new KernelError(9, command.operation());
    this.#connection ??= this.#open();
    await this.#connection.requestAsync(
      command.operation(),
      command.type,
      command.flags,
      (m) => command.encode(m),
    );
  }
}
