/**
 * Pods in an etcd that runs in a node's own namespace: a process in there writes them for the benchmark
 * outside, a line of JSON for each, answered by a line.
 */
import { type Pod, podKind } from "../../mod/model/pod.ts";
import type { LabNode } from "../../mod/lab/layout.ts";
import { openEtcd } from "../../mod/store/etcd/mod.ts";
import { Resources } from "../../mod/store/resources.ts";
import type { EtcdCluster } from "../store/etcd_server.ts";
import { RUN_MODULE } from "../tools/run_module.ts";
import type { PodObjects } from "./pod_calls.ts";

type Order = { readonly apply: Pod } | { readonly remove: string; readonly namespace: string };

export class EtcdPods implements PodObjects {
  readonly #process: Deno.ChildProcess;
  readonly #orders: WritableStreamDefaultWriter<Uint8Array>;
  readonly #answers: ReadableStreamDefaultReader<Uint8Array>;
  #turn: Promise<unknown> = Promise.resolve();

  constructor(node: LabNode, etcd: EtcdCluster) {
    const self = new URL(import.meta.url).pathname;
    this.#process = new Deno.Command("ip", {
      args: [
        ...["netns", "exec", node.namespace, Deno.execPath()],
        ...[...RUN_MODULE, self, etcd.endpoints[0]],
      ],
      stdin: "piped",
      stdout: "piped",
    }).spawn();
    this.#orders = this.#process.stdin.getWriter();
    this.#answers = this.#process.stdout.getReader();
  }

  apply(_: typeof podKind, apply: Pod): Promise<void> {
    return this.#order({ apply });
  }

  delete(_: typeof podKind, remove: string, namespace: string): Promise<void> {
    return this.#order({ remove, namespace });
  }

  /** One after the other: an answer is of the last order. */
  #order(order: Order): Promise<void> {
    const answer = this.#turn.then(async () => {
      await this.#orders.write(new TextEncoder().encode(`${JSON.stringify(order)}\n`));
      const { value, done } = await this.#answers.read();
      const text = new TextDecoder().decode(value);
      if (done) throw new Error("the process that writes Pods has ended; it said why");
      if (text !== "done\n") throw new Error(`the process that writes Pods says: ${text}`);
    });
    this.#turn = answer.catch(() => {});
    return answer;
  }

  async stop(): Promise<void> {
    // It may have ended by itself.
    await this.#orders.close().catch(() => {});
    await this.#answers.cancel();
    await this.#process.status;
  }
}

if (import.meta.main) {
  const store = await openEtcd({ kind: "etcd", endpoints: [Deno.args[0]], tls: {} });
  const resources = new Resources(store);
  let held = "";
  for await (const text of Deno.stdin.readable.pipeThrough(new TextDecoderStream())) {
    held += text;
    if (!held.endsWith("\n")) continue;
    const order = JSON.parse(held) as Order;
    held = "";
    if ("apply" in order) await resources.apply(podKind, order.apply);
    else await resources.delete(podKind, order.remove, order.namespace);
    await Deno.stdout.write(new TextEncoder().encode("done\n"));
  }
  await store.close();
}
