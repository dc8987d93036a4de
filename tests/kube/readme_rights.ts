/** The rights of the two roles in the README, which a reader copies: what is granted in tests of the product. */
import { parseAllDocuments } from "yaml";
import type { Rule } from "./access.ts";

export async function rightsOfReadme(): Promise<Rule[]> {
  const text = await Deno.readTextFile(new URL("../../README.md", import.meta.url));
  const yaml = /```yaml\n(kind: ClusterRole\n[^`]*)```/.exec(text)![1];
  return parseAllDocuments(yaml).flatMap((document) => {
    const { kind, rules } = document.toJS();
    return rules.map(({ apiGroups, ...rule }: any) => ({
      ...rule,
      groups: apiGroups,
      ...(kind === "Role" && { namespaces: ["kube-system"] }),
    }));
  });
}
