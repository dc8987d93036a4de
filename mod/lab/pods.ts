/**
 * What kubelet and a container runtime do for a pod, as far as a network sees it: a Pod object with
 * its node, a network namespace, the CNI plugin called as a process with its variables and standard
 * input, the answer's addresses written into the Pod's status; and a process in the namespace that
 * answers on the pod's ports.
 */
import { createNetns, deleteNetns } from "../../ffi/netns.ts";
import { MemoryFile, spawn, wait } from "../../ffi/process.ts";
import { RouteSocket } from "../../ffi/route/socket.ts";
import { type Pod, type PodInput, podKind } from "../model/pod.ts";
import { ResourceError, type Resources } from "../store/resources.ts";
import { conflist, endProcess, executable, netnsPath, startProcess, withNetns } from "./cluster.ts";
import { type LabNode, namespacePrefix } from "./layout.ts";
import { findPod, forgetPod, type LabRecord, type PodRecord, savePod } from "./record.ts";
import { LabError, type PodManifest } from "./workloads.ts";

/** The plugin said no. */
export class CniRefusal extends LabError {
  constructor(readonly code: number, message: string) {
    super(message);
  }
}

export interface CniCall {
  readonly command: "ADD" | "DEL" | "CHECK";
  readonly node: LabNode;
  readonly pod: Pick<PodRecord, "namespace" | "name" | "netns" | "containerId" | "result">;
}

/** Calls the plugin as a runtime would; its result, or a CniRefusal with its code and message. */
export async function callPlugin({ command, node, pod }: CniCall): Promise<unknown> {
  const { plugins: [plugin], ...list } = conflist(node);
  const conf = {
    ...list,
    ...plugin,
    ...(command === "ADD" ? {} : { prevResult: pod.result }),
  };
  const stdin = new MemoryFile(new TextEncoder().encode(JSON.stringify(conf)));
  const stdout = new MemoryFile(), stderr = new MemoryFile();
  try {
    const path = executable();
    const pid = withNetns(node.namespace, (netns) =>
      spawn({
        path,
        argv: [path],
        env: {
          PATH: "/usr/bin:/bin",
          // Where the node's name is written down, for calls that no service answers.
          TORTIE_CALICO_DIR: `${node.directory}/calico`,
          CNI_COMMAND: command,
          CNI_CONTAINERID: pod.containerId,
          CNI_NETNS: netnsPath(pod.netns),
          CNI_IFNAME: "eth0",
          CNI_PATH: path.slice(0, path.lastIndexOf("/")),
          CNI_ARGS: `IgnoreUnknown=1;K8S_POD_NAMESPACE=${pod.namespace};` +
            `K8S_POD_NAME=${pod.name};K8S_POD_INFRA_CONTAINER_ID=${pod.containerId}`,
        },
        netns,
        stdin: stdin.fd,
        stdout: stdout.fd,
        stderr: stderr.fd,
      }));
    const { exit, signal } = await wait(pid);
    const text = stdout.text();
    if (exit === 0) return text === "" ? undefined : JSON.parse(text);
    throw refusal(text, `${stderr.text()} (exit ${exit ?? `by signal ${signal}`})`);
  } finally {
    for (const file of [stdin, stdout, stderr]) file.close();
  }
}

function refusal(stdout: string, otherwise: string): CniRefusal {
  try {
    const { code, msg, details } = JSON.parse(stdout);
    return new CniRefusal(code, details ? `${msg} (${details})` : msg);
  } catch {
    return new CniRefusal(999, `the plugin failed without an answer: ${otherwise.trim()}`);
  }
}

function randomHex(bytes: number): string {
  return crypto.getRandomValues(new Uint8Array(bytes)).toHex();
}

function addressesOf(result: unknown): string[] {
  const { ips = [] } = result as { ips?: { address: string }[] };
  return ips.map((ip) => ip.address.replace(/\/.*/, ""));
}

export interface StartOptions {
  /** Milliseconds for which an ADD that says "try again" (code 11) is tried again. */
  readonly patience?: number;
  /** Told once when the first attempt was refused, and the pod waits. */
  readonly onWaiting?: (why: string) => void;
  readonly workload?: string;
}

/** Makes one pod on a node. On failure nothing of it stays, its Pod object neither. */
export async function startPod(
  record: LabRecord,
  resources: Resources,
  manifest: PodManifest,
  node: LabNode,
  options: StartOptions = {},
): Promise<PodRecord & { addresses: string[] }> {
  const { name, namespace } = manifest.metadata;
  if (findPod(record, namespace, name)) {
    throw new LabError(`the pod "${namespace}/${name}" runs already; delete it first`);
  }
  const containerId = randomHex(32);
  const pod: PodRecord = {
    namespace,
    name,
    node: node.name,
    netns: `${namespacePrefix(record.layout.name)}pod-${containerId.slice(0, 12)}`,
    containerId,
    manifest,
    workload: options.workload,
  };
  await resources.apply(podKind, {
    ...manifest,
    spec: { ...manifest.spec, nodeName: node.name },
    status: { phase: "Pending" },
  } as unknown as PodInput);
  savePod(record, pod);
  try {
    createNetns(pod.netns);
    withNetns(pod.netns, (netns) => {
      using socket = RouteSocket.open(netns);
      socket.setLink("lo", { up: true });
    });
    pod.result = await addPatiently(node, pod, options);
    savePod(record, pod);
    const addresses = addressesOf(pod.result);
    await resources.modify(podKind, name, namespace, (stored: Pod) => ({
      ...stored,
      status: {
        ...stored.status,
        phase: "Running",
        podIP: addresses[0],
        podIPs: addresses.map((ip) => ({ ip })),
      },
    }));
    const ports = manifest.spec.containers.flatMap((c) => c.ports ?? []);
    const served = ports.filter((p) => p.protocol !== "SCTP")
      .map((p) => `${(p.protocol ?? "TCP").toLowerCase()}:${p.containerPort}`);
    if (served.length > 0) {
      pod.server = withNetns(pod.netns, (netns) =>
        startProcess(
          ["lab", "serve-pod", `${namespace}/${name}`, ...served],
          {},
          `${record.layout.directory}/pods/${namespace}_${name}.log`,
          netns,
        ));
      savePod(record, pod);
    }
    return { ...pod, addresses };
  } catch (error) {
    await removePod(record, resources, pod).catch(() => {}); // the first error is the one to tell
    throw error;
  }
}

async function addPatiently(node: LabNode, pod: PodRecord, options: StartOptions) {
  const end = performance.now() + (options.patience ?? 0);
  for (let told = false;;) {
    try {
      return await callPlugin({ command: "ADD", node, pod });
    } catch (error) {
      const again = error instanceof CniRefusal && error.code === 11 && performance.now() < end;
      if (!again) throw error;
      if (!told) options.onWaiting?.(error.message);
      told = true;
      await new Promise((resolve) => setTimeout(resolve, 200));
    }
  }
}

/** Takes a pod away: its process, its attachment, its namespace, its Pod object. */
export async function removePod(
  record: LabRecord,
  resources: Resources,
  pod: PodRecord,
): Promise<void> {
  const node = record.layout.nodes.find((n) => n.name === pod.node);
  if (!node) throw new LabError(`the lab has no node "${pod.node}"`);
  if (pod.server) await endProcess(pod.server);
  await callPlugin({ command: "DEL", node, pod });
  deleteNetns(pod.netns);
  try {
    await resources.delete(podKind, pod.name, pod.namespace);
  } catch (error) {
    if (!(error instanceof ResourceError && error.kind === "notFound")) throw error;
  }
  forgetPod(record, pod);
}
