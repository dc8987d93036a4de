/**
 * `tortie controllers run` of the built executable beside a test, in a network namespace or in ours: killed
 * and started again, told by KubeControllersConfiguration how long what looks unused is left alone. And
 * `tortie ipam check`, waited for until it finds nothing by itself.
 */
import { binary, until } from "../cluster/harness.ts";

const decoder = new TextDecoder();

export interface Where {
  readonly netns?: string;
  /** Says which datastore it is. */
  readonly env: Record<string, string>;
}

/** Any command of the executable. */
export async function tortie({ netns, env }: Where, words: readonly string[], stdin = "") {
  const inside = netns === undefined ? [] : ["ip", "netns", "exec", netns];
  const [program, ...args] = [...inside, binary(), ...words];
  const child = new Deno.Command(program, {
    args,
    env,
    stdin: "piped",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
  const writer = child.stdin.getWriter();
  await writer.write(new TextEncoder().encode(stdin)).catch(() => {}); // it reads none
  await writer.close().catch(() => {});
  const { code, stdout, stderr } = await child.output();
  return { code, said: decoder.decode(stdout) + decoder.decode(stderr) };
}

export class ControllersProcess {
  readonly #folder = Deno.makeTempDirSync({ prefix: "tortie-controllers-" });
  #child: Deno.ChildProcess | undefined;
  kills = 0;

  constructor(readonly where: Where) {}

  get pid(): number {
    return this.#child!.pid;
  }

  /** Each: until the datastore takes it. */
  async grace(seconds: number): Promise<void> {
    const configuration = {
      apiVersion: "projectcalico.org/v3",
      kind: "KubeControllersConfiguration",
      metadata: { name: "default" },
      spec: {
        prometheusMetricsPort: 0,
        controllers: { node: { leakGracePeriod: `${seconds}s` } },
      },
    };
    await until("a grace period is set", 120_000, async () => {
      const { code, said } = await tortie(
        this.where,
        ["apply", "-f", "-"],
        JSON.stringify(configuration),
      );
      if (code !== 0) throw new Error(said);
      return true;
    });
  }

  start(): void {
    const { netns, env } = this.where;
    const inside = netns === undefined ? "" : `ip netns exec ${netns} `;
    this.#child = new Deno.Command("/bin/sh", {
      args: ["-c", `exec ${inside}"$0" controllers run >>${this.#folder}/log 2>&1`, binary()],
      env: {
        PATH: Deno.env.get("PATH") ?? "",
        TORTIE_CONTROLLERS_HEALTH_PORT: "0",
        // Who was killed is followed soon.
        TORTIE_CONTROLLERS_LEASE_SECONDS: "3",
        ...env,
      },
      clearEnv: true,
      stdin: "null",
    }).spawn();
  }

  /** kill -9, and another one in its place. */
  async kill(): Promise<void> {
    await this.#end("SIGKILL");
    this.kills++;
    this.start();
  }

  /** Waits until `ipam check` finds nothing, with no help but what runs. */
  async clean(limit: number): Promise<void> {
    await until("ipam check finds nothing", limit, async () => {
      const { code, said } = await tortie(this.where, ["ipam", "check"]);
      if (code !== 0) throw new Error(`${said}\n${(await this.log()).slice(-3000)}`);
      return true;
    });
  }

  log(): Promise<string> {
    return Deno.readTextFile(`${this.#folder}/log`);
  }

  async stop(): Promise<void> {
    await this.#end("SIGTERM");
    await Deno.remove(this.#folder, { recursive: true });
  }

  async #end(signal: Deno.Signal): Promise<void> {
    const child = this.#child;
    this.#child = undefined;
    try {
      child?.kill(signal);
    } catch { /* It has ended by itself. */ }
    await child?.status;
  }
}
