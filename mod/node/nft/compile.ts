/**
 * One rule of policy as the kernel is to have it: its expressions (statements.ts) and its mark.
 *
 * Every rule carries a mark in its comment, `cali:<16 characters>;`, which stands for all that the
 * rule says: the bytes of its expressions, the elements of its anonymous sets, the kinds of the sets
 * that it names, its comment. Two rules are the same if and only if their marks are; so a process that
 * finds a table can tell what of it is already as it should be, and a newer version that compiles a
 * statement otherwise replaces what an older one wrote.
 */
import { createHash } from "node:crypto";
import { MessageEncoder } from "../../../ffi/netlink/encoder.ts";
import { type Expression, putExpressions } from "../../../ffi/nft/expr.ts";
import { NFT_COMMENT_MAX } from "../../../ffi/nft/userdata.ts";
import type { Family, Rule } from "../../../policy/rules.ts";
import { type AnonymousSet, type SetKinds, StatementCompiler } from "./statements.ts";
import { cutBytes } from "./terms.ts";

export interface CompiledRule {
  /** A lookup with `setId` n means the n-th anonymous set, counted from 1. */
  readonly expressions: readonly Expression[];
  readonly anonymous: readonly AnonymousSet[];
  /** 16 characters that stand for all of the rule. */
  readonly mark: string;
  /** The mark and what policy says to people. */
  readonly comment: string;
}

/** Compiles one rule of the chain `chain`, for its table's family. Throws CompileError. */
export function compileRule(
  rule: Rule,
  chain: string,
  family: Family,
  kinds: SetKinds,
): CompiledRule {
  const compiler = new StatementCompiler(chain, family, kinds);
  for (const statement of rule.statements) compiler.statement(statement);
  const { expressions, anonymous, named } = compiler;
  const mark = markOf(expressions, anonymous, named, rule.comment ?? "");
  return { expressions, anonymous, mark, comment: commentOf(mark, rule.comment) };
}

const markLength = 16;

/** The mark in a comment; "" where there is none: then the rule is not ours. */
export function readMark(comment: string): string {
  return comment.startsWith("cali:") && comment[5 + markLength] === ";"
    ? comment.slice(5, 5 + markLength)
    : "";
}

function commentOf(mark: string, text: string | undefined): string {
  const own = `cali:${mark};`;
  return text ? cutBytes(`${own} ${text}`, NFT_COMMENT_MAX - 1) : own;
}

const scratch = new MessageEncoder();

function markOf(
  expressions: readonly Expression[],
  anonymous: readonly AnonymousSet[],
  named: readonly string[],
  comment: string,
): string {
  scratch.reset().begin(0, 0, 0);
  putExpressions(scratch, 0, expressions);
  for (const { elements } of anonymous) {
    for (const { key, flags } of elements) scratch.attrBytes(flags ?? 0, key);
  }
  for (const name of named) scratch.attrString(1, name);
  scratch.attrString(2, comment);
  const bytes = scratch.end().finish();
  return createHash("sha256").update(bytes).digest("base64url").slice(0, markLength);
}
