/**
 * CNI calls for the benchmarks, made the way a runtime makes them: a namespace for each pod, a plugin
 * as a process inside the node's namespace (ours or a stock one, started alike by posix_spawn), or the
 * same call straight over the node service's socket, which is what the service alone costs.
 */
import { createNetns, deleteNetns, Netns } from "../../ffi/netns.ts";
import { MemoryFile, spawn, wait } from "../../ffi/process.ts";
import { encodeRequest, parseHead } from "../../cni/request.ts";
import { conflist, netnsPath, nodeSocket } from "../../mod/lab/cluster.ts";
import type { Lab } from "../../mod/lab/lab.ts";
import { type LabNode, namespacePrefix } from "../../mod/lab/layout.ts";
import { type Pod, podKind } from "../../mod/model/pod.ts";

export const STOCK = "/usr/lib/cni";

/** One pod to be attached: its namespace, and its container. */
export interface Sandbox {
  readonly netns: string;
  readonly containerId: string;
  /** Of its Pod object, in the namespace `default`. */
  readonly pod?: string;
}

/** What is called, and with which configuration. */
export interface Plugin {
  readonly name: string;
  /** Executable; absent: straight over the node's socket. */
  readonly path?: string;
  readonly conf: Record<string, unknown>;
  readonly env?: Readonly<Record<string, string>>;
}

export type Command = "ADD" | "DEL" | "VERSION";

/** Where a node finds its Pods. */
export type PodObjects = {
  apply(kind: typeof podKind, object: Pod): Promise<unknown>;
  delete(kind: typeof podKind, name: string, namespace: string): Promise<unknown>;
};

export class Pods {
  readonly #netns: Netns;
  readonly #made = new Set<string>();
  #next = 0;

  /** `objects`: where the node finds its Pods, if not in the lab's own datastore. */
  constructor(
    readonly lab: Lab,
    readonly node: LabNode,
    readonly objects: PodObjects = lab.resources,
  ) {
    this.#netns = Netns.open(netnsPath(node.namespace));
  }

  /** Deletes the namespaces that are left. */
  close(): void {
    for (const name of this.#made) deleteNetns(name);
    this.#netns.close();
  }

  /** A fresh namespace; with `pod` a Pod object too, bound to the node, as kubelet finds it. */
  async make(pod: boolean, labels?: Record<string, string>): Promise<Sandbox> {
    const id = crypto.getRandomValues(new Uint8Array(32)).toHex();
    const netns = `${namespacePrefix(this.lab.record.layout.name)}pod-${id.slice(0, 12)}`;
    createNetns(netns);
    this.#made.add(netns);
    if (!pod) return { netns, containerId: id };
    const name = `bench-${this.#next++}`;
    await this.objects.apply(podKind, {
      apiVersion: "v1",
      kind: "Pod",
      metadata: {
        name,
        namespace: "default",
        labels: { app: `app${this.#next % 10}`, ...labels },
      },
      spec: { nodeName: this.node.name, containers: [{ name: "c" }] },
      status: { phase: "Pending" },
    });
    return { netns, containerId: id, pod: name };
  }

  async remove({ netns, pod }: Sandbox): Promise<void> {
    deleteNetns(netns);
    this.#made.delete(netns);
    if (pod) await this.objects.delete(podKind, pod, "default");
  }

  /** One call; what it printed. Throws where it failed. */
  call(plugin: Plugin, command: Command, sandbox: Sandbox): Promise<string> {
    return this.prepare(plugin, command, sandbox)();
  }

  /** The same, ready to be started: what a caller prepares is none of the plugin's time. */
  prepare(plugin: Plugin, command: Command, sandbox: Sandbox): () => Promise<string> {
    const stdin = new TextEncoder().encode(JSON.stringify(plugin.conf));
    const env: Record<string, string> = {
      ...plugin.env,
      CNI_COMMAND: command,
      CNI_CONTAINERID: sandbox.containerId,
      CNI_NETNS: netnsPath(sandbox.netns),
      CNI_IFNAME: "eth0",
      CNI_PATH: STOCK,
      CNI_ARGS: "IgnoreUnknown=1" +
        (sandbox.pod ? `;K8S_POD_NAMESPACE=default;K8S_POD_NAME=${sandbox.pod}` : ""),
    };
    const start = plugin.path === undefined
      ? () => overSocket(nodeSocket(this.node), env, stdin)
      : this.#process(plugin.path, env, stdin);
    return async () => {
      const { exit, body } = await start();
      if (exit !== 0) throw new Error(`${plugin.name} ${command}: ${body.trim()}`);
      return body;
    };
  }

  #process(path: string, env: Record<string, string>, input: Uint8Array<ArrayBuffer>) {
    const stdin = new MemoryFile(input), stdout = new MemoryFile();
    return async () => {
      try {
        const pid = spawn({
          path,
          argv: [path],
          env: { PATH: "/usr/sbin:/usr/bin:/sbin:/bin", ...env },
          netns: this.#netns,
          stdin: stdin.fd,
          stdout: stdout.fd,
        });
        const { exit } = await wait(pid);
        return { exit, body: stdout.text() };
      } finally {
        stdin.close();
        stdout.close();
      }
    };
  }
}

/** As the plugin's process speaks it, from a process that runs already: it closes when it has all. */
async function overSocket(path: string, env: Record<string, string>, stdin: Uint8Array) {
  const bytes = encodeRequest({ argv0: "tortie", env, stdin });
  using socket = await Deno.connect({ transport: "unix", path });
  for (let at = 0; at < bytes.length;) at += await socket.write(bytes.subarray(at));
  await socket.closeWrite();
  const buffer = new Uint8Array(65536);
  for (let have = 0;;) {
    const n = await socket.read(buffer.subarray(have));
    if (n === null) throw new Error(`${path} broke off in its answer`);
    have += n;
    const newline = buffer.subarray(0, have).indexOf(10);
    const head = newline < 0 ? undefined : parseHead(buffer.subarray(0, newline));
    if (!head || have < newline + 1 + head.length) continue;
    return { exit: head.exit, body: new TextDecoder().decode(buffer.subarray(newline + 1, have)) };
  }
}

/** Our plugin's configuration on this node, as its conflist has it. */
export function ourConf(node: LabNode): Record<string, unknown> {
  const { plugins: [plugin], ...list } = conflist(node);
  return { ...list, ...plugin };
}

/** For our executable's native front door, which leaves to Deno what names a socket by itself. */
export function frontPlugin(node: LabNode, name: string, path: string): Plugin {
  const { tortie: _, ...conf } = ourConf(node);
  return { name, path, conf, env: { TORTIE_RUN_DIR: nodeSocket(node).replace(/\/[^/]*$/, "") } };
}

/** The stock plugins that are compared, with host-local's files under `folder`. */
export function stockPlugins(folder: string): Record<"ptp" | "bridge", Plugin> {
  const hostLocal = (name: string, subnet: string) => ({
    type: "host-local",
    dataDir: `${folder}/${name}`,
    ranges: [[{ subnet }]],
    routes: [{ dst: "0.0.0.0/0" }],
  });
  return {
    ptp: {
      name: "ptp",
      path: `${STOCK}/ptp`,
      conf: {
        cniVersion: "1.0.0",
        name: "bench-ptp",
        type: "ptp",
        ipMasq: false,
        ipam: hostLocal("ptp", "10.77.0.0/16"),
      },
    },
    bridge: {
      name: "bridge",
      path: `${STOCK}/bridge`,
      conf: {
        cniVersion: "1.0.0",
        name: "bench-bridge",
        type: "bridge",
        bridge: "benchbr0",
        isGateway: true,
        ipMasq: false,
        ipam: hostLocal("bridge", "10.78.0.0/16"),
      },
    },
  };
}
