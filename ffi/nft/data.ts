/**
 * nf_tables data: what a register is loaded or compared with, and what a map yields. On the wire it is
 * a nest of either VALUE (bytes) or VERDICT (code, and a chain where the code goes to one).
 */
import type { AttributeCursor } from "../netlink/decoder.ts";
import type { MessageEncoder } from "../netlink/encoder.ts";

const NFTA_DATA_VALUE = 1;
const NFTA_DATA_VERDICT = 2;
const NFTA_VERDICT_CODE = 1;
const NFTA_VERDICT_CHAIN = 2;

/** What becomes of a packet. `break` ends the rule, `continue` goes on with the next expression. */
export type Verdict =
  | { readonly code: "accept" | "drop" | "continue" | "break" | "return" }
  | { readonly code: "jump" | "goto"; readonly chain: string };

export type Data =
  | { readonly value: Uint8Array; readonly verdict?: undefined }
  | { readonly verdict: Verdict; readonly value?: undefined };

const verdictCodes: Readonly<Record<Verdict["code"], number>> = {
  drop: 0,
  accept: 1,
  continue: -1,
  break: -2,
  jump: -3,
  goto: -4,
  return: -5,
};
const verdictNames = new Map(
  Object.entries(verdictCodes).map(([name, code]) => [code, name as Verdict["code"]]),
);

/** Writes a nest of DATA under this attribute. */
export function putData(encoder: MessageEncoder, attribute: number, data: Data): void {
  encoder.openNested(attribute);
  if (data.verdict === undefined) encoder.attrBytes(NFTA_DATA_VALUE, data.value);
  else {
    const { verdict } = data;
    encoder.openNested(NFTA_DATA_VERDICT);
    encoder.attrBe32(NFTA_VERDICT_CODE, verdictCodes[verdict.code]);
    if ("chain" in verdict) encoder.attrString(NFTA_VERDICT_CHAIN, verdict.chain);
    encoder.close();
  }
  encoder.close();
}

/**
 * Reads a nest of DATA. A verdict of the kernel that has no name here (queue) reads as `break`: it is
 * nothing that we would write, and compares unequal to all that we do.
 */
export function getData(cursor: AttributeCursor): Data {
  const inner = cursor.nested();
  while (inner.next()) {
    if (inner.type === NFTA_DATA_VALUE) return { value: inner.bytes() };
    if (inner.type === NFTA_DATA_VERDICT) return { verdict: getVerdict(inner.nested()) };
  }
  return { value: new Uint8Array(0) };
}

function getVerdict(inner: AttributeCursor): Verdict {
  let code: Verdict["code"] = "break";
  let chain = "";
  while (inner.next()) {
    if (inner.type === NFTA_VERDICT_CODE) code = verdictNames.get(inner.beI32()) ?? "break";
    else if (inner.type === NFTA_VERDICT_CHAIN) chain = inner.string();
  }
  return code === "jump" || code === "goto" ? { code, chain } : { code };
}

/** `jump cali-fw`, `drop`: as nft writes it. */
export function formatVerdict(verdict: Verdict): string {
  return "chain" in verdict ? `${verdict.code} ${verdict.chain}` : verdict.code;
}
