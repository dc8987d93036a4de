/**
 * A selector as a tree, with what can be done to it: print it canonically, compile it to a function,
 * rename its labels, and say which labels it cannot do without (what an index needs).
 *
 * Canonical print (it is hashed into set names, so every character counts): strings in double quotes
 * unless they hold one; sets sorted and without doubles; `&&` and `||` always in parentheses, one
 * pair for a run of the same operator; `!` without a space.
 */
import type { Comparison } from "./token.ts";

export type SelectorNode =
  | { readonly is: "all" | "global" }
  | { readonly is: "has"; readonly label: string }
  | { readonly is: Comparison; readonly label: string; readonly value: string }
  /** `values` sorted by code points, without doubles. */
  | { readonly is: "in" | "not in"; readonly label: string; readonly values: readonly string[] }
  | { readonly is: "!"; readonly node: SelectorNode }
  | { readonly is: "&&" | "||"; readonly nodes: readonly SelectorNode[] };

/** Where labels are looked up; a Map is one. */
export interface LabelSource {
  get(name: string): string | undefined;
}

export type Matcher = (labels: LabelSource) => boolean;

/** What a label must be like for the selector to match at all. */
export interface Requirement {
  /** One of these values; undefined: present, with whatever value. */
  readonly values?: ReadonlySet<string>;
}

export function printNode(node: SelectorNode): string {
  switch (node.is) {
    case "all":
    case "global":
      return `${node.is}()`;
    case "has":
      return `has(${node.label})`;
    case "in":
    case "not in":
      return `${node.label} ${node.is} {${node.values.map(quote).join(", ")}}`;
    case "!":
      return `!${printNode(node.node)}`;
    case "&&":
    case "||":
      return `(${node.nodes.map(printNode).join(` ${node.is} `)})`;
    default:
      return `${node.label} ${node.is} ${quote(node.value)}`;
  }
}

function quote(text: string): string {
  return text.includes('"') ? `'${text}'` : `"${text}"`;
}

/**
 * The test as closures, one for each node: no dispatch and no allocation at match time, since an
 * endpoint may be asked by thousands of selectors.
 */
export function compileNode(node: SelectorNode): Matcher {
  switch (node.is) {
    case "all":
    case "global":
      return () => true;
    case "has": {
      const { label } = node;
      return (labels) => labels.get(label) !== undefined;
    }
    case "==": {
      const { label, value } = node;
      return (labels) => labels.get(label) === value;
    }
    case "!=": {
      // Also true where the label is absent, as `not in`.
      const { label, value } = node;
      return (labels) => labels.get(label) !== value;
    }
    case "contains": {
      const { label, value } = node;
      return (labels) => labels.get(label)?.includes(value) ?? false;
    }
    case "starts with": {
      const { label, value } = node;
      return (labels) => labels.get(label)?.startsWith(value) ?? false;
    }
    case "ends with": {
      const { label, value } = node;
      return (labels) => labels.get(label)?.endsWith(value) ?? false;
    }
    case "in": {
      const { label } = node;
      const values = new Set(node.values);
      return (labels) => {
        const value = labels.get(label);
        return value !== undefined && values.has(value);
      };
    }
    case "not in": {
      const { label } = node;
      const values = new Set(node.values);
      return (labels) => {
        const value = labels.get(label);
        return value === undefined || !values.has(value);
      };
    }
    case "!": {
      const inner = compileNode(node.node);
      return (labels) => !inner(labels);
    }
    case "&&": {
      const inner = node.nodes.map(compileNode);
      if (inner.length === 2) {
        const [a, b] = inner;
        return (labels) => a(labels) && b(labels);
      }
      return (labels) => {
        for (const test of inner) if (!test(labels)) return false;
        return true;
      };
    }
    case "||": {
      const inner = node.nodes.map(compileNode);
      if (inner.length === 2) {
        const [a, b] = inner;
        return (labels) => a(labels) || b(labels);
      }
      return (labels) => {
        for (const test of inner) if (test(labels)) return true;
        return false;
      };
    }
  }
}

/** The same tree with every label name changed, and leaves without a label (`all()`) replaced. */
export function mapLabels(
  node: SelectorNode,
  rename: (label: string) => string,
  leaf: (node: SelectorNode & { readonly is: "all" | "global" }) => SelectorNode,
): SelectorNode {
  switch (node.is) {
    case "all":
    case "global":
      return leaf(node as SelectorNode & { readonly is: "all" | "global" });
    case "!":
      return { is: "!", node: mapLabels(node.node, rename, leaf) };
    case "&&":
    case "||":
      return { is: node.is, nodes: node.nodes.map((n) => mapLabels(n, rename, leaf)) };
    default:
      return { ...node, label: rename(node.label) };
  }
}

/**
 * Labels that every match has, with the values they may have. An object without one of them cannot
 * match, so it need not be asked. An empty map says nothing.
 */
export function requirements(node: SelectorNode): ReadonlyMap<string, Requirement> {
  switch (node.is) {
    case "all":
    case "global":
    case "!=":
    case "not in":
    case "!":
      return new Map();
    case "has":
    case "contains":
    case "starts with":
    case "ends with":
      return new Map([[node.label, {}]]);
    case "==":
      return new Map([[node.label, { values: new Set([node.value]) }]]);
    case "in":
      return new Map([[node.label, { values: new Set(node.values) }]]);
    case "&&": {
      const all = new Map<string, Requirement>();
      for (const inner of node.nodes) {
        for (const [label, need] of requirements(inner)) {
          const other = all.get(label);
          const values = other?.values && need.values
            ? other.values.intersection(need.values)
            : other?.values ?? need.values;
          all.set(label, values ? { values } : {});
        }
      }
      return all;
    }
    case "||": {
      // Only what each branch needs, with any value that one of them takes.
      const [first, ...rest] = node.nodes.map(requirements);
      const common = new Map<string, Requirement>();
      for (const [label, need] of first) {
        const others = rest.map((r) => r.get(label));
        if (others.some((o) => o === undefined)) continue;
        const sets = [need, ...others].map((o) => o!.values);
        const values = sets.every((s) => s !== undefined)
          ? sets.reduce((a, b) => a!.union(b!))
          : undefined;
        common.set(label, values ? { values } : {});
      }
      return common;
    }
  }
}

/** Order of Go's strings: by code points. JavaScript's own order differs above U+FFFF. */
export function compareCodePoints(a: string, b: string): number {
  if (a === b) return 0;
  const length = Math.min(a.length, b.length);
  for (let i = 0; i < length; i++) {
    let x = a.charCodeAt(i), y = b.charCodeAt(i);
    if (x === y) continue;
    // Surrogates stand for code points above all other units.
    if (x >= 0xd800 && y >= 0xd800) {
      x = x < 0xe000 ? x + 0x10000 : x;
      y = y < 0xe000 ? y + 0x10000 : y;
    }
    return x - y;
  }
  return a.length - b.length;
}
