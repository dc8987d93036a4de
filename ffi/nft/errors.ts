/**
 * Refusals of a transaction. The kernel answers with the sequence number of each message that it did
 * not take; we find that message in what was sent and say what it was about, because `ENOENT` alone
 * helps nobody who has sent two thousand messages.
 */
import { errnoCode, errnoText } from "../errors.ts";
import type { Acknowledgement } from "../netlink/acknowledgement.ts";
import { AttributeCursor, MessageCursor } from "../netlink/decoder.ts";
import { getExpressions } from "./expr.ts";
import { getSubject } from "./objects.ts";
import {
  NFGENMSG,
  NFT_MSG_NEWCHAIN,
  NFT_MSG_NEWRULE,
  NFT_MSG_NEWSETELEM,
  nftMessageName,
} from "./wire.ts";

/** Another program has committed since the generation that the transaction was computed from. */
export class StaleGenerationError extends Error {
  override readonly name = "StaleGenerationError";
  constructor(
    /** The generation that the transaction named. */
    readonly generation: number,
  ) {
    super(
      `nf_tables have changed since generation ${generation}: ` +
        "nothing was done; read them again and compute the change anew",
    );
  }
}

/** One message that the kernel refused. */
export interface TransactionRefusal {
  readonly errno: number;
  /** `"ENOENT"`. */
  readonly code: string;
  /** `add rule in chain cali-fw of table ip calico`. */
  readonly subject: string;
  /** What kind of message it was (NFT_MSG_…), and of which chain or set; absent: not one of ours. */
  readonly message?: { readonly type: number; readonly name: string };
  /** What the refused attribute said, or what the error means here. */
  readonly hint?: string;
  readonly detail?: string;
}

/** The kernel refused the transaction; nothing of it was done. */
export class TransactionError extends Error {
  override readonly name = "TransactionError";
  /** Of the first refusal. */
  readonly code: string;
  readonly errno: number;
  constructor(readonly refusals: readonly TransactionRefusal[]) {
    const [first] = refusals;
    const more = refusals.length > 1 ? `; and ${refusals.length - 1} more refusals` : "";
    super(`nf_tables transaction refused: ${formatRefusal(first)}${more}`);
    this.code = first.code;
    this.errno = first.errno;
  }
}

function formatRefusal(refusal: TransactionRefusal): string {
  const why = refusal.hint ?? refusal.detail;
  return `${refusal.subject}: ${errnoText(refusal.errno)} (${refusal.code}${
    why ? `; ${why}` : ""
  })`;
}

/** Says what each refused message of the datagram was. */
export function explainRefusals(
  datagram: Uint8Array,
  refused: readonly Acknowledgement[],
): TransactionRefusal[] {
  const bySequence = new Map(refused.map((ack) => [ack.sequence, ack]));
  const refusals: TransactionRefusal[] = [];
  for (const message = new MessageCursor(datagram); message.next();) {
    const ack = bySequence.get(message.sequence);
    if (!ack) continue;
    bySequence.delete(ack.sequence);
    refusals.push({
      errno: ack.errno,
      code: errnoCode(ack.errno),
      subject: describeMessage(message),
      message: { type: message.type, name: getSubject(message).name },
      hint: describeCause(message, ack),
      detail: ack.detail,
    });
  }
  // An answer to a number that we did not send: keep it, so that no refusal looks like a success.
  for (const ack of bySequence.values()) {
    refusals.push({
      errno: ack.errno,
      code: errnoCode(ack.errno),
      subject: `message ${ack.sequence}`,
      detail: ack.detail,
    });
  }
  return refusals;
}

/** `add rule in chain cali-fw of table ip calico`. */
export function describeMessage(message: MessageCursor): string {
  const verb = nftMessageName(message.type);
  const { family, table, name } = getSubject(message);
  if (!table) return verb;
  const where = `table ${family ?? "?"} ${table}`;
  if (!name) {
    return message.type <= 0xa02 ? `${verb} ${family ?? "?"} ${table}` : `${verb} of ${where}`;
  }
  if (verb.endsWith(" rule")) return `${verb} in chain ${name} of ${where}`;
  if (verb.endsWith(" elements")) return `${verb} of set ${name} of ${where}`;
  return `${verb} ${name} of ${where}`;
}

/** What is likely wrong, as far as message and error tell. */
function describeCause(message: MessageCursor, ack: Acknowledgement): string | undefined {
  const code = errnoCode(ack.errno);
  if (code === "EMLINK") return "chains call one another in a circle, or more than 16 deep";
  const text = ack.attributeOffset ? attributeText(message, ack.attributeOffset) : undefined;
  if (code === "ENOENT") {
    if (text) return `there is no ${text}`;
    if (message.type === NFT_MSG_NEWRULE) {
      const wanted = ruleReferences(message);
      if (wanted.length) return `one of ${wanted.join(", ")} is missing`;
    }
    return undefined;
  }
  if (code === "EBUSY" && text) return `${text} is still in use`;
  if (code === "EEXIST" && message.type === NFT_MSG_NEWSETELEM) {
    return "an element is there already with another value, or intervals overlap";
  }
  if (code === "EEXIST" && text) return `${text} is there as another kind`;
  if (code === "EOPNOTSUPP" && message.type === NFT_MSG_NEWCHAIN) {
    return "type and hook of the chain do not go together, or its kernel module is missing";
  }
  return text && `refused at ${text}`;
}

/** The text of the string attribute at this offset of the message, or its bytes as hex. */
function attributeText(message: MessageCursor, offset: number): string | undefined {
  const at = message.start - 16 + offset;
  if (at + 4 > message.end) return undefined;
  const attribute = new AttributeCursor(message.buffer, at, message.end);
  if (!attribute.next()) return undefined;
  const text = attribute.string();
  return /^[\x20-\x7e]{2,}$/.test(text) ? `"${text}"` : undefined;
}

/** Chains and sets that a rule names. */
function ruleReferences(message: MessageCursor): string[] {
  const names = new Set<string>();
  for (const a = message.attributes(NFGENMSG); a.next();) {
    if (a.type !== 4) continue;
    for (const expression of getExpressions(a)) {
      if (expression.kind === "lookup") names.add(`set ${expression.set}`);
      if (
        expression.kind === "immediate" && expression.data.verdict &&
        "chain" in expression.data.verdict
      ) {
        names.add(`chain ${expression.data.verdict.chain}`);
      }
    }
  }
  return [...names];
}
