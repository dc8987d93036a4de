/** One rule of policy as the kernel is to have it: its expressions (statements.ts) and its mark. */
import type { Expression } from "../../../ffi/nft/expr.ts";
import type { Family, Rule } from "../../../policy/rules.ts";
import { markedComment, markedText, markOf } from "./rule_mark.ts";
import { type AnonymousSet, type SetKinds, StatementCompiler } from "./statements.ts";

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
  const text = markedText(rule.comment);
  const mark = markOf({ expressions, anonymous, named, text });
  return { expressions, anonymous, mark, comment: markedComment(mark, text) };
}
