/**
 * One machine with the built executable: a namespace for the node and one for each pod, folders of its
 * own, the node service as a process, commands and CNI calls. What it is told of its datastore comes
 * from the test, in the environment.
 */
import assert from "node:assert/strict";
import { binary, tool } from "./harness.ts";

const decoder = new TextDecoder();

export interface Answer {
  exit: number;
  out: string;
  err: string;
}

/** Namespaces of a node and of pods, folders, and the processes that run there. */
export class World {
  readonly id = `w${Deno.pid}`;
  readonly node = `${this.id}n`;
  readonly folder: string;
  readonly #namespaces: string[] = [];
  #service: Deno.ChildProcess | undefined;

  constructor(readonly env: Record<string, string>) {
    this.folder = Deno.makeTempDirSync({ prefix: "tortie-node-" });
  }

  async namespace(name: string): Promise<void> {
    await tool(undefined, "ip", "netns", "add", name);
    this.#namespaces.push(name);
    await tool(name, "ip", "link", "set", "lo", "up");
  }

  get own(): Record<string, string> {
    const { folder } = this;
    return {
      PATH: Deno.env.get("PATH") ?? "",
      TORTIE_RUN_DIR: `${folder}/run`,
      TORTIE_STATE_DIR: `${folder}/state`,
      TORTIE_CALICO_DIR: `${folder}/calico`,
    };
  }

  async #run(
    words: string[],
    env: Record<string, string>,
    stdin: string,
    program = binary(),
  ): Promise<Answer> {
    const child = new Deno.Command("ip", {
      args: ["netns", "exec", this.node, program, ...words],
      env: { ...this.own, ...env },
      clearEnv: true,
      stdin: "piped",
      stdout: "piped",
      stderr: "piped",
    }).spawn();
    const writer = child.stdin.getWriter();
    await writer.write(new TextEncoder().encode(stdin)).catch(() => {});
    await writer.close().catch(() => {});
    const { code, stdout, stderr } = await child.output();
    return { exit: code, out: decoder.decode(stdout), err: decoder.decode(stderr) };
  }

  /** A command on the datastore that the environment names. */
  tortie(line: string, stdin = "", env = this.env): Promise<Answer> {
    return this.#run(line.split(" "), env, stdin);
  }

  cni(
    command: string,
    pod: string,
    conf: Record<string, unknown>,
    more: { program?: string; env?: Record<string, string> } = {},
  ): Promise<Answer> {
    return this.#run(
      [],
      {
        CNI_COMMAND: command,
        CNI_CONTAINERID: `container-${pod}`,
        CNI_NETNS: `/run/netns/${this.id}${pod}`,
        CNI_IFNAME: "eth0",
        CNI_PATH: "/nowhere",
        ...more.env,
      },
      JSON.stringify(conf),
      more.program,
    );
  }

  async start(env: Record<string, string> = {}): Promise<void> {
    const log = `${this.folder}/node.log`;
    this.#service = new Deno.Command("/bin/sh", {
      args: [
        "-c",
        `exec ip netns exec ${this.node} "$0" node run >>"${log}" 2>&1`,
        binary(),
      ],
      env: { ...this.own, ...this.env, NODENAME: "node1", IP: "10.20.0.1", ...env },
      clearEnv: true,
      stdin: "null",
    }).spawn();
  }

  /** The service's exit code. */
  async end(signal: Deno.Signal = "SIGTERM"): Promise<number> {
    const service = this.#service!;
    this.#service = undefined;
    try {
      service.kill(signal);
    } catch { /* It has ended by itself. */ }
    return (await service.status).code;
  }

  ended(): Promise<number> {
    return this.#service!.status.then(({ code }) => code);
  }

  log(): string {
    return Deno.readTextFileSync(`${this.folder}/node.log`);
  }

  async status(): Promise<any> {
    const { out, err } = await this.tortie("node status -o json");
    assert.notEqual(out, "", err);
    return JSON.parse(out);
  }

  async close(): Promise<void> {
    if (this.#service) await this.end("SIGKILL");
    for (const name of this.#namespaces) await tool(undefined, "ip", "netns", "del", name);
    await Deno.remove(this.folder, { recursive: true });
  }
}

/** A network configuration. */
export const conf = (socket: string, more: Record<string, unknown> = {}) => ({
  cniVersion: "1.0.0",
  name: "k8s-pod-network",
  type: "tortie",
  ipam: { type: "tortie-ipam" },
  tortie: { socket },
  ...more,
});
