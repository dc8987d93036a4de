/**
 * YAML as Kubernetes reads it (sigs.k8s.io/yaml: YAML 1.1 booleans and octal numbers, merge keys, no
 * dates and no sexagesimal numbers), and YAML that all of its readers read alike. JSON texts go to
 * JSON.parse. What comes in is not trusted: its size and the growth through aliases are bounded.
 */
import {
  type Document,
  isCollection,
  isNode,
  LineCounter,
  parseAllDocuments,
  stringify,
  type Tags,
  visit,
} from "yaml";

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
export const MAX_BYTES = 4 * 1024 * 1024;
/** Nodes that aliases may stand for; a bomb of nested aliases has thousands of millions. */
const MAX_ALIASES = 100;

const octal = {
  tag: "tag:yaml.org,2002:int",
  default: true,
  format: "OCT",
  test: /^[-+]?0o[0-7]+$/,
  resolve: (text: string) => parseInt(text.replace("0o", ""), 8),
} as const;

const READ = {
  schema: "yaml-1.1" as const,
  merge: true,
  customTags: (tags: Tags) => [
    octal,
    ...tags.filter((tag: any) =>
      tag.format !== "TIME" && !String(tag.tag ?? "").endsWith(":timestamp")
    ),
  ],
};
// The whole list when writing: what a stricter reader would take for a date is quoted.
const WRITE = {
  schema: "yaml-1.1" as const,
  customTags: (tags: Tags) => [octal, ...tags],
  // As Go writes it: a list is not indented below its key.
  indentSeq: false,
  lineWidth: 0,
  aliasDuplicateObjects: false,
};

/** All documents of a text, empty ones left out. `name` is the file's, for messages. */
export function parseYaml(text: string, name: string, max = MAX_BYTES): YamlDocument[] {
  if (text.length > max) {
    throw new YamlError(
      `${name}: more than ${max / 1024 / 1024} MiB; split it into several files`,
    );
  }
  if (/^\s*[[{]/.test(text)) {
    const json = parseJson(text);
    if (json !== undefined) return [{ value: json, number: 1, line: 1, lineOf: () => 1 }];
    // YAML has a flow style that looks like JSON, and says better where the fault is.
  }
  const lines = new LineCounter();
  const found: YamlDocument[] = [];
  const documents = parseAllDocuments(text, { ...READ, lineCounter: lines, prettyErrors: true });
  (Array.isArray(documents) ? documents : []).forEach((document, i) => {
    const fault = document.errors[0];
    if (fault) {
      const line = fault.linePos?.[0].line ?? 1;
      const what = fault.message.split("\n")[0].replace(/ at line \d+, column \d+:?$/, "");
      throw new YamlError(`${name}:${line}: document ${i + 1} is not YAML: ${what}`);
    }
    const strange = collectionKey(document);
    if (strange !== undefined) {
      throw new YamlError(
        `${name}:${lineAt(strange)}: document ${i + 1}: a key is a list or an object; want a text`,
      );
    }
    const line = lineAt(document.contents?.range?.[0]);
    const value = toValue(document, `${name}:${line}: document ${i + 1}`);
    if (value === null || value === undefined) return;
    found.push({
      value,
      number: i + 1,
      line,
      lineOf: (path) => lineAt(offsetOf(document, path)),
    });
  });
  return found;

  function lineAt(offset: number | undefined): number {
    return offset === undefined ? 1 : lines.linePos(offset).line;
  }
}

/** A value as YAML; keys in alphabetic order, as Kubernetes' tools print objects. */
export function formatYaml(value: unknown): string {
  return stringify(sorted(value), WRITE);
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

function toValue(document: Document, where: string): unknown {
  try {
    return document.toJS({ maxAliasCount: MAX_ALIASES });
  } catch (error) {
    throw new YamlError(`${where}: ${(error as Error).message}`);
  }
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
