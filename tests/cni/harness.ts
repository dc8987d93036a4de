/**
 * A node for tests of the CNI path as a runtime sees it: a network namespace that plays the host, the
 * node's CNI service running in it as a process of its own, plugins as executables in a folder, and
 * pods' namespaces. Everything is made under one random prefix and removed again, also after a
 * failure; traffic stays inside.
 *
 * The plugins are links to the built executable where TORTIE_BINARY names one, else little scripts
 * that start `cni/plugin.ts` with the permissions of the product. An executable answers by its plugin in
 * TypeScript, or by its native front door where it has one and TORTIE_CNI_WAY is `front`: where the
 * configuration names a socket, as it does else, the front door leaves the call to the plugin. With another
 * executable in TORTIE_BESIDE every call that can be made once more is made by that one too, and must print
 * the same bytes.
 */
import assert from "node:assert/strict";

import { type RemoteStore, remoteStore } from "../../mod/store/remote.ts";
import { MODULE_FLAGS } from "../tools/run_module.ts";

const ROOT = new URL("../../", import.meta.url).pathname;
/** The product's permissions. */
const PERMISSIONS = [
  "--allow-ffi",
  "--allow-read",
  "--allow-write",
  "--allow-net",
  "--allow-env",
  "--allow-sys=hostname,networkInterfaces",
  "--no-prompt",
];
const ROLES = ["tortie", "tortie-ipam", "calico", "calico-ipam"];

/** Calls that change nothing, or nothing more at the second time; so does whatever is refused. */
const REPEATABLE = new Set(["VERSION", "CHECK", "STATUS", "DEL", "GC"]);

/** How the plugins answer. */
const WAY = Deno.env.get("TORTIE_CNI_WAY") ?? "plain";

export interface Output {
  readonly code: number;
  /** The signal that ended it, or null. */
  readonly signal: string | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs a program to its end; the test's own tools (ip, ping, stock plugins) too. */
export async function run(
  command: string[],
  options: { stdin?: string | Uint8Array; env?: Record<string, string>; clearEnv?: boolean } = {},
): Promise<Output> {
  const child = new Deno.Command(command[0], {
    args: command.slice(1),
    stdin: options.stdin === undefined ? "null" : "piped",
    stdout: "piped",
    stderr: "piped",
    env: options.env,
    clearEnv: options.clearEnv,
  }).spawn();
  if (options.stdin !== undefined) {
    const writer = child.stdin.getWriter();
    const bytes = typeof options.stdin === "string"
      ? new TextEncoder().encode(options.stdin)
      : options.stdin;
    // A plugin that refuses early need not read everything.
    await writer.write(bytes).then(() => writer.close()).catch(() => {});
  }
  const { code, signal, stdout, stderr } = await child.output();
  const decoder = new TextDecoder();
  return { code, signal, stdout: decoder.decode(stdout), stderr: decoder.decode(stderr) };
}

/** As `run`, and throws with the program's own words where it fails. */
export async function must(command: string[]): Promise<string> {
  const { code, stdout, stderr } = await run(command);
  if (code !== 0) throw new Error(`${command.join(" ")}: exit ${code}: ${stderr}${stdout}`);
  return stdout;
}

export interface HarnessOptions {
  /** IPPools; without it one of 10.244.0.0/16. */
  readonly pools?: { name: string; spec: Record<string, unknown> }[];
  /** Milliseconds that the service waits before it says that policy is in place. */
  readonly policyDelay?: number;
}

export interface CallOptions {
  readonly command?: string;
  /** Name of the plugin: tortie, tortie-ipam, … or a path. */
  readonly plugin?: string;
  readonly conf?: Record<string, unknown> | string | Uint8Array;
  readonly container?: string;
  readonly ifname?: string;
  readonly netns?: string;
  readonly args?: string;
  /** Overrides; undefined takes a variable away. */
  readonly env?: Record<string, string | undefined>;
  /** Made once: the node changes meanwhile, so that the same call a moment later has another answer. */
  readonly once?: boolean;
}

export interface CallResult extends Output {
  /** Of standard output; undefined where it is empty. */
  readonly json: any;
}

export const NODE = "harness-1";

export class CniHarness {
  readonly id = `cnit${
    crypto.getRandomValues(new Uint32Array(1))[0].toString(16).padStart(8, "0")
  }`;
  /** Name of the host's namespace. */
  readonly host = `${this.id}-host`;
  readonly store: RemoteStore;
  #service: Deno.ChildProcess | undefined;
  #namespaces = new Set<string>();
  #counter = 0;

  private constructor(readonly folder: string, readonly options: HarnessOptions) {
    this.store = remoteStore(this.socket, { patienceMs: 15_000 });
  }

  get socket(): string {
    return `${this.folder}/tortie.sock`;
  }

  get storePath(): string {
    return `${this.folder}/store.kv`;
  }

  /** Where the plugins are: the CNI_PATH of our calls, before the stock plugins' folder. */
  get plugins(): string {
    return `${this.folder}/bin`;
  }

  /** The same of the other executable. */
  get beside(): string {
    return `${this.folder}/beside`;
  }

  get cniPath(): string {
    return [this.plugins, "/opt/cni/bin", "/usr/lib/cni"].join(":");
  }

  /** Makes the node; `await using` it, or call `stop`. */
  static async start(options: HarnessOptions = {}): Promise<CniHarness> {
    const folder = await Deno.makeTempDir({ prefix: "tortie-cni-" });
    const harness = new CniHarness(folder, options);
    try {
      await harness.#prepare();
    } catch (error) {
      await harness.stop();
      throw error;
    }
    return harness;
  }

  async #prepare(): Promise<void> {
    await Deno.mkdir(this.plugins);
    const binary = Deno.env.get("TORTIE_BINARY");
    const beside = Deno.env.get("TORTIE_BESIDE");
    if (beside) {
      await Deno.mkdir(this.beside);
      for (const role of ROLES) {
        await Deno.symlink(await Deno.realPath(beside), `${this.beside}/${role}`);
      }
    }
    for (const role of ROLES) {
      if (binary) {
        await Deno.symlink(await Deno.realPath(binary), `${this.plugins}/${role}`);
      } else {
        const words = [
          Deno.execPath(),
          "run",
          ...MODULE_FLAGS,
          ...PERMISSIONS,
          `${ROOT}tests/cni/plugin_main.ts`,
          role,
        ];
        await Deno.writeTextFile(
          `${this.plugins}/${role}`,
          `#!/bin/sh\nexec ${words.map((w) => `'${w}'`).join(" ")}\n`,
          { mode: 0o755 },
        );
      }
    }
    await must(["ip", "netns", "add", this.host]);
    await this.inHost(["ip", "link", "set", "lo", "up"]);
    await this.inHost(["sysctl", "-qw", "net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1"]);
    await this.startService();
  }

  /** Starts the service and waits until its store answers. */
  async startService(): Promise<void> {
    const args = [
      `--net=/run/netns/${this.host}`,
      Deno.execPath(),
      "run",
      ...MODULE_FLAGS,
      ...PERMISSIONS,
      `${ROOT}tests/cni/service_main.ts`,
      JSON.stringify({ folder: this.folder, node: NODE, ...this.options }),
    ];
    this.#service = new Deno.Command("nsenter", {
      args,
      stdin: "null",
      stdout: "null",
      stderr: Deno.env.has("TORTIE_TEST_VERBOSE") ? "inherit" : "null",
    }).spawn();
    for (let i = 0; i < 400; i++) {
      try {
        (await Deno.connect({ transport: "unix", path: this.socket })).close();
        return;
      } catch {
        await new Promise((resolve) => setTimeout(resolve, 50));
      }
    }
    throw new Error("the node service of the test did not start within 20 s");
  }

  /** Ends the service at once, as kill -9 does. */
  async killService(): Promise<void> {
    const service = this.#service;
    this.#service = undefined;
    if (!service) return;
    try {
      service.kill("SIGKILL");
    } catch {
      // It ended by itself.
    }
    await service.status;
  }

  get servicePid(): number | undefined {
    return this.#service?.pid;
  }

  async stop(): Promise<void> {
    await this.store.close();
    await this.killService();
    for (const path of [...this.#namespaces]) await this.deleteNamespace(path);
    await run(["ip", "netns", "del", this.host]);
    await Deno.remove(this.folder, { recursive: true }).catch(() => {});
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
  }

  /** A pod's namespace; its path. */
  async addNamespace(name = `p${this.#counter++}`): Promise<string> {
    const full = `${this.id}-${name}`;
    await must(["ip", "netns", "add", full]);
    const path = `/run/netns/${full}`;
    this.#namespaces.add(path);
    await this.inNamespace(path, ["ip", "link", "set", "lo", "up"]);
    return path;
  }

  async deleteNamespace(path: string): Promise<void> {
    this.#namespaces.delete(path);
    await run(["ip", "netns", "del", path.slice("/run/netns/".length)]);
  }

  async inNamespace(path: string, command: string[]): Promise<string> {
    return await must(["nsenter", `--net=${path}`, ...command]);
  }

  async inHost(command: string[]): Promise<string> {
    return await this.inNamespace(`/run/netns/${this.host}`, command);
  }

  /** `ip -j …` inside a namespace, or the host's with "". */
  async ip(path: string, ...args: string[]): Promise<any[]> {
    const text = await this.inNamespace(path || `/run/netns/${this.host}`, ["ip", "-j", ...args]);
    return text.trim() === "" ? [] : JSON.parse(text);
  }

  conf(more: Record<string, unknown> = {}): Record<string, unknown> {
    const named = { socket: this.socket, store: this.storePath };
    return {
      cniVersion: "1.0.0",
      name: "testnet",
      type: "tortie",
      ipam: { type: "tortie-ipam" },
      ...(WAY === "front" ? {} : { tortie: named }),
      ...more,
    };
  }

  /** The environment of a call. */
  environment(options: CallOptions): Record<string, string> {
    const all: Record<string, string | undefined> = {
      PATH: "/usr/sbin:/usr/bin:/sbin:/bin",
      HOME: Deno.env.get("HOME"),
      DENO_DIR: Deno.env.get("DENO_DIR"),
      DENO_NO_UPDATE_CHECK: "1",
      TORTIE_CALICO_DIR: this.folder,
      ...(WAY === "front" && { TORTIE_RUN_DIR: this.folder, TORTIE_STORE: this.storePath }),
      CNI_COMMAND: options.command ?? "ADD",
      CNI_CONTAINERID: options.container ?? "ctr1",
      CNI_IFNAME: options.ifname ?? "eth0",
      CNI_NETNS: options.netns,
      CNI_ARGS: options.args,
      CNI_PATH: this.cniPath,
      ...options.env,
    };
    return Object.fromEntries(
      Object.entries(all).filter((pair): pair is [string, string] => pair[1] !== undefined),
    );
  }

  /** One call of a plugin, run in the host's namespace as a runtime would. */
  async call(options: CallOptions = {}): Promise<CallResult> {
    const conf = options.conf ?? this.conf();
    const stdin = typeof conf === "string" || conf instanceof Uint8Array
      ? conf
      : JSON.stringify(conf);
    const plugin = options.plugin ?? "tortie";
    const env = this.environment(options);
    const start = (path: string) =>
      run(["nsenter", `--net=/run/netns/${this.host}`, path], { stdin, env, clearEnv: true });
    const output = await start(plugin.includes("/") ? plugin : `${this.plugins}/${plugin}`);
    const again = !options.once && (output.code !== 0 || REPEATABLE.has(env.CNI_COMMAND));
    if (again && Deno.env.has("TORTIE_BESIDE") && ROLES.includes(plugin)) {
      assert.deepEqual(await start(`${this.beside}/${plugin}`), output, "by the other executable");
    }
    let json;
    try {
      json = output.stdout === "" ? undefined : JSON.parse(output.stdout);
    } catch {
      throw new Error(`not JSON on standard output: ${output.stdout.slice(0, 500)}`);
    }
    return { ...output, json };
  }

  /** ADD that must succeed. */
  async add(options: CallOptions = {}): Promise<CallResult & { netns: string }> {
    const netns = options.netns ?? await this.addNamespace();
    const result = await this.call({ ...options, netns });
    if (result.code !== 0) throw new Error(`ADD failed: ${result.stdout}${result.stderr}`);
    return { ...result, netns };
  }

  /** Everything that attachments leave on the node: empty when nothing is left. */
  async traces(): Promise<string[]> {
    const links = await this.ip("", "link", "show");
    const blocks = await this.store.list<any>("/calico/ipam/v2/assignment/");
    const endpoints = await this.store.list(
      "/calico/resources/v3/projectcalico.org/workloadendpoints/",
    );
    const handles = await this.store.list("/calico/ipam/v2/handle/");
    return [
      ...links.map((l) => l.ifname).filter((name) => name !== "lo").map((n) => `link ${n}`),
      ...endpoints.entries.map((e) => `endpoint ${e.key.split("/").slice(-2).join("/")}`),
      ...blocks.entries.flatMap(({ value }) =>
        value.allocations.flatMap((a: number | null, i: number) =>
          a === null ? [] : [`address ${value.cidr}#${i} ${value.attributes[a].handle_id}`]
        )
      ),
      ...handles.entries.map((e) => `handle ${e.key.split("/").pop()}`),
    ];
  }

  /** How many addresses are given. */
  async allocations(): Promise<number> {
    return (await this.traces()).filter((t) => t.startsWith("address ")).length;
  }
}

/** Root and the tools that these tests need; a sentence where something is missing. */
export function missingForCni(): string | undefined {
  if (Deno.uid() !== 0) return "root is needed to make network namespaces";
  for (const tool of ["/usr/sbin/ip", "/sbin/ip"]) {
    try {
      Deno.statSync(tool);
      return undefined;
    } catch {
      continue;
    }
  }
  return "iproute2 is not installed";
}

/** The stock plugin of that name, or undefined where it is not installed. */
export function stockPlugin(name: string): string | undefined {
  for (const folder of ["/opt/cni/bin", "/usr/lib/cni"]) {
    try {
      Deno.statSync(`${folder}/${name}`);
      return `${folder}/${name}`;
    } catch {
      continue;
    }
  }
  return undefined;
}
