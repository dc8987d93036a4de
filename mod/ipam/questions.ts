/**
 * What the controllers ask a node before they take an address back, and what the node answers. The
 * datastore alone does not tell whether a container still has an address: an endpoint's record may be
 * lost, and containers under other interface plugins have none. So the node looks: at its interfaces,
 * routes and namespaces.
 *
 *     /tortie/nodes/<node>/asked    { "addresses": [{ "ip", "handle", "until"? }], "at"? }
 *     /tortie/nodes/<node>/held     of the node: { "asked": "<revision of the question>", "held": ["…"],
 *                                               "unseen"?: "…" }
 *
 * The answer is of the question with that revision. A node of ours writes one when it starts, to no
 * question: so it is known that it can be asked. Calico's own nodes cannot.
 *
 * A node whose Node was deleted may run still, and on the Kubernetes API nothing but its answer shows
 * that: the controllers ask it again and again, with the time (`at`), which makes each a new question.
 *
 * The controllers take their questions back when they need no answer any more. Others (`ask_nodes.ts`:
 * the check, a release by hand) write theirs beside them with a time until which they stand.
 */
import { NODE_WORDS } from "../model/keys.ts";
import type { Revision } from "../store/store.ts";

export interface AskedAddress {
  readonly ip: string;
  /** `<network>.<container ID>[.<interface>]`. */
  readonly handle: string;
  /** Milliseconds since 1970; undefined: the controllers'. */
  readonly until?: number;
}

/** The address of one container and no other. */
export function askedId({ ip, handle }: AskedAddress): string {
  return `${ip} ${handle}`;
}

export interface Question {
  readonly addresses: readonly AskedAddress[];
  /** When the controllers asked whether it is there at all; milliseconds since 1970. */
  readonly at?: number;
}

export interface Answer {
  /** Revision of the question; empty for none. */
  readonly asked: Revision | "";
  /** Those of the addresses that a container on the node still has. */
  readonly held: readonly string[];
  /** What of the machine could not be looked at: of addresses that are not held, nothing is said then. */
  readonly unseen?: string;
}

export const questionKey = (node: string): string => `${NODE_WORDS}${node}/asked`;
export const answerKey = (node: string): string => `${NODE_WORDS}${node}/held`;

export function parseNodeKey(
  key: string,
): { readonly node: string; readonly is: "question" | "answer" } | undefined {
  const match = /^\/tortie\/nodes\/([^/]+)\/(asked|held)$/.exec(key);
  return match ? { node: match[1], is: match[2] === "asked" ? "question" : "answer" } : undefined;
}

export function readQuestion(value: unknown): Question {
  const { addresses, at } = (value ?? {}) as Partial<Question>;
  const sound = (one: any) =>
    typeof one?.ip === "string" && typeof one.handle === "string" &&
    (one.until === undefined || Number.isFinite(one.until));
  return {
    addresses: Array.isArray(addresses) ? addresses.filter(sound) : [],
    ...(Number.isFinite(at) && { at }),
  };
}

export function readAnswer(value: unknown): Answer {
  const { asked, held, unseen } = (value ?? {}) as Partial<Answer>;
  return {
    asked: typeof asked === "string" ? asked : "",
    held: Array.isArray(held) ? held.filter((ip) => typeof ip === "string") : [],
    ...(unseen !== undefined && { unseen: String(unseen) }),
  };
}

/** Whether the node has answered the question that stands: a sign of life, if no other is known. */
export function isAnswered(
  question: { readonly revision: Revision } | undefined,
  answer: Answer | undefined,
): boolean {
  return question !== undefined && answer?.asked === question.revision;
}

/** The container that a handle of an interface names, and the interface; undefined for other handles. */
export function containerOf(
  { handle }: Pick<AskedAddress, "handle">,
): readonly string[] {
  // A network's name may have dots itself, so every part after the first may be the container.
  return handle.split(".").slice(1).filter((part) => part !== "");
}
