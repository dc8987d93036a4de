/**
 * A ruleset of nf_tables as text: tables with their chains, rules and sets. Rules are written expression by
 * expression, as `nft --debug=netlink` does: the machine's words, which lose nothing.
 */
import { formatIp } from "../../net/mod.ts";
import type { NftClient } from "../../../ffi/nft/client.ts";
import type { NftElement } from "../../../ffi/nft/elements.ts";
import type { Expression } from "../../../ffi/nft/expr.ts";
import type { NftChain, NftRule } from "../../../ffi/nft/objects.ts";
import type { NftSet } from "../../../ffi/nft/set.ts";
import { readComment } from "../../../ffi/nft/userdata.ts";
import { NFT_SET_ANONYMOUS, NFT_SET_ELEM_INTERVAL_END } from "../../../ffi/nft/wire.ts";

/** Of a set, so many elements are told. */
const MOST_ELEMENTS = 5000;

/** All tables of the client's namespace. */
export function rulesetText(client: NftClient): string {
  const parts: string[] = [];
  for (const { family, name } of client.tables()) {
    const table = { family, name };
    const rules = Map.groupBy(client.rules(table), ({ chain }) => chain);
    parts.push(
      `table ${family} ${name} {`,
      ...client.sets(table).map((set) => setText(set, client.elements(set))),
      ...client.chains(table).map((chain) => chainText(chain, rules.get(chain.name) ?? [])),
      "}",
    );
  }
  return parts.join("\n") + "\n";
}

export function setText(set: NftSet, elements: readonly NftElement[]): string {
  const what = set.dataLength !== undefined || set.dataType !== undefined ? "map" : "set";
  const anonymous = set.flags & NFT_SET_ANONYMOUS ? " anonymous" : "";
  const lines = elements.slice(0, MOST_ELEMENTS).map((element) => {
    const end = (element.flags ?? 0) & NFT_SET_ELEM_INTERVAL_END ? " end" : "";
    const data = element.data === undefined ? "" : ` : ${valueText(element.data)}`;
    return `    ${keyText(element.key)}${end}${data}`;
  });
  if (elements.length > MOST_ELEMENTS) {
    lines.push(`    … and ${elements.length - MOST_ELEMENTS} more`);
  }
  return [
    `  ${what} ${set.name} {${anonymous} flags 0x${
      set.flags.toString(16)
    } key ${set.keyLength} bytes`,
    ...lines,
    "  }",
  ].join("\n");
}

export function chainText({ name, base }: NftChain, rules: readonly NftRule[]): string {
  const hook = base
    ? ` type ${base.type} hook ${base.hook} priority ${base.priority} policy ${
      base.policy ?? "accept"
    }`
    : "";
  return [`  chain ${name} {${hook}`, ...rules.map(ruleText), "  }"].join("\n");
}

function ruleText({ expressions, userdata, handle }: NftRule): string {
  const comment = userdata ? readComment(userdata) : undefined;
  const end = comment ? ` comment ${JSON.stringify(comment)}` : "";
  return `    ${expressions.map(expressionText).join(" ")}${end} # handle ${handle ?? "?"}`;
}

function expressionText(expression: Expression): string {
  const { kind, ...fields } = expression;
  const words = Object.entries(fields).filter(([, value]) => value !== undefined)
    .map(([name, value]) => `${name} ${valueText(value)}`);
  return `[ ${[kind, ...words].join(" ")} ]`;
}

function valueText(value: unknown): string {
  if (value instanceof Uint8Array) {
    const name = nameIn(value);
    return name === undefined ? `0x${hex(value)}` : JSON.stringify(name);
  }
  if (typeof value !== "object" || value === null) return String(value);
  return Object.values(value).filter((v) => v !== undefined).map(valueText).join(" ");
}

/** Names of interfaces and addresses of both families as people write them. */
function keyText(key: Uint8Array): string {
  const name = nameIn(key);
  if (name !== undefined) return JSON.stringify(name);
  const plain = `0x${hex(key)}`;
  if (key.length !== 4 && key.length !== 16) return plain;
  return `${plain} (${formatIp({ family: key.length === 4 ? 4 : 6, bytes: key })})`;
}

/** The beginning of an interface's name, or the whole of it, filled up with zeros. */
function nameIn(bytes: Uint8Array): string | undefined {
  const text = String.fromCharCode(...bytes);
  return /^[A-Za-z][\w.-]{2,}\0*$/.test(text) ? text.replace(/\0+$/, "") : undefined;
}

function hex(bytes: Uint8Array): string {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}
