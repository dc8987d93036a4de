/**
 * Tracked connections (ctnetlink, linux/netfilter/nfnetlink_conntrack.h): list them, mark some (the
 * node does it to those that policy no longer allows), and end the tracking of some, so that the next
 * packet of a connection is judged anew (when an address changes hands).
 *
 * DELETE without a tuple and without a filter ends every connection of the machine. So there is no
 * way here to say that: a selection without a condition is refused before a byte is written, and
 * every message carries a tuple or a filter.
 *
 * Many at once: newer kernels take DELETE with a filter (CTA_FILTER) and need one message. Older ones
 * refuse it (they read the partial tuple as a whole one: EINVAL); then we list and delete one by one,
 * each by its tuple and its id, so that a connection which took the tuple over meanwhile stays.
 *
 * IPv6 always goes one by one. The kernel's filter compares IPv6 addresses the wrong way round (seen
 * on 6.18: it takes the connections that do not have the address), so that a filtered deletion of one
 * host's connections would end those of all others.
 */
import type { Family, Ip } from "../mod/net/mod.ts";
import { toKernelError } from "./netlink/acknowledgement.ts";
import {
  CTA_STATS_GLOBAL_ENTRIES,
  CTA_TUPLE_ORIG,
  describeSelection,
  describeTuple,
  familyOf,
  type Flow,
  flowMatches,
  type FlowSelection,
  type FlowWish,
  getFlow,
  IPCTNL_MSG_CT_DELETE,
  IPCTNL_MSG_CT_GET,
  IPCTNL_MSG_CT_GET_STATS,
  IPCTNL_MSG_CT_NEW,
  isAmong,
  isEmpty,
  putDelete,
  putFlow,
  putHeader,
  putMark,
  putSelection,
  putTuple,
  type Tuple,
} from "./conntrack_messages.ts";
import { isKernelError, KernelError } from "./errors.ts";
import type { Connection } from "./netlink/connection.ts";
import {
  NETLINK_NETFILTER,
  NLM_F_ACK,
  NLM_F_CREATE,
  NLM_F_EXCL,
  NLM_F_REQUEST,
} from "./netlink/constants.ts";
import type { MessageCursor } from "./netlink/decoder.ts";
import { MessageEncoder } from "./netlink/encoder.ts";
import { openConnection } from "./netlink/socket.ts";
import { inNetns, type Netns } from "./netns.ts";
import { NFGENMSG } from "./nft/wire.ts";

export * from "./conntrack_messages.ts";

/** So many changes go in one datagram: their messages and the answers fit any buffer. */
const changesPerDatagram = 500;

export class Conntrack {
  readonly #connection: Connection;
  readonly #encoder = new MessageEncoder();
  /** Whether the kernel takes DELETE with a filter: tried at the first need. */
  #filteredDelete: boolean | undefined;
  #filteredDump = true;

  constructor(connection: Connection) {
    this.#connection = connection;
  }

  /** The connections of a family, all or those of a selection. */
  flows(family: Family, selection?: FlowSelection): Flow[] {
    const filter = selection && !isEmpty(selection) ? selection : undefined;
    const flows = this.#dump(family, filter);
    // An older kernel passes over the filter: then it is ours to apply.
    return filter ? flows.filter((flow) => flowMatches(flow, filter)) : flows;
  }

  /**
   * As `flows`, for a table of which reading takes long: each datagram of the answer is handed to
   * `visit`, then `pause` may let others have their turn. Meanwhile nothing else may use this
   * connection to the kernel. A flow that moves about in the table may be seen twice; one that comes
   * meanwhile may be missed.
   */
  async visitFlows(
    wish: FlowWish,
    visit: (flows: Flow[]) => void,
    pause: () => Promise<void> | void,
  ): Promise<void> {
    const { family = 0, selection, among } = wish;
    let seen: Flow[] = [];
    const hand = () => {
      const flows = selection ? seen.filter((flow) => flowMatches(flow, selection)) : seen;
      seen = [];
      if (flows.length > 0) visit(flows);
    };
    // The kernel's filter is one of IPv4 alone; that of older kernels lets all pass.
    const filter = family === 4 && selection && !isEmpty(selection) && this.#filteredDump;
    try {
      await this.#connection.dumpInTurns(
        "list connections",
        IPCTNL_MSG_CT_GET,
        (e) => filter ? putSelection(e, selection) : putHeader(e, family),
        (message) => {
          const flow = among && !isAmong(message, among) ? undefined : getFlow(message);
          if (flow) seen.push(flow);
          return undefined;
        },
        () => {
          hand();
          return pause();
        },
      );
    } catch (error) {
      if (!filter || !isKernelError(error, "EOPNOTSUPP", "EINVAL")) throw error;
      this.#filteredDump = false;
      return this.visitFlows(wish, visit, pause);
    }
    hand();
  }

  /**
   * How many connections are tracked in this namespace, of both families. On another thread: while
   * somebody has the table listed, 10 ms and more whatever it holds, the kernel lets everybody wait.
   */
  async count(): Promise<number> {
    let count = 0;
    const read = (message: MessageCursor) => {
      for (const a = message.attributes(NFGENMSG); a.next();) {
        if (a.type === CTA_STATS_GLOBAL_ENTRIES) count = a.be32();
      }
    };
    const write = (e: MessageEncoder) => putHeader(e, 0);
    await this.#connection.requestAsync(
      "count connections",
      IPCTNL_MSG_CT_GET_STATS,
      0,
      write,
      read,
    );
    return count;
  }

  /**
   * Sets the bits of `mask` in the marks of connections to those of `value`; one that is gone is
   * passed over. How many were there.
   */
  setMarks(flows: readonly Flow[], value: number, mask: number): number {
    return this.#change("mark", IPCTNL_MSG_CT_NEW, flows, (e, f) => putMark(e, f, value, mask));
  }

  /** Forgets connections, each by its tuples and its id; how many were there. */
  forget(flows: readonly Flow[]): number {
    return this.#change("delete", IPCTNL_MSG_CT_DELETE, flows, putDelete);
  }

  #change(
    verb: string,
    type: number,
    flows: readonly Flow[],
    write: (message: MessageEncoder, flow: Flow) => void,
  ): number {
    let missing = 0;
    for (let at = 0; at < flows.length; at += changesPerDatagram) {
      const chunk = flows.slice(at, at + changesPerDatagram);
      const encoder = this.#encoder.reset();
      const first = this.#connection.nextSequences(chunk.length);
      const last = first + chunk.length - 1;
      chunk.forEach((flow, i) => {
        // Only the last one's success is told, and every one's refusal.
        const flags = first + i === last ? NLM_F_REQUEST | NLM_F_ACK : NLM_F_REQUEST;
        write(encoder.begin(type, flags, first + i), flow);
        encoder.end();
      });
      const { refused, lost } = this.#connection.exchange(encoder.finish(), last);
      for (const answer of refused) {
        const flow = chunk[answer.sequence - first];
        const operation = `${verb} connection ${flow ? describeTuple(flow.original) : ""}`;
        const error = toKernelError(answer, operation);
        if (!isKernelError(error, "ENOENT")) throw error;
        missing++;
      }
      if (lost) throw new KernelError(105, `${verb} ${chunk.length} connections`);
    }
    return flows.length - missing;
  }

  /** Forgets one connection; false if it was gone. */
  deleteFlow(flow: Flow): boolean {
    return ignoreMissing(() =>
      this.#connection.request(
        `delete connection ${describeTuple(flow.original)}`,
        IPCTNL_MSG_CT_DELETE,
        0,
        (e) => putDelete(e, flow),
      )
    );
  }

  /** Forgets the connection with this tuple, as its first packet had it; false if there is none. */
  deleteTuple(original: Tuple): boolean {
    return ignoreMissing(() =>
      this.#connection.request(
        `delete connection ${describeTuple(original)}`,
        IPCTNL_MSG_CT_DELETE,
        0,
        (e) => {
          putHeader(e, original.source.family);
          putTuple(e, CTA_TUPLE_ORIG, original);
        },
      )
    );
  }

  /**
   * Forgets the connections of a selection. Throws a TypeError for one without a condition, which
   * would be all of them, and for conditions of two families.
   */
  deleteFlows(selection: FlowSelection): void {
    const family = familyOf(selection);
    if (family === 4 && this.#canFilterDelete()) {
      this.#connection.request(
        `delete connections ${describeSelection(selection)}`,
        IPCTNL_MSG_CT_DELETE,
        0,
        (e) => putSelection(e, selection),
      );
    } else {
      for (const flow of this.flows(family, selection)) this.deleteFlow(flow);
    }
  }

  /**
   * Forgets what a host has opened and what was opened to it: what Calico does when an address is
   * released. The second is told by the reply's source, so that connections through a service's
   * address count too.
   */
  deleteFlowsOf(address: Ip): void {
    this.deleteFlows({ original: { source: address } });
    this.deleteFlows({ reply: { source: address } });
  }

  /** Tracks a connection that no packet has opened. EEXIST where there is one. */
  create(flow: Omit<Flow, "id" | "zone" | "mark">): void {
    this.#connection.request(
      `create connection ${describeTuple(flow.original)}`,
      IPCTNL_MSG_CT_NEW,
      NLM_F_CREATE | NLM_F_EXCL,
      (e) => putFlow(e, flow),
    );
  }

  close(): void {
    this.#connection.close();
  }

  #dump(family: Family, filter: FlowSelection | undefined): Flow[] {
    const list = (selection: FlowSelection | undefined) =>
      this.#connection.dump(
        "list connections",
        IPCTNL_MSG_CT_GET,
        (e) => selection ? putSelection(e, selection) : putHeader(e, family),
        getFlow,
      );
    if (filter && family === 4 && this.#filteredDump) {
      try {
        return list(filter);
      } catch (error) {
        if (!isKernelError(error, "EOPNOTSUPP", "EINVAL")) throw error;
        this.#filteredDump = false;
      }
    }
    return list(undefined);
  }

  /** Tries, once, a filter that no connection can meet: from the unspecified address. */
  #canFilterDelete(): boolean {
    if (this.#filteredDelete !== undefined) return this.#filteredDelete;
    const source: Ip = { family: 4, bytes: new Uint8Array(4) };
    try {
      this.#connection.request(
        "probe for filtered deletion of connections",
        IPCTNL_MSG_CT_DELETE,
        0,
        (e) => putSelection(e, { original: { source } }),
      );
      this.#filteredDelete = true;
    } catch (error) {
      if (!isKernelError(error, "EOPNOTSUPP", "EINVAL", "ENOENT")) throw error;
      this.#filteredDelete = false;
    }
    return this.#filteredDelete;
  }
}

/** The connections of a namespace, or of the one that this thread is in. */
export function openConntrack(netns?: Netns): Conntrack {
  const open = () => new Conntrack(openConnection(NETLINK_NETFILTER));
  return netns ? inNetns(netns, open) : open();
}

function ignoreMissing(action: () => void): boolean {
  try {
    action();
    return true;
  } catch (error) {
    if (isKernelError(error, "ENOENT")) return false;
    throw error;
  }
}
