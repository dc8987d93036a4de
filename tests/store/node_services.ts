/**
 * The built executable's services of several nodes on one datastore: each in a network namespace and
 * with folders of its own, called at its socket as a runtime calls it, killed and started again.
 */
import { binary, until } from "../cluster/harness.ts";

export interface Place {
  /** Name of a network namespace, in which this address is. */
  readonly netns: string;
  readonly ip: string;
  /** Name of the network namespace of its pods: beside those that processes are in the only one it sees. */
  readonly pods?: string;
}

/**
 * Run in a mount namespace of its own, which `ip netns exec` makes: the mounts of others' network namespaces
 * go there, and those of the first process are out of sight.
 */
const SECLUDE = `
mount --make-rprivate /
for f in /run/netns/*; do [ "$f" = "/run/netns/$PODS" ] || umount "$f"; done 2>/dev/null
mount --bind /dev/null /proc/1/mountinfo
`;

export class NodeServices {
  readonly #folder = Deno.makeTempDirSync({ prefix: "tortie-services-" });
  readonly #children: (Deno.ChildProcess | undefined)[] = [];

  /** The environment says which datastore it is. */
  constructor(readonly places: readonly Place[], readonly env: Record<string, string>) {}

  socket(i: number): string {
    return `${this.#folder}/${i}/run/tortie.sock`;
  }

  pid(i: number): number {
    return this.#children[i]!.pid;
  }

  async log(i: number): Promise<string> {
    return await Deno.readTextFile(`${this.#folder}/${i}/log`);
  }

  async start(): Promise<void> {
    await Promise.all(this.places.map(async (_, i) => {
      await Deno.mkdir(`${this.#folder}/${i}`);
      this.#spawn(i);
      await until(`node n${i} listens`, 60_000, async () => {
        return await Deno.lstat(this.socket(i)).then(() => true, () => false);
      });
    }));
  }

  /** kill -9, and another one in its place. */
  async kill(i: number): Promise<void> {
    await this.#end(i, "SIGKILL");
    this.#spawn(i);
  }

  async stop(): Promise<void> {
    await Promise.all(this.places.map((_, i) => this.#end(i, "SIGTERM")));
    await Deno.remove(this.#folder, { recursive: true });
  }

  #spawn(i: number): void {
    const { netns, ip, pods } = this.places[i], folder = `${this.#folder}/${i}`;
    const script = `${pods ? SECLUDE : ""}exec "$0" node run >>${folder}/log 2>&1`;
    this.#children[i] = new Deno.Command("ip", {
      args: ["netns", "exec", netns, "/bin/sh", "-c", script, binary()],
      env: {
        PATH: Deno.env.get("PATH") ?? "",
        TORTIE_RUN_DIR: `${folder}/run`,
        TORTIE_STATE_DIR: `${folder}/state`,
        TORTIE_CALICO_DIR: `${folder}/calico`,
        WAIT_FOR_DATASTORE: "true",
        CALICO_IPV4POOL_CIDR: "none",
        ...(pods && { PODS: pods }),
        NODENAME: `n${i}`,
        IP: ip,
        ...this.env,
      },
      clearEnv: true,
      stdin: "null",
    }).spawn();
  }

  async #end(i: number, signal: Deno.Signal): Promise<void> {
    const child = this.#children[i];
    this.#children[i] = undefined;
    try {
      child?.kill(signal);
    } catch { /* It has ended by itself. */ }
    await child?.status;
  }
}
