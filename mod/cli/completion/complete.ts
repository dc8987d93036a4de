/**
 * What may stand where the cursor is. Pure: from the tree of commands and the words before the cursor
 * to candidates, or to a question that the datastore answers (`values.ts`).
 */
import { KINDS } from "../../model/kinds.ts";
import type { Completes } from "../command.ts";
import type { CompletedCommand, CompletedFlag } from "./tree.ts";

export interface Candidate {
  readonly word: string;
  readonly about?: string;
}

export interface Completion {
  readonly candidates: readonly Candidate[];
  /** File names may stand there. */
  readonly files?: boolean;
  /** Candidates that the datastore knows, each put behind `prefix`. */
  readonly ask?: Question;
}

export interface Question {
  readonly what: "names" | "namespaces" | "nodes" | "cidrs";
  /** As it was typed. */
  readonly kind?: string;
  /** Names that are there already. */
  readonly without: readonly string[];
  /** `--namespace=` where the value is joined to its flag. */
  readonly prefix: string;
  readonly partial: string;
  /** Flags that say where the datastore is, and the namespace. */
  readonly options: Readonly<Record<string, string | boolean>>;
}

/** The candidates for the last word, which may be empty. Flags are offered once a `-` is typed. */
export function complete(root: CompletedCommand, words: readonly string[]): Completion {
  const current = words.at(-1) ?? "";
  if (words[0] === "help" && words.length > 1) {
    const { command, operands } = read(root, words.slice(1, -1));
    return { candidates: operands.length === 0 ? below(command, current) : [] };
  }
  const { command, operands, options, open, dashes } = read(root, words.slice(0, -1));
  const say = (what: Completes, prefix: string, partial: string) =>
    answer(what, prefix, partial, operands, options);
  if (open) return say(open, "", current);
  if (!dashes && current.startsWith("-")) {
    const joined = /^(--[\w-]+=)(.*)$/s.exec(current) ?? /^(-\w=?)(.+)$/s.exec(current);
    const flag = joined && findFlag(command, joined[1].replace(/=$/, ""));
    if (flag?.value) return say(flag.value, joined![1], joined![2]);
    return { candidates: flagWords(command, current) };
  }
  if (command.children.length > 0 && operands.length === 0) {
    return { candidates: below(command, current) };
  }
  const operand = command.operands[Math.min(operands.length, command.operands.length - 1)];
  return operand === undefined ? { candidates: [] } : say(operand, "", current);
}

function below({ children }: CompletedCommand, current: string): Candidate[] {
  return children.filter(({ word }) => word.startsWith(current)).map(({ word, about }) => ({
    word,
    about,
  }));
}

interface Read {
  readonly command: CompletedCommand;
  readonly operands: readonly string[];
  readonly options: Record<string, string | boolean>;
  /** The last word is a flag that waits for its value. */
  readonly open?: Completes;
  /** `--` was typed: no more flags. */
  readonly dashes: boolean;
}

function read(root: CompletedCommand, words: readonly string[]): Read {
  let command = root;
  const operands: string[] = [];
  const options: Record<string, string | boolean> = {};
  for (let i = 0; i < words.length; i++) {
    const word = words[i];
    if (word === "--") {
      operands.push(...words.slice(i + 1));
      return { command, operands, options, dashes: true };
    }
    if (word.startsWith("-") && word !== "-") {
      const [name, ...joined] = word.split("=");
      const flag = findFlag(command, name);
      if (!flag?.value) {
        if (flag?.long) options[flag.long] = true;
      } else if (joined.length > 0) options[flag.long ?? name] = joined.join("=");
      else if (i + 1 === words.length) {
        return { command, operands, options, open: flag.value, dashes: false };
      } else options[flag.long ?? name] = words[++i];
      continue;
    }
    const child = operands.length === 0 && command.children.find((one) => one.word === word);
    if (child) command = child;
    else operands.push(word);
  }
  return { command, operands, options, dashes: false };
}

/** Of a word such as `--output`, `-o` or `-Ao`: in a bunch the last letter counts. */
function findFlag({ flags }: CompletedCommand, word: string): CompletedFlag | undefined {
  return word.startsWith("--")
    ? flags.find(({ long }) => long === word.slice(2))
    : flags.find(({ short }) => short !== undefined && short === word.at(-1));
}

function flagWords({ flags }: CompletedCommand, current: string): Candidate[] {
  return flags.filter(({ hidden }) => !hidden).flatMap(({ long, short, about }) => {
    const word = long !== undefined ? `--${long}` : `-${short}`;
    return word.startsWith(current) ? [{ word, about }] : [];
  });
}

function answer(
  what: Completes,
  prefix: string,
  partial: string,
  operands: readonly string[],
  options: Record<string, string | boolean>,
): Completion {
  const ask = (question: Question["what"], kind?: string): Completion => ({
    candidates: [],
    ask: { what: question, kind, without: operands.slice(1), prefix, partial, options },
  });
  if (typeof what === "object") {
    const fitting = what.filter((value) => value.startsWith(partial));
    return { candidates: fitting.map((value) => ({ word: prefix + value })) };
  }
  switch (what) {
    case "kind":
      return kinds(prefix, partial);
    case "name":
      return ask("names", operands[0]);
    case "namespace":
      return ask("namespaces", operands[0]);
    case "node":
      return ask("nodes");
    case "nodes": {
      const [, before, last] = /^(.*,)?([^,]*)$/s.exec(partial)!;
      return answer(
        "node",
        prefix + (before ?? ""),
        last,
        ["", ...(before ?? "").split(",")],
        options,
      );
    }
    case "pool":
      return answer("name", prefix, partial, ["ippool"], options);
    case "cidr":
      return ask("cidrs");
    case "file":
      return { candidates: [], files: true };
    case "nothing":
      return { candidates: [] };
  }
}

/** One word a kind: the first of its names that begins so. */
function kinds(prefix: string, partial: string): Completion {
  const lower = partial.toLowerCase();
  const candidates = KINDS.flatMap(({ names, kind }) => {
    const name = names.find((one) => one.startsWith(lower));
    return name === undefined ? [] : [{ word: prefix + name, about: kind }];
  });
  return { candidates };
}
