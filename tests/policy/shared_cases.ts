/**
 * Cases of network policy that others wrote (the data sets of `tests/data/netpol.ts` and the
 * recipes), asked with real packets: the pods stand at the addresses that the cases name.
 */
import assert from "node:assert/strict";
import type { MatrixCase } from "../data/netpol.ts";
import { type RecipeCase, recipeOf } from "../data/recipes.ts";
import { DEFAULT_DIR } from "../data/run.ts";
import { type Feature, featuresOf, type Moment } from "./features.ts";
import type { Probe } from "./packets.ts";
import { keyOf, type LabPod, OUTSIDE, type PolicyLab, withPolicyLab } from "./policy_lab.ts";

const FOLDER = `${DEFAULT_DIR}/netpol`;
export const sharedAreThere = await Deno.stat(FOLDER).then(() => true, () => false);

export interface SharedCase {
  readonly name: string;
  readonly file: string;
  readonly features: ReadonlySet<Feature>;
  /** What is wrong, or undefined; and how many connections were tried. */
  run(lab: PolicyLab): Promise<{ wrong?: string; tried: number }>;
}

const NUMBERS = [80, 81];
const PROTOCOLS = ["TCP", "UDP", "SCTP"] as const;
const ports = NUMBERS.flatMap((containerPort) =>
  PROTOCOLS.map((protocol) => ({
    name: `serve-${containerPort}-${protocol.toLowerCase()}`,
    containerPort,
    protocol,
  }))
);

/** Where the pods of the cases stand: neighbours of a block are on different nodes. */
const addresses: Readonly<Record<string, string>> = {
  "x/a": "10.65.0.5",
  "x/b": "10.65.0.6",
  "x/c": "10.65.0.130",
  "x/d": "10.65.0.7",
  "y/a": "10.65.1.7",
  "y/b": "10.65.1.8",
  "y/c": "10.65.2.200",
  "z/a": "10.65.2.20",
  "z/b": "10.65.2.195",
  "z/c": "10.65.2.201",
};
/** Pods for the recipes, which name others: they are given labels as each asks. */
const slots = [
  ...["default/a", "default/b", "default/c", "default/d", "default/e"],
  ...["other/a", "other/b", "kube-system/a", "kube-system/b", "dev/a", "prod/a"],
];

const sharedPods: readonly LabPod[] = [
  ...Object.entries(addresses).filter(([key]) => key !== "x/d"),
  ...slots.map((key, i) => [key, `10.65.8.${i + 1}`]),
].map(([key, address], i) => podAt(key, address, {}, i));

function podAt(
  key: string,
  address: string,
  labels: Readonly<Record<string, string>>,
  i: number,
): LabPod {
  const [namespace, name] = key.split("/");
  return {
    namespace,
    name,
    labels,
    addresses: [address, sixOf(address)],
    node: `node${i % 2 + 1}`,
    ports: key in addresses ? ports : [],
  };
}

/** The IPv6 address beside an IPv4 one: the same last 16 bits. */
function sixOf(address: string): string {
  const [, , high, low] = address.split(".").map(Number);
  return `fd00:65::${(high * 256 + low).toString(16)}`;
}

/** All cases, in the order of the files. */
export async function sharedCases(): Promise<SharedCase[]> {
  const lines = async <T>(file: string) =>
    (await Deno.readTextFile(`${FOLDER}/${file}`)).split("\n").filter((l) => l !== "")
      .map((l): T => JSON.parse(l));
  const matrices = async (file: string) =>
    (await lines<MatrixCase>(file)).map((test): SharedCase => ({
      name: test.id,
      file,
      features: featuresOf(test.steps.map(momentOf)),
      run: (lab) => runMatrix(lab, test),
    }));
  const recipes = (await lines<RecipeCase>("recipes.jsonl")).map((test): SharedCase => ({
    name: test.id,
    file: "recipes.jsonl",
    features: featuresOf([{ namespaces: {}, pods: {}, policies: test.policies }]),
    run: (lab) => runRecipe(lab, test),
  }));
  return [
    ...await matrices("cyclonus-cases.jsonl"),
    ...await matrices("k8s-e2e-netpol.jsonl"),
    ...recipes,
  ];
}

/**
 * A choice that has, of every feature and file, `each` cases where there are as many: the first ones
 * that add something, so it is the same in every run.
 */
export function chosen(cases: readonly SharedCase[], each: number): SharedCase[] {
  const counts = new Map<string, number>();
  return cases.filter((test) => {
    const marks = [...test.features, test.file];
    if (marks.every((mark) => (counts.get(mark) ?? 0) >= each)) return false;
    for (const mark of marks) counts.set(mark, (counts.get(mark) ?? 0) + 1);
    return true;
  });
}

/** Runs cases in a lab of their own, a step each. */
export async function askShared(t: Deno.TestContext, cases: readonly SharedCase[]): Promise<void> {
  await withPolicyLab(async (lab) => {
    for (const pod of sharedPods) await lab.start(pod);
    let tried = 0;
    for (const test of cases) {
      await t.step(test.name, async () => {
        const result = await test.run(lab);
        tried += result.tried;
        assert.equal(result.wrong, undefined);
      });
    }
    console.log(`${cases.length} cases, ${tried} connections`);
  });
}

function momentOf(step: MatrixCase["steps"][number]): Moment {
  return {
    namespaces: step.namespaces,
    pods: Object.fromEntries(step.pods.map((p) => [keyOf(p), p.labels])),
    policies: step.policies ?? [],
  };
}

async function runMatrix(lab: PolicyLab, test: MatrixCase) {
  let tried = 0;
  let before: string[] = [];
  for (const [index, step] of test.steps.entries()) {
    const moment = momentOf(step);
    const keys = Object.keys(moment.pods);
    let fresh = false;
    for (const key of before.filter((key) => !keys.includes(key))) await lab.remove(key);
    for (const { namespace, name, labels, ip } of step.pods) {
      const key = `${namespace}/${name}`;
      if (!lab.has(key)) {
        await lab.start(podAt(key, addresses[key] ?? ip, labels, index));
        fresh = true;
      }
      if (lab.addressesOf(key)[0] !== ip && JSON.stringify(step.policies).includes("ipBlock")) {
        return { wrong: `${key} does not stand at ${ip}, which a policy may name`, tried };
      }
    }
    before = keys;
    await lab.update({ ...moment, labels: moment.pods });
    const wanted = new Map<Probe, boolean>();
    const sourcePort = lab.nextSourcePort();
    for (const [label, rows] of Object.entries(step.expected)) {
      const [protocol, port] = label.split("/");
      step.pod_order.forEach((from, i) =>
        step.pod_order.forEach((to, j) => {
          const cell = rows.combined![i][j];
          // A pod reaches itself whatever the policy says.
          if (i === j) return;
          if (cell !== "." && cell !== "X") throw new Error(`${test.id}: what is ${cell}?`);
          wanted.set({
            source: lab.addressesOf(from)[0],
            destination: lab.addressesOf(to)[0],
            protocol: protocol as Probe["protocol"],
            sourcePort,
            port: Number(port),
          }, cell === ".");
        })
      );
    }
    const wrong = await lab.judge(wanted, { patient: fresh });
    tried += wanted.size;
    if (wrong) return { wrong: `step ${index + 1}: ${wrong}`, tried };
  }
  return { tried };
}

async function runRecipe(lab: PolicyLab, test: RecipeCase) {
  const recipe = recipeOf(test);
  if (!recipe) return { wrong: `nothing is known of ${test.file}`, tried: 0 };
  // The recipe's pods, each in a slot of its namespace; the slots that are left have no labels.
  const free = [...slots];
  const slotOf = new Map(
    Object.keys(recipe.pods).map((key) => {
      const at = free.findIndex((slot) => slot.startsWith(key.split("/")[0] + "/"));
      return [key, free.splice(at, 1)[0]];
    }),
  );
  const labels = Object.fromEntries([
    ...free.map((slot) => [slot, {}]),
    ...Object.entries(recipe.pods).map(([key, own]) => [slotOf.get(key)!, own]),
  ]);
  const namespaces = Object.fromEntries(
    ["default", "other", "kube-system", "dev", "prod"].map((name) => [name, {
      "kubernetes.io/metadata.name": name,
      ...recipe.namespaces?.[name],
    }]),
  );
  await lab.update({ namespaces, labels, policies: test.policies });
  const addressOf = (side: string) =>
    side.includes("/") ? lab.addressesOf(slotOf.get(side)!)[0] : OUTSIDE[0];
  const sourcePort = lab.nextSourcePort();
  const wanted = new Map<Probe, boolean>();
  for (const [list, allowed] of [[recipe.allowed, true], [recipe.denied, false]] as const) {
    for (const line of list) {
      const [from, to, port = "80"] = line.split(" ");
      wanted.set({
        source: addressOf(from),
        destination: addressOf(to),
        protocol: "TCP",
        sourcePort,
        port: Number(port),
      }, allowed);
    }
  }
  return { wrong: await lab.judge(wanted), tried: wanted.size };
}
