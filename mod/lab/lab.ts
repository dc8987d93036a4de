/**
 * A lab that is up, as its commands and the demo use it: its datastore, its nodes, its pods.
 */
import { objectsOf } from "../cli/documents.ts";
import type { Io } from "../cli/io.ts";
import { run as runCli } from "../cli/main.ts";
import { printJson } from "../store/json.ts";
import { Resources } from "../store/resources.ts";
import { type RemoteStore, remoteStore } from "../store/remote.ts";
import type { LabNode } from "./layout.ts";
import { removePod, type StartOptions, startPod } from "./pods.ts";
import { findPod, type LabRecord, listPods, type PodRecord, saveLab } from "./record.ts";
import { LabError, planWorkloads, type PodManifest, podOf, type Workload } from "./workloads.ts";

export type RunningPod = PodRecord & { addresses: string[] };

/** What a command printed, and how it ended. */
export interface Said {
  readonly exit: number;
  readonly stdout: string;
  readonly stderr: string;
}

export interface RunOptions extends StartOptions {
  /** Runs all pods there; absent: where each asks to be, else one node after the other. */
  readonly node?: string;
  /** Of objects that name none. */
  readonly namespace?: string;
  /** Told of each pod as it runs, also when a later one fails. */
  readonly onStarted?: (pod: RunningPod) => void;
  /** Told how many objects that are no workloads were applied. */
  readonly onApplied?: (count: number) => void;
}

export class Lab {
  readonly store: RemoteStore;
  readonly resources: Resources;
  #next = 0;

  constructor(readonly record: LabRecord) {
    this.store = remoteStore(record.layout.storeSocket);
    this.resources = new Resources(this.store);
  }

  close(): Promise<void> {
    return this.store.close();
  }

  node(name: string): LabNode {
    const node = this.record.layout.nodes.find((n) => n.name === name);
    if (node) return node;
    const names = this.record.layout.nodes.map((n) => n.name).join(", ");
    throw new LabError(`the lab has no node "${name}"; it has ${names}`);
  }

  #nextNode(): LabNode {
    const { nodes } = this.record.layout;
    return nodes[this.#next++ % nodes.length];
  }

  pod(name: string, namespace = "default"): PodRecord {
    const [ns, pod] = name.includes("/") ? name.split("/") : [namespace, name];
    const found = findPod(this.record, ns, pod);
    if (!found) throw new LabError(`no pod "${ns}/${pod}" runs in the lab; see: tortie lab pods`);
    return found;
  }

  pods(): PodRecord[] {
    return listPods(this.record);
  }

  /** Runs one of our own command lines against this lab's datastore. */
  async tortie(args: readonly string[], stdin = ""): Promise<Said> {
    let stdout = "", stderr = "";
    const env: Record<string, string> = { TORTIE_STORE: this.record.layout.storeSocket };
    const io: Io = {
      stdout: (text) => stdout += text,
      stderr: (text) => stderr += text,
      stdin: () => Promise.resolve(stdin),
      env: (name) => env[name],
      signal: new AbortController().signal,
    };
    const exit = await runCli(args, { io });
    return { exit, stdout, stderr };
  }

  /** Applies manifests; a LabError with what the command said where it failed. */
  async apply(manifest: string): Promise<Said> {
    const said = await this.tortie(["apply", "-f", "-"], manifest);
    if (said.exit !== 0) throw new LabError(said.stderr.trim().replace(/^error: /, ""));
    return said;
  }

  /**
   * Runs a manifest's workloads, after applying everything else that it holds. What can be known to
   * fail (an unknown node, a name that is taken) is found before anything is applied or started.
   */
  async run(
    manifest: string | readonly unknown[],
    options: RunOptions = {},
  ): Promise<RunningPod[]> {
    const documents = typeof manifest === "string"
      ? objectsOf(manifest, "manifest").map((o) => o.value)
      : manifest;
    const plan = planWorkloads(documents, {
      namespace: options.namespace ?? "default",
      random: Math.random,
      uid: () => crypto.randomUUID(),
    });
    const node = options.node === undefined ? undefined : this.node(options.node);
    for (const { kind, namespace, name } of plan.workloads) {
      const same = this.record.workloads.some((w) =>
        w.kind === kind && w.namespace === namespace && w.name === name
      );
      if (same) throw new LabError(`the ${kind} "${namespace}/${name}" runs already`);
    }
    const placed = plan.pods.map((pod) => ({ pod, on: node ?? this.#wantedNode(pod) }));
    this.#refuseTakenNames(plan.pods);
    if (plan.others.length > 0) {
      await this.apply(plan.others.map((o) => printJson(o)).join("\n---\n"));
      options.onApplied?.(plan.others.length);
    }
    this.record.workloads.push(...plan.workloads);
    saveLab(this.record);
    const running: RunningPod[] = [];
    for (const { pod, on } of placed) {
      const owner = pod.metadata.ownerReferences?.[0];
      const started = await this.start(pod, on ?? this.#nextNode(), {
        ...options,
        workload: owner && `${owner.kind}/${pod.metadata.namespace}/${owner.name}`,
      });
      running.push(started);
      options.onStarted?.(started);
    }
    return running;
  }

  /** The node that a pod asks for; a LabError where the lab has none of that name. */
  #wantedNode(pod: PodManifest): LabNode | undefined {
    return pod.spec.nodeName ? this.node(pod.spec.nodeName) : undefined;
  }

  #refuseTakenNames(pods: readonly PodManifest[]): void {
    const seen = new Set<string>();
    for (const { metadata: { namespace, name } } of pods) {
      if (findPod(this.record, namespace, name)) {
        throw new LabError(`the pod "${namespace}/${name}" runs already; delete it first`);
      }
      if (seen.has(`${namespace}/${name}`)) {
        throw new LabError(`the pod "${namespace}/${name}" is there twice; rename one of the two`);
      }
      seen.add(`${namespace}/${name}`);
    }
  }

  start(manifest: PodManifest, node: LabNode, options: StartOptions = {}): Promise<RunningPod> {
    return startPod(this.record, this.resources, manifest, node, options);
  }

  remove(pod: PodRecord): Promise<void> {
    return removePod(this.record, this.resources, pod);
  }

  /** The Deployment or StatefulSet that a pod is of. */
  workloadOf(pod: PodRecord): Workload | undefined {
    return this.record.workloads.find((w) => `${w.kind}/${w.namespace}/${w.name}` === pod.workload);
  }

  /** The pod that takes another one's place: of a StatefulSet under the same name. */
  replacementOf(pod: PodRecord): PodManifest | undefined {
    const workload = this.workloadOf(pod);
    if (!workload) return undefined;
    const ordinal = Number(pod.name.slice(pod.name.lastIndexOf("-") + 1));
    return podOf(workload, ordinal, Math.random);
  }
}
