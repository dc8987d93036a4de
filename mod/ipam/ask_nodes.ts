/**
 * Asks nodes whether containers of theirs have addresses, from wherever the datastore is reached: what
 * `ipam check` and `ipam release` do before they call an address unused (`questions.ts`).
 *
 *     question written beside those that stand -> the node answers that revision -> question taken back
 *
 * A node that has never said that it can be asked is not asked; nothing is waited for beyond the limit.
 * Who is cut off leaves a question that ends by itself.
 */
import { type Clock, sleep, systemClock } from "../store/clock.ts";
import { type Revision, type Store, StoreError } from "../store/store.ts";
import {
  type Answer,
  answerKey,
  type AskedAddress,
  askedId,
  type Question,
  questionKey,
  readAnswer,
  readQuestion,
} from "./questions.ts";

/** What a node says: which of the addresses containers of it have; or why it says nothing. */
export type NodeWord =
  | {
    /** Addresses. */
    readonly held: ReadonlySet<string>;
    /** What it was asked, each by `askedId`. */
    readonly asked: ReadonlySet<string>;
    /** What it could not look at: of addresses that are not held, it says nothing then. */
    readonly unseen?: string;
  }
  /** `never`: it cannot be asked at all, and is no node of ours or not yet one. */
  | { readonly silent: string; readonly never: boolean };

/** By node. */
export type NodeWords = ReadonlyMap<string, NodeWord>;

export type AskNodes = (
  questions: ReadonlyMap<string, readonly AskedAddress[]>,
) => Promise<NodeWords>;

export interface AskOptions {
  readonly clock?: Clock;
  /** Milliseconds that a node has for its answer. */
  readonly limit?: number;
}

const LIMIT = 10_000, PAUSE = 100;
/** Nodes that are asked at the same time. */
const AT_ONCE = 16;

/** A function that asks by way of this store. StoreError where the store itself is away. */
export function nodesOf(store: Store, options: AskOptions = {}): AskNodes {
  return async (questions) => {
    const words = new Map<string, NodeWord>();
    const left = [...questions];
    const work = async () => {
      for (let next = left.pop(); next; next = left.pop()) {
        const [node, addresses] = next;
        words.set(node, await askNode(store, node, addresses, options));
      }
    };
    await Promise.all(Array.from({ length: AT_ONCE }, work));
    return words;
  };
}

async function askNode(
  store: Store,
  node: string,
  addresses: readonly AskedAddress[],
  { clock = systemClock, limit = LIMIT }: AskOptions,
): Promise<NodeWord> {
  const deadline = clock.monotonicMs() + limit;
  // Long enough for the answer, and soon over where we are cut off.
  const until = clock.wallMs() + 2 * limit;
  try {
    if (!await store.get(answerKey(node))) {
      return { silent: `node ${node} cannot be asked`, never: true };
    }
    try {
      let asked: Revision | undefined;
      while (clock.monotonicMs() < deadline) {
        asked ??= await write(store, node, addresses, until);
        const answer = readAnswer((await store.get<Answer>(answerKey(node)))?.value);
        if (asked !== undefined && answer.asked === asked) {
          const { held, unseen } = answer;
          return {
            held: new Set(held),
            asked: new Set(addresses.map(askedId)),
            ...(unseen !== undefined && { unseen }),
          };
        }
        await sleep(clock, PAUSE);
        // Another has written his beside ours: the answer will be to that one.
        const stands = await store.get<Question>(questionKey(node));
        const all = readQuestion(stands?.value).addresses;
        const standing = new Set(all.filter((one) => one.until === until).map(askedId));
        const isOurs = addresses.every((one) => standing.has(askedId(one)));
        asked = isOurs ? stands?.revision : undefined;
      }
      const seconds = Math.round(limit / 1000);
      return { silent: `node ${node} has not answered within ${seconds} s`, never: false };
    } finally {
      await takeBack(store, node, until);
    }
  } catch (error) {
    if (!(error instanceof StoreError) || error.kind === "unavailable") throw error;
    return { silent: `node ${node} cannot be asked: ${error.message}`, never: true };
  }
}

/** The revision of the question with ours in it; undefined where another was first. */
async function write(
  store: Store,
  node: string,
  addresses: readonly AskedAddress[],
  until: number,
): Promise<Revision | undefined> {
  const key = questionKey(node);
  const stands = await store.get<Question>(key);
  const before = readQuestion(stands?.value);
  const others = before.addresses.filter((one) => one.until !== until);
  const ours = addresses.map((one) => ({ ...one, until }));
  const question = { ...before, addresses: [...others, ...ours] };
  return await unlessRaced(() =>
    stands ? store.update(key, question, stands.revision) : store.create(key, question)
  );
}

async function takeBack(store: Store, node: string, until: number): Promise<void> {
  const key = questionKey(node);
  for (let i = 0; i < 10; i++) {
    const stands = await store.get<Question>(key);
    const before = readQuestion(stands?.value);
    const others = before.addresses.filter((one) => one.until !== until);
    if (!stands || others.length === before.addresses.length) return;
    const { revision } = stands;
    const done = await unlessRaced(async () => {
      if (others.length === 0 && before.at === undefined) await store.delete(key, revision);
      else await store.update(key, { ...before, addresses: others }, revision);
      return true;
    });
    if (done) return;
  }
}

async function unlessRaced<T>(write: () => Promise<T>): Promise<T | undefined> {
  try {
    return await write();
  } catch (error) {
    const raced = error instanceof StoreError &&
      ["exists", "conflict", "notFound"].includes(error.kind);
    if (!raced) throw error;
    return undefined;
  }
}
