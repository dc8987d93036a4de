/**
 * YAML as Kubernetes reads it (sigs.k8s.io/yaml: YAML 1.1 booleans and octal numbers, merge keys, no
 * dates and no sexagesimal numbers), and YAML that all of its readers read alike. JSON texts go to
 * a reader of JSON, also several objects one after the other, each of which is a document. Integers
 * beyond 2^53 are bigint, so that a field that nobody here knows goes through unrounded. What comes in
 * is not trusted: its size, its depth and the growth through aliases are bounded.
 */
import {
  Document,
  isCollection,
  isNode,
  LineCounter,
  parseAllDocuments,
  type Tags,
  visit,
} from "yaml";
import { isTooDeep, parseJson } from "../store/json.ts";
import { repeatedKey } from "./json_keys.ts";
import { FLOAT_TAG, INTEGER_TAG } from "./yaml_numbers.ts";

/** Text that is not YAML or JSON, or more than we read. The message begins with file and line. */
export class YamlError extends Error {
  override readonly name = "YamlError";
}

/** One document of a file. */
export interface YamlDocument {
  readonly value: unknown;
  /** From 1; empty documents are counted, not given. */
  readonly number: number;
  /** Of its first line with content, from 1. */
  readonly line: number;
  /** The line of a path such as `spec.ingress[0].action`, or of the nearest parent that is there. */
  lineOf(path: string): number;
}

/** The most that is read of one file or of standard input. */
export const MAX_BYTES = 64 * 1024 * 1024;
/** Levels of a document; an object may have 200, and stands in lists. */
const DEEPEST = 250;
const TOO_DEEP = `it is nested deeper than ${DEEPEST} levels`;
/** Nodes that aliases may stand for; a bomb of nested aliases has thousands of millions. */
const MAX_ALIASES = 100;

/** The library's own tags that take `e1` and `.` for numbers, or times for something else than texts. */
const replaced = ({ tag, test }: any) =>
  /:(?:int|timestamp)$/.test(tag) || tag?.endsWith(":float") && !test.test(".inf");

const READ = {
  schema: "yaml-1.1" as const,
  merge: true,
  customTags: (tags: Tags) => [
    INTEGER_TAG,
    FLOAT_TAG,
    ...tags.filter((tag) => !replaced(tag)),
  ],
};
/** As Go prints it: an exponent of two digits. */
const withExponent = ({ value }: { value: number }) =>
  value.toExponential().replace(/e([+-])(\d)$/, "e$10$2");

// The whole list when writing: what a stricter reader would take for a date is quoted.
const WRITE = {
  schema: "yaml-1.1" as const,
  // The merge tag would write every text `<<` as the operator.
  customTags: (tags: Tags) => [
    INTEGER_TAG,
    FLOAT_TAG,
    ...tags.filter((tag: any) => !String(tag.tag ?? "").endsWith(":merge"))
      .map((tag: any) => tag.format === "EXP" ? { ...tag, stringify: withExponent } : tag),
  ],
  // As Go writes it: a list is not indented below its key.
  indentSeq: false,
  lineWidth: 0,
  // A line of blanks within folded quotes comes out with a backslash more.
  doubleQuotedMinMultiLineLength: Infinity,
  aliasDuplicateObjects: false,
};

/**
 * Texts that one of YAML's readers takes for something else, or does not take: what YAML 1.1 has a meaning for,
 * marks of documents, tabs, blanks before the first word of several lines, letters that it does not print.
 */
const STRANGE_LETTERS = "\\x7f-\\x9f\\u2028\\u2029\\ufeff\\ufffe\\uffff";
const READERS_OWN = new RegExp(
  `^(?:<<|=|(?:---|\\.\\.\\.)(?=\\s|$)[^]*|\\s[^]*\\n[^]*|\\s*\\t[^]*|.*\\t.*|[^]*[\x00-\x08\x0b-\x1f${STRANGE_LETTERS}][^]*)$`,
);
const STRANGE_LETTER = new RegExp(`[${STRANGE_LETTERS}]`, "g");

/** All documents of a text, empty ones left out. `name` is the file's, for messages. */
export function parseYaml(text: string, name: string, max = MAX_BYTES): YamlDocument[] {
  if (text.length > max) {
    throw new YamlError(
      `${name}: more than ${max / 1024 / 1024} MiB; split it into several files`,
    );
  }
  const { documents: found, rest } = leadingJson(text, name);
  if (rest === undefined) return found;
  // The rest is YAML; or JSON with a fault, which YAML's flow style knows, and says better where it is.
  const { length: before } = found;
  const lines = new LineCounter();
  const documents = parseAllDocuments(withoutMarks(text.slice(rest.start)), {
    ...READ,
    lineCounter: lines,
    prettyErrors: true,
  });
  const language = before === 0 ? "YAML" : "JSON or YAML";
  (Array.isArray(documents) ? documents : []).forEach((document, i) => {
    const number = before + i + 1;
    const fault = document.errors[0];
    if (fault) {
      const line = rest.line - 1 + (fault.linePos?.[0].line ?? 1);
      const what = fault.message.split("\n")[0].replace(/ at line \d+, column \d+:?$/, "")
        .replace(/^Maximum call stack.*/, TOO_DEEP);
      throw new YamlError(`${name}:${line}: document ${number} is not ${language}: ${what}`);
    }
    const strange = collectionKey(document);
    if (strange !== undefined) {
      throw new YamlError(
        `${name}:${lineAt(strange)}: document ${number}: a key is a list or an object; want a text`,
      );
    }
    const line = lineAt(document.contents?.range?.[0]);
    const value = toValue(document, `${name}:${line}: document ${number}`);
    if (value === null || value === undefined) return;
    found.push({
      value,
      number,
      line,
      lineOf: (path) => lineAt(offsetOf(document, path)),
    });
  });
  return found;

  function lineAt(offset: number | undefined): number {
    return rest!.line - 1 + (offset === undefined ? 1 : lines.linePos(offset).line);
  }
}

/** Files that were put one behind the other: a byte order mark may begin each document (YAML 1.2, 5.2). */
function withoutMarks(text: string): string {
  return text.replace(/^((?:---|\.\.\.)[^\n]*\n)\ufeff/gm, "$1");
}

/**
 * The JSON values that a text begins with, as long as another one follows or the text ends; and where
 * what is left begins. Nothing of YAML can go on with a further value behind a first, so only what is
 * JSON is taken for it.
 */
function leadingJson(
  text: string,
  name: string,
): { documents: YamlDocument[]; rest?: { start: number; line: number } } {
  const documents: YamlDocument[] = [];
  let line = 1;
  for (let start = 0;;) {
    const begin = skipBlank(text, start);
    const opens = text[begin] === "{" || text[begin] === "[";
    // Mostly there is one value, and nobody has to look for its end.
    const whole = opens && start === 0 ? readJson(text) : undefined;
    const end = whole !== undefined ? text.length : opens ? endOfJson(text, begin) : undefined;
    if (end === undefined) return { documents, rest: { start, line } };
    const value = whole ?? readJson(text.slice(begin, end));
    if (value === undefined && isTooDeep(text.slice(begin, end))) {
      const at = line + newlines(text, start, begin);
      throw new YamlError(`${name}:${at}: document ${documents.length + 1}: ${TOO_DEEP}`);
    }
    const next = skipBlank(text, end);
    const goesOn = next === text.length || text[next] === "{" || text[next] === "[";
    if (value === undefined || !goesOn) return { documents, rest: { start, line } };
    const at = line + newlines(text, start, begin);
    const twice = repeatedKey(text.slice(begin, end));
    if (twice) {
      const line = at + newlines(text, begin, begin + twice.offset);
      throw new YamlError(
        `${name}:${line}: document ${documents.length + 1}: the key ${JSON.stringify(twice.key)} ` +
          "stands there twice in one object",
      );
    }
    const fault = faultOf(value);
    if (fault) throw new YamlError(`${name}:${at}: document ${documents.length + 1}: ${fault}`);
    documents.push({ value, number: documents.length + 1, line: at, lineOf: () => at });
    if (next === text.length) return { documents };
    line += newlines(text, start, next);
    start = next;
  }
}

/** Blanks of JSON. */
function skipBlank(text: string, at: number): number {
  while (at < text.length && " \t\r\n\ufeff".includes(text[at])) at++;
  return at;
}

function newlines(text: string, from: number, to: number): number {
  let count = 0;
  for (let i = text.indexOf("\n", from); i !== -1 && i < to; i = text.indexOf("\n", i + 1)) count++;
  return count;
}

/** Behind the bracket that closes the one at `start`; undefined where none does. */
function endOfJson(text: string, start: number): number | undefined {
  let depth = 0, quoted = false;
  for (let i = start; i < text.length; i++) {
    const letter = text[i];
    if (quoted) {
      if (letter === "\\") i++;
      else if (letter === '"') quoted = false;
    } else if (letter === '"') quoted = true;
    else if (letter === "{" || letter === "[") depth++;
    else if ((letter === "}" || letter === "]") && --depth === 0) return i + 1;
  }
  return undefined;
}

/** A value as YAML; keys in alphabetic order, as Kubernetes' tools print objects. */
export function formatYaml(value: unknown): string {
  const document = new Document(sorted(value), WRITE);
  visit(document, {
    Scalar(_, node) {
      const { value } = node;
      if (typeof value === "string" && READERS_OWN.test(value)) node.type = "QUOTE_DOUBLE";
      if (typeof value === "number" && value !== 0 && Math.abs(value) < 1e-4) node.format = "EXP";
    },
  });
  // They stand within double quotes, where JSON has no need to escape them.
  return document.toString(WRITE).replace(
    STRANGE_LETTER,
    (letter) => `\\u${letter.charCodeAt(0).toString(16).padStart(4, "0")}`,
  );
}

function readJson(text: string): unknown {
  try {
    return parseJson(text);
  } catch {
    return undefined;
  }
}

function toValue(document: Document, where: string): unknown {
  let value: unknown;
  try {
    value = document.toJS({ maxAliasCount: MAX_ALIASES });
  } catch (error) {
    const tooDeep = error instanceof RangeError;
    throw new YamlError(`${where}: ${tooDeep ? TOO_DEEP : (error as Error).message}`);
  }
  const fault = faultOf(value);
  if (fault) throw new YamlError(`${where}: ${fault}`);
  return withNumbers(value, new Set());
}

/**
 * Why a value has no end, or one that nobody's recursion reaches, or a text that is none; undefined where it
 * is sound. (An escape can name half of a surrogate pair, which Go reads as another letter.)
 */
function faultOf(value: unknown): string | undefined {
  const isBranch = (one: unknown): one is object => typeof one === "object" && one !== null;
  const open: { branch: object; depth: number }[] = isBranch(value)
    ? [{ branch: value, depth: 1 }]
    : [];
  /** The branches above the one that is looked at. */
  const above: object[] = [];
  for (let next = open.pop(); next; next = open.pop()) {
    const { branch, depth } = next;
    above.length = depth - 1;
    if (depth > DEEPEST) {
      return new Set(above).size < above.length
        ? "an alias (*) stands within what it stands for, which has no end then"
        : TOO_DEEP;
    }
    above.push(branch);
    for (const [key, member] of Object.entries(branch)) {
      const half = [key, member].find((one) => typeof one === "string" && !one.isWellFormed());
      if (half !== undefined) {
        return `${JSON.stringify(half)} has half of a letter in it (\\ud800 to \\udfff)`;
      }
      if (isBranch(member)) open.push({ branch: member, depth: depth + 1 });
    }
  }
  return undefined;
}

/** Integers that a double can hold as numbers, in place; aliases stand for one object several times. */
function withNumbers(value: unknown, seen: Set<object>): unknown {
  if (typeof value === "bigint") {
    return Number.isSafeInteger(Number(value)) ? Number(value) : value;
  }
  if (typeof value !== "object" || value === null || seen.has(value)) return value;
  seen.add(value);
  for (const [key, member] of Object.entries(value)) {
    const next = withNumbers(member, seen);
    if (next !== member) Object.defineProperty(value, key, { value: next });
  }
  return value;
}

/** Where a key begins that is no scalar, which YAML allows and no object of ours has. */
function collectionKey(document: Document): number | undefined {
  let offset: number | undefined;
  visit(document, {
    Pair(_, { key }) {
      if (!isCollection(key)) return undefined;
      offset = key.range?.[0] ?? 0;
      return visit.BREAK;
    },
  });
  return offset;
}

/** Where a path, or its nearest parent that is there, begins in the text. */
function offsetOf(document: Document, path: string): number | undefined {
  const keys = path.match(/[^.[\]]+/g) ?? [];
  let offset = isNode(document.contents) ? document.contents.range?.[0] : undefined;
  for (let n = 1; n <= keys.length; n++) {
    const node = document.getIn(
      keys.slice(0, n).map((k) => /^[0-9]+$/.test(k) ? Number(k) : k),
      true,
    );
    if (!isNode(node) || !node.range) break;
    offset = node.range[0];
  }
  return offset;
}

function sorted(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(sorted);
  if (typeof value !== "object" || value === null) return value;
  return Object.fromEntries(
    Object.entries(value).sort(([a], [b]) => a < b ? -1 : 1).map(([k, v]) => [k, sorted(v)]),
  );
}
