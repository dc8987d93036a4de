/**
 * Cases of network policy that others wrote: cyclonus and Kubernetes' end-to-end tests (matrices of
 * who reaches whom), the recipes, and random policies judged by Calico itself. All run through the
 * engine and the evaluator over rendered rules.
 */
import { PolicyEngine } from "../../policy/engine.ts";
import { PolicyView } from "../../policy/explain.ts";
import { engineOf, matrixOf, parseMatrixPort } from "../../policy/matrix.ts";
import type { PolicyObject } from "../../policy/inputs.ts";
import type { FileResult } from "./selector.ts";
import { judgeRecipe, type RecipeCase } from "./recipes.ts";

type Rows = { ingress?: string[]; egress?: string[]; combined?: string[] };

export interface StepCase {
  policies: PolicyObject[];
  namespaces: Record<string, Record<string, string>>;
  pods: {
    namespace: string;
    name: string;
    labels: Record<string, string>;
    ip: string;
    ports?: { name: string; port: number; protocol: string }[];
  }[];
  pod_order: string[];
  expected: Record<string, Rows>;
}

export interface MatrixCase {
  id: string;
  ignore_loopback?: boolean;
  steps: StepCase[];
}

interface CalicoCase {
  id: string;
  objects: PolicyObject[];
  expected: Record<string, Rows>;
}

interface Topology {
  namespaces: Record<string, Record<string, string>>;
  pods: { namespace: string; name: string; ip: string; labels: Record<string, string> }[];
  endpoints: string[];
  source_port: number;
}

/** Runs the cases under `dir` (the folder that holds `netpol/`). */
export async function run(dir: string): Promise<FileResult[]> {
  const at = `${dir}/netpol`;
  const topology: Topology = JSON.parse(
    await Deno.readTextFile(`${at}/calico-policy-topology.json`),
  );
  return [
    await runFile<MatrixCase>(at, "cyclonus-cases.jsonl", judgeMatrix),
    await runFile<MatrixCase>(at, "k8s-e2e-netpol.jsonl", judgeMatrix),
    await runFile<RecipeCase>(at, "recipes.jsonl", judgeRecipe),
    await runFile<CalicoCase>(at, "calico-policy-cases.jsonl", (c) => judgeCalico(c, topology)),
    await skipFile(
      at,
      "admin-network-policy-cases.jsonl",
      "AdminNetworkPolicy and BaselineAdminNetworkPolicy (v1alpha1) are not read yet",
    ),
    await skipFile(
      at,
      "cluster-network-policy-conformance.jsonl",
      "ClusterNetworkPolicy (v1alpha2) is not read yet",
    ),
  ];
}

async function linesOf(path: string): Promise<string[]> {
  return (await Deno.readTextFile(path)).split("\n").filter((line) => line !== "");
}

async function runFile<T extends { id: string }>(
  dir: string,
  name: string,
  judge: (test: T) => string | undefined,
): Promise<FileResult> {
  const result: FileResult = {
    file: `netpol/${name}`,
    passed: 0,
    failed: 0,
    skipped: 0,
    failures: [],
  };
  for (const line of await linesOf(`${dir}/${name}`)) {
    const test: T = JSON.parse(line);
    const wrong = judge(test);
    if (wrong === undefined) result.passed++;
    else {
      result.failed++;
      result.failures.push(`${test.id}: ${wrong}`);
    }
  }
  return result;
}

async function skipFile(dir: string, name: string, reason: string): Promise<FileResult> {
  const skipped = (await linesOf(`${dir}/${name}`)).length;
  return {
    file: `netpol/${name}`,
    passed: 0,
    failed: 0,
    skipped,
    failures: [],
    reasons: [reason],
  };
}

/** Objects of a step: namespaces, pods with their ports, policies. */
function objectsOf(step: Pick<StepCase, "policies" | "namespaces" | "pods">): PolicyObject[] {
  return [
    ...Object.entries(step.namespaces).map(([name, labels]) => ({
      apiVersion: "v1",
      kind: "Namespace",
      metadata: { name, labels },
    })),
    ...step.pods.map(({ namespace, name, labels, ip, ports }) => ({
      apiVersion: "v1",
      kind: "Pod",
      metadata: { namespace, name, labels },
      spec: {
        containers: (ports ?? []).map((p) => ({
          name: `c${p.port}${p.protocol.toLowerCase()}`,
          ports: [{ name: p.name, containerPort: p.port, protocol: p.protocol }],
        })),
      },
      status: { podIPs: [{ ip }] },
    })),
    ...step.policies,
  ];
}

function judgeMatrix(test: MatrixCase): string | undefined {
  for (const [index, step] of test.steps.entries()) {
    const { engine } = engineOf(objectsOf(step));
    if (engine.problems().length > 0) return JSON.stringify(engine.problems());
    const wrong = compare(engine, step.pod_order, step.expected, test.ignore_loopback ?? false);
    if (wrong) return `step ${index + 1}: ${wrong}`;
  }
}

function compare(
  engine: PolicyEngine,
  order: readonly string[],
  expected: Record<string, Rows>,
  ignoreLoopback: boolean,
  sourcePort?: number,
): string | undefined {
  const ports = Object.keys(expected).map((label) => ({ ...parseMatrixPort(label)!, label }));
  const got = matrixOf(new PolicyView(engine), order, ports, { sourcePort });
  for (const [label, rows] of Object.entries(expected)) {
    for (const side of ["ingress", "egress", "combined"] as const) {
      const want = rows[side];
      if (!want) continue;
      for (let i = 0; i < order.length; i++) {
        for (let j = 0; j < order.length; j++) {
          const cell = want[i][j];
          // P and N: the server has no such port; `-`: not judged upstream.
          if (cell === "-" || cell === "P" || cell === "N") continue;
          if (ignoreLoopback && i === j) continue;
          if (got.ports[label][side][i][j] !== cell) {
            return `${label} ${side} ${order[i]} -> ${order[j]}: ${
              got.ports[label][side][i][j]
            }, want ${cell}`;
          }
        }
      }
    }
  }
}

function judgeCalico(test: CalicoCase, topology: Topology): string | undefined {
  const { engine } = engineOf([
    ...objectsOf({ namespaces: topology.namespaces, pods: topology.pods, policies: [] }),
    ...test.objects,
  ]);
  if (engine.problems().length > 0) return JSON.stringify(engine.problems());
  return compare(engine, topology.endpoints, test.expected, false, topology.source_port);
}
