/**
 * The recipes (ahmetb/kubernetes-network-policy-recipes) say in prose what their policies do. Here
 * is what they say, as connections that must pass or fail among a few pods.
 */
import { engineOf } from "../../policy/matrix.ts";
import { PolicyView } from "../../policy/explain.ts";
import type { PolicyObject } from "../../policy/inputs.ts";

export interface RecipeCase {
  id: string;
  file: string;
  policies: PolicyObject[];
}

/** `namespace/pod` -> labels. */
type Pods = Record<string, Record<string, string>>;

export interface Recipe {
  pods: Pods;
  namespaces?: Record<string, Record<string, string>>;
  /** `client server port`, the server a pod or an address; port 80 where not given. */
  allowed: string[];
  denied: string[];
}

const outside = "203.0.113.9";

/** By the number in the file's name. */
const recipes: Record<string, Recipe> = {
  "01": {
    pods: { "default/web": { app: "web" }, "default/x": {}, "other/y": {} },
    allowed: ["default/web default/x", "other/y default/x", `default/web ${outside}`],
    denied: ["default/x default/web", "other/y default/web", `${outside} default/web`],
  },
  "02": {
    pods: {
      "default/api": { app: "bookstore", role: "api" },
      "default/front": { app: "bookstore", role: "frontend" },
      "default/x": {},
      "other/front": { app: "bookstore", role: "frontend" },
    },
    allowed: ["default/front default/api", "default/x default/front"],
    denied: ["default/x default/api", "other/front default/api"],
  },
  "02a": {
    pods: { "default/web": { app: "web" }, "default/x": {}, "other/y": {} },
    allowed: ["default/x default/web", "other/y default/web", `${outside} default/web`],
    denied: [],
  },
  "03": {
    pods: { "default/a": {}, "default/b": {}, "other/y": {} },
    allowed: ["default/a other/y", `default/a ${outside}`],
    denied: ["default/a default/b", "other/y default/a"],
  },
  "04": {
    pods: { "default/web": { app: "web" }, "default/x": {}, "other/y": {} },
    allowed: ["default/x default/web", "default/web default/x", "default/web other/y"],
    denied: ["other/y default/web", "other/y default/x", `${outside} default/web`],
  },
  "05": {
    pods: { "default/web": { app: "web" }, "default/x": {}, "other/y": {} },
    allowed: ["default/x default/web", "other/y default/web"],
    denied: [`${outside} default/web`],
  },
  "06": {
    pods: { "default/web": { app: "web" }, "dev/x": {}, "prod/y": {} },
    namespaces: { dev: { purpose: "testing" }, prod: { purpose: "production" } },
    allowed: ["prod/y default/web"],
    denied: ["dev/x default/web", `${outside} default/web`],
  },
  "07": {
    pods: {
      "default/web": { app: "web" },
      "default/mon": { type: "monitoring" },
      "other/x": {},
      "other/mon": { type: "monitoring" },
    },
    namespaces: { other: { team: "operations" } },
    allowed: ["other/mon default/web"],
    denied: ["default/mon default/web", "other/x default/web"],
  },
  "08": {
    pods: { "default/web": { app: "web" }, "default/x": {} },
    allowed: [`${outside} default/web`, "default/x default/web"],
    denied: [],
  },
  "09": {
    pods: {
      "default/apiserver": { app: "apiserver" },
      "default/x": {},
      "default/mon": { role: "monitoring" },
    },
    allowed: ["default/mon default/apiserver 5000"],
    denied: [
      "default/mon default/apiserver 8000",
      "default/x default/apiserver 5000",
      "default/x default/apiserver 8000",
    ],
  },
  "10": {
    pods: {
      "default/db": { app: "bookstore", role: "db" },
      "default/search": { app: "bookstore", role: "search" },
      "default/web": { app: "inventory", role: "web" },
      "default/other": { app: "other" },
      "default/mixed": { app: "inventory", role: "search" },
    },
    allowed: ["default/search default/db 6379", "default/web default/db 6379"],
    denied: ["default/other default/db 6379", "default/mixed default/db 6379"],
  },
  // Its second policy of the same name takes the first one's place: DNS is open then.
  "11": {
    pods: {
      "default/foo": { app: "foo" },
      "default/web": { app: "web" },
      "kube-system/dns": { "k8s-app": "kube-dns" },
    },
    allowed: [
      "default/foo kube-system/dns 53",
      "default/web default/foo",
      `default/web ${outside}`,
    ],
    denied: ["default/foo default/web", `default/foo ${outside}`, "default/foo kube-system/dns 80"],
  },
  "12": {
    pods: { "default/a": {}, "default/b": {}, "other/y": {} },
    allowed: ["other/y default/a"],
    denied: ["default/a default/b", "default/a other/y", `default/a ${outside}`],
  },
  "14": {
    pods: {
      "default/foo": { app: "foo" },
      "default/web": { app: "web" },
      "kube-system/dns": { "k8s-app": "kube-dns" },
      "kube-system/other": {},
    },
    allowed: ["default/foo kube-system/dns 53", "default/web default/foo"],
    denied: [`default/foo ${outside}`, "default/foo kube-system/other 53"],
  },
};

/** What a recipe's prose says; undefined where it is not described here. */
export function recipeOf(test: RecipeCase): Recipe | undefined {
  return recipes[test.file.slice(0, test.file.indexOf("-"))];
}

/** What is wrong, or undefined. A recipe that is not described here is wrong, not skipped. */
export function judgeRecipe(test: RecipeCase): string | undefined {
  const recipe = recipeOf(test);
  if (!recipe) return `nothing is known of ${test.file}`;
  const { engine } = engineOf([
    ...Object.entries(recipe.namespaces ?? {}).map(([name, labels]) => ({
      apiVersion: "v1",
      kind: "Namespace",
      metadata: { name, labels },
    })),
    ...Object.entries(recipe.pods).map(([key, labels], i) => ({
      apiVersion: "v1",
      kind: "Pod",
      metadata: { namespace: key.split("/")[0], name: key.split("/")[1], labels },
      status: { podIPs: [{ ip: `10.65.0.${i + 1}` }] },
    })),
    ...test.policies,
  ]);
  if (engine.problems().length > 0) return JSON.stringify(engine.problems());
  const view = new PolicyView(engine);
  const side = (name: string) => name.includes("/") ? { endpoint: name } : { ip: name };
  for (const [list, want] of [[recipe.allowed, true], [recipe.denied, false]] as const) {
    for (const line of list) {
      const [from, to, port] = line.split(" ");
      const got = view.allows({
        from: side(from),
        to: side(to),
        protocol: "TCP",
        port: Number(port ?? 80),
      });
      if (got !== want) return `${line}: ${got ? "allowed" : "denied"}`;
    }
  }
}
