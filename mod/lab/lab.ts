/**
 * A lab that is up, as its commands and the demo use it: its datastore, its nodes, its pods.
 */
import { objectsOf } from "../cli/documents.ts";
import type { Io } from "../cli/io.ts";
import { run as runCli } from "../cli/main.ts";
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
    if (said.exit !== 0) throw new LabError(said.stderr.trim());
    return said;
  }

  /** Runs a manifest's workloads, after applying everything else that it holds. */
  async run(
    manifest: string,
    options: StartOptions & { node?: string; namespace?: string; source?: string } = {},
  ): Promise<RunningPod[]> {
    const source = options.source ?? "manifest";
    const documents = objectsOf(manifest, source).map((o) => o.value);
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
    if (plan.others.length > 0) {
      await this.apply(plan.others.map((o) => JSON.stringify(o)).join("\n---\n"));
    }
    this.record.workloads.push(...plan.workloads);
    saveLab(this.record);
    const running: RunningPod[] = [];
    for (const manifest of plan.pods) {
      const owner = manifest.metadata.ownerReferences?.[0];
      const on = node ??
        (manifest.spec.nodeName ? this.node(manifest.spec.nodeName) : this.#nextNode());
      running.push(
        await this.start(manifest, on, {
          ...options,
          workload: owner && `${owner.kind}/${manifest.metadata.namespace}/${owner.name}`,
        }),
      );
    }
    return running;
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
