/**
 * Label selectors (equality based, set based, existence) and field selectors, read from a query
 * parameter. Kubernetes' page "Labels and Selectors" gives the grammar: requirements are joined with a
 * comma, which means and; `!=` and `notin` also match objects without the key. A field selector knows
 * `=`, `==` and `!=` alone, and only the fields that the resource says it can select by.
 */
import type { KubeObject } from "./object.ts";
import { badRequest } from "./status.ts";

export type Matcher = (object: KubeObject) => boolean;

const ALL: Matcher = () => true;
const KEY =
  /^([a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*\/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$/;
const VALUE = /^([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?$/;

type Labels = Record<string, string>;
type Requirement = (labels: Labels) => boolean;

/** Splits at commas that stand outside brackets. */
function requirements(text: string): string[] {
  const parts: string[] = [];
  let depth = 0;
  let from = 0;
  for (let i = 0; i < text.length; i++) {
    if (text[i] === "(") depth++;
    else if (text[i] === ")") depth--;
    else if (text[i] === "," && depth === 0) {
      parts.push(text.slice(from, i));
      from = i + 1;
    }
  }
  return [...parts, text.slice(from)];
}

function refuse(text: string, why: string): never {
  throw badRequest(`unable to parse requirement: ${why} in ${JSON.stringify(text)}`);
}

function checkedKey(key: string, text: string): string {
  return KEY.test(key) ? key : refuse(text, `invalid label key ${JSON.stringify(key)}`);
}

function checkedValue(value: string, text: string): string {
  return VALUE.test(value) ? value : refuse(text, `invalid label value ${JSON.stringify(value)}`);
}

function parseRequirement(part: string, text: string): Requirement {
  const set = part.match(/^\s*(\S+)\s+(in|notin)\s*\((.*)\)\s*$/);
  if (set) {
    const key = checkedKey(set[1], text);
    const values = new Set(set[3].split(",").map((v) => checkedValue(v.trim(), text)));
    return set[2] === "in"
      ? (labels) => key in labels && values.has(labels[key])
      : (labels) => !(key in labels) || !values.has(labels[key]);
  }
  const compare = part.match(/^\s*([^=!<>\s]+)\s*(==|=|!=|<|>)\s*([^=!<>\s]*)\s*$/);
  if (compare) {
    const key = checkedKey(compare[1], text);
    const value = checkedValue(compare[3], text);
    switch (compare[2]) {
      case "!=":
        return (labels) => labels[key] !== value;
      case "<":
      case ">": {
        if (!/^-?\d+$/.test(value)) refuse(text, `${value} is no integer`);
        const sign = compare[2] === "<" ? -1 : 1;
        return (labels) =>
          /^-?\d+$/.test(labels[key] ?? "") && sign * (Number(labels[key]) - Number(value)) > 0;
      }
      default:
        return (labels) => labels[key] === value;
    }
  }
  const exists = part.match(/^\s*(!?)\s*([^\s!=<>()]+)\s*$/);
  if (!exists) return refuse(text, "found no key and operator");
  const key = checkedKey(exists[2], text);
  return exists[1] ? (labels) => !(key in labels) : (labels) => key in labels;
}

/** Empty or absent: everything. Throws 400. */
export function parseLabelSelector(text: string | null): Matcher {
  if (!text || text.trim() === "") return ALL;
  const all = requirements(text).map((part) => parseRequirement(part, text));
  return (object) => {
    const labels = object.metadata.labels ?? {};
    return all.every((matches) => matches(labels));
  };
}

/** The value at a dotted path as text; "" where nothing is. */
function fieldText(object: KubeObject, path: string): string {
  let value: any = object;
  for (const step of path.split(".")) value = value?.[step];
  return value === undefined || value === null ? "" : String(value);
}

export interface FieldSelection {
  matches: Matcher;
  /** The one name that `metadata.name=` asks for. */
  name?: string;
}

/** `fields`: what the resource can select by, beside name and namespace. Throws 400. */
export function parseFieldSelector(text: string | null, fields: readonly string[]): FieldSelection {
  if (!text) return { matches: ALL };
  let name: string | undefined;
  const all: Matcher[] = text.split(",").filter((part) => part !== "").map((part) => {
    const found = part.match(/^\s*([^=!\s]+)\s*(==|=|!=)\s*(.*?)\s*$/);
    if (!found) {
      throw badRequest(`invalid selector: ${JSON.stringify(text)}; can't understand '${part}'`);
    }
    const [, path, operator, value] = found;
    if (path !== "metadata.name" && path !== "metadata.namespace" && !fields.includes(path)) {
      throw badRequest(`field label not supported: ${path}`);
    }
    if (path === "metadata.name" && operator !== "!=") name = value;
    return operator === "!="
      ? (object: KubeObject) => fieldText(object, path) !== value
      : (object: KubeObject) => fieldText(object, path) === value;
  });
  return { matches: (object) => all.every((m) => m(object)), name };
}
