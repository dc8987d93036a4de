/** What the lab's commands do. */
import { spawn, wait } from "../../ffi/process.ts";
import type { Call } from "../cli/command.ts";
import { listOption, textOption } from "../cli/command.ts";
import { readObjects } from "../cli/documents.ts";
import { EXIT, failure, usageError } from "../cli/io.ts";
import { tabbed } from "../cli/tables.ts";
import { labDown, labUp, withNetns } from "./cluster.ts";
import { Lab, type RunningPod } from "./lab.ts";
import { layout, parseFamilies, parseSubnets } from "./layout.ts";
import { mustFindLab } from "./record.ts";
import { servePod } from "./serve_pod.ts";
import { LabError } from "./workloads.ts";

const labName = (call: Call) => textOption(call, "lab") ?? "lab";

/** Runs with the lab open; a LabError becomes the command's own. */
async function inLab(call: Call, action: (lab: Lab) => Promise<number>): Promise<number> {
  return await told(async () => {
    const lab = new Lab(mustFindLab(labName(call)));
    try {
      return await action(lab);
    } finally {
      await lab.close();
    }
  });
}

async function told(action: () => Promise<number>): Promise<number> {
  try {
    return await action();
  } catch (error) {
    if (error instanceof LabError) throw failure(error.message);
    throw error;
  }
}

function wholeNumber(call: Call, name: string, fallback: number, most: number): number {
  const text = textOption(call, name);
  const n = text === undefined ? fallback : Number(text);
  if (!Number.isInteger(n) || n < 0 || n > most) {
    throw usageError(`--${name} ${text} is not a whole number up to ${most}`);
  }
  return n;
}

function environment(call: Call): Record<string, string> {
  return Object.fromEntries(
    listOption(call, "env").map((text) => {
      const equals = text.indexOf("=");
      if (equals < 1) throw usageError(`--env ${text} is not NAME=VALUE`);
      return [text.slice(0, equals), text.slice(equals + 1)];
    }),
  );
}

export function up(call: Call): Promise<number> {
  return told(async () => {
    const subnets = textOption(call, "subnets");
    const nodes = wholeNumber(call, "nodes", 3, 50);
    if (nodes < 1) throw usageError("--nodes must be at least 1");
    const count = textOption(call, "nodes") === undefined ? undefined : nodes;
    const families = parseFamilies(textOption(call, "ipFamilies") ?? "IPv4");
    const plan = layout(labName(call), parseSubnets(subnets ?? `${nodes}`, count), families);
    const record = await labUp(plan, { env: environment(call) });
    for (const node of record.layout.nodes) {
      call.io.stdout(`${node.name} ${node.addresses.join(" ")} is ready\n`);
    }
    return EXIT.ok;
  });
}

function printPods(call: Call, pods: readonly RunningPod[]): void {
  for (const pod of pods) {
    call.io.stdout(`${pod.namespace}/${pod.name} on ${pod.node}: ${pod.addresses.join(", ")}\n`);
  }
}

export function runPods(call: Call): Promise<number> {
  return inLab(call, async (lab) => {
    const files = listOption(call, "filename");
    if (files.length === 0) throw usageError("say what to run: -f FILE");
    const objects = await readObjects(files, call.io);
    const running = await lab.run(objects.map((o) => o.value), {
      node: textOption(call, "node"),
      namespace: textOption(call, "namespace"),
      patience: wholeNumber(call, "wait", 0, 3600) * 1000,
      onWaiting: (why) => call.io.stderr(`waiting: ${why}\n`),
      onApplied: (n) => call.io.stdout(`applied ${n} other ${n === 1 ? "object" : "objects"}\n`),
      onStarted: (pod) => printPods(call, [pod]),
    });
    if (running.length === 0) call.io.stdout("no pod to run\n");
    return EXIT.ok;
  });
}

export function pods(call: Call): Promise<number> {
  return inLab(call, (lab) => {
    const rows = lab.pods().map((pod) => ({
      namespace: pod.namespace,
      name: pod.name,
      node: pod.node,
      addresses: addresses(pod.result),
      netns: pod.netns,
      containerId: pod.containerId,
    }));
    if (textOption(call, "output") === "json") {
      call.io.stdout(`${JSON.stringify(rows, undefined, 2)}\n`);
    } else {
      call.io.stdout(tabbed([
        ["NAMESPACE", "NAME", "NODE", "ADDRESSES", "NETNS"],
        ...rows.map((r) => [r.namespace, r.name, r.node, r.addresses.join(","), r.netns]),
      ]));
    }
    return Promise.resolve(EXIT.ok);
  });
}

function addresses(result: unknown): string[] {
  const { ips = [] } = (result ?? {}) as { ips?: { address: string }[] };
  return ips.map((ip) => ip.address);
}

export function deletePods(call: Call): Promise<number> {
  return inLab(call, async (lab) => {
    for (const name of call.args) {
      const pod = lab.pod(name, textOption(call, "namespace"));
      const replacement = lab.replacementOf(pod);
      await lab.remove(pod);
      call.io.stdout(`${pod.namespace}/${pod.name} deleted\n`);
      if (!replacement) continue;
      printPods(call, [
        await lab.start(replacement, lab.node(pod.node), {
          workload: pod.workload,
          patience: wholeNumber(call, "wait", 0, 3600) * 1000,
          onWaiting: (why) => call.io.stderr(`waiting: ${why}\n`),
        }),
      ]);
    }
    return EXIT.ok;
  });
}

/** Where a program of that name is. */
function findProgram(name: string, path: string): string {
  if (name.includes("/")) return name;
  for (const folder of path.split(":")) {
    try {
      if (Deno.statSync(`${folder}/${name}`).isFile) return `${folder}/${name}`;
    } catch {
      // not in this folder
    }
  }
  throw failure(`no program "${name}" is in PATH`);
}

async function execIn(netnsName: string, command: readonly string[]): Promise<number> {
  const env = Deno.env.toObject();
  const path = findProgram(command[0], env.PATH ?? "/usr/sbin:/usr/bin:/sbin:/bin");
  const pid = withNetns(
    netnsName,
    (netns) => spawn({ path, argv: command, env, netns, stdin: 0, stdout: 1, stderr: 2 }),
  );
  const { exit, signal } = await wait(pid);
  return exit ?? 128 + signal!;
}

export function exec(call: Call): Promise<number> {
  return inLab(call, (lab) => {
    const [pod, ...command] = call.args;
    return execIn(lab.pod(pod, textOption(call, "namespace")).netns, command);
  });
}

export function nodeExec(call: Call): Promise<number> {
  return inLab(call, (lab) => {
    const [node, ...command] = call.args;
    return execIn(lab.node(node).namespace, command);
  });
}

export function down(call: Call): Promise<number> {
  return told(async () => {
    const name = labName(call);
    await labDown(name, layout(name, []).directory);
    call.io.stdout(`the lab "${name}" is gone\n`);
    return EXIT.ok;
  });
}

export async function demo(call: Call): Promise<number> {
  const { runDemo } = await import("./demo.ts");
  return await told(() =>
    runDemo(call.io, {
      megabytes: wholeNumber(call, "megabytes", 200, 100_000),
      keep: call.options.keep === true,
      bird: textOption(call, "bird"),
    })
  );
}

export function serve(call: Call): Promise<number> {
  const [name, ...ports] = call.args;
  return told(() => servePod(name, ports));
}
