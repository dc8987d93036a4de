/**
 * A map of texts to values (Go's `map[string]T`): labels, annotations, matchLabels. Any key is a key
 * like any other, also one that names a member of every JavaScript object: valibot's own `record` drops
 * `__proto__`, `constructor` and `prototype` without a word, and a selector that has lost its one label
 * selects everything.
 */
import * as v from "valibot";

type Key = v.GenericSchema<string, string>;

export function mapOf<K extends Key, V extends v.GenericSchema>(
  key: K,
  value: V,
): v.RecordSchema<K, V, undefined> {
  const record = v.record(key, value) as v.RecordSchema<K, V, undefined>;
  return {
    ...record,
    "~run"(dataset, config) {
      const input = dataset.value;
      // What is no object at all is refused in valibot's own words.
      if (typeof input !== "object" || input === null) return record["~run"](dataset, config);
      const members: [string, unknown][] = [];
      const issues: v.BaseIssue<unknown>[] = [];
      let typed = true;
      for (const [name, member] of Object.entries(input)) {
        const keyResult = key["~run"]({ value: name }, config);
        const valueResult = value["~run"]({ value: member }, config);
        for (const [origin, found] of [["key", keyResult], ["value", valueResult]] as const) {
          typed &&= found.typed ?? false;
          for (const issue of found.issues ?? []) {
            const item = { type: "object", origin, input, key: name, value: member } as const;
            const rest = origin === "value" ? issue.path ?? [] : [];
            issues.push({ ...issue, path: [item as v.IssuePathItem, ...rest] });
          }
        }
        members.push([name, valueResult.value]);
      }
      const output = Object.fromEntries(members);
      return {
        typed,
        value: output,
        ...issues.length > 0 && { issues },
      } as ReturnType<typeof record["~run"]>;
    },
  };
}
