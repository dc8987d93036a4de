/**
 * Two network namespaces with a wire between them, real BIRD 2 in one of them, and a speaker of ours
 * in the other. Everything is removed by `close`, also after a failure; BIRD is ended by its own pid.
 */
import { createNetns, deleteNetns, listNetns, Netns } from "../../ffi/netns.ts";
import { type BestRouteChange, Speaker, type SpeakerConfig } from "../../bgp/speaker.ts";
import { formatIp, formatPrefix, mustIp } from "../../mod/net/mod.ts";
import { NodeTransport, systemClock } from "../../mod/node/bgp_transport.ts";

export async function run(...command: string[]): Promise<string> {
  const [program, ...args] = command;
  const { success, stdout, stderr } = await new Deno.Command(program, { args }).output();
  const text = new TextDecoder().decode(stdout);
  if (!success) {
    throw new Error(`${command.join(" ")}: ${new TextDecoder().decode(stderr)}${text}`);
  }
  return text;
}

/** Why these tests cannot run here; undefined where they can. */
export function missing(): string | undefined {
  if (Deno.uid() !== 0) return "needs root";
  for (const program of ["/usr/sbin/bird", "/usr/sbin/birdc"]) {
    try {
      Deno.statSync(program);
    } catch {
      return `${program} is not installed`;
    }
  }
  return undefined;
}

/** Waits so long and no longer, also where an answer to the question itself does not come. */
export async function until(
  what: string,
  condition: () => boolean | Promise<boolean>,
  { ms = 20_000, step = 50 } = {},
): Promise<void> {
  const late = () => new Error(`waited ${ms} ms for: ${what}`);
  const end = performance.now() + ms;
  for (;;) {
    const answer = condition();
    const left = Math.max(end - performance.now(), 0);
    if (typeof answer === "boolean" ? answer : await within(left, answer, late)) return;
    if (performance.now() > end) throw late();
    await sleep(step);
  }
}

async function within<T>(ms: number, promise: Promise<T>, late: () => Error): Promise<T> {
  let timer: number | undefined;
  const limit = new Promise<never>((_, reject) => timer = setTimeout(() => reject(late()), ms));
  try {
    return await Promise.race([promise, limit]);
  } finally {
    clearTimeout(timer);
  }
}

export function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

/** Our end is 10.9.0.1 and fd09::1, BIRD's 10.9.0.2 and fd09::2. */
export class Wire {
  readonly #names: string[];
  readonly ours: Netns;
  readonly theirs: Netns;
  readonly #ends: (() => void | Promise<void>)[] = [];

  private constructor(name: string) {
    this.#names = [`${name}-a`, `${name}-b`];
    for (const n of this.#names) {
      if (listNetns().includes(n)) deleteNetns(n); // left by a run that was killed
      createNetns(n);
    }
    [this.ours, this.theirs] = this.#names.map((n) => Netns.open(n));
  }

  static async open(name = `bgp-${Deno.pid}`): Promise<Wire> {
    const wire = new Wire(name);
    const [a, b] = wire.#names;
    try {
      await run("ip", "-n", a, "link", "add", "w0", "type", "veth", "peer", "w0", "netns", b);
      for (const [n, host] of [[a, 1], [b, 2]] as const) {
        await run("ip", "-n", n, "link", "set", "lo", "up");
        await run("ip", "-n", n, "address", "add", `10.9.0.${host}/24`, "dev", "w0");
        await run("ip", "-n", n, "address", "add", `fd09::${host}/64`, "dev", "w0", "nodad");
        await run("ip", "-n", n, "link", "set", "w0", "up");
      }
    } catch (error) {
      await wire.close();
      throw error;
    }
    return wire;
  }

  get birdNamespace(): string {
    return this.#names[1];
  }

  get ourNamespace(): string {
    return this.#names[0];
  }

  /** Cuts the wire, or joins it again: no end sees anything but silence. */
  async cut(cut: boolean): Promise<void> {
    const words = cut
      ? "add table ip cut; add chain ip cut in { type filter hook input priority 0; policy drop; }"
      : "delete table ip cut";
    for (const n of this.#names) await run("ip", "netns", "exec", n, "nft", words);
  }

  atEnd(call: () => void | Promise<void>): void {
    this.#ends.push(call);
  }

  async close(): Promise<void> {
    for (const end of this.#ends.reverse()) await end();
    this.ours.close();
    this.theirs.close();
    for (const n of this.#names) if (listNetns().includes(n)) deleteNetns(n);
  }
}

/** BIRD 2 with a configuration of its own, in the wire's second namespace. */
export class Bird {
  #child: Deno.ChildProcess | undefined;
  readonly #directory = Deno.makeTempDirSync({ prefix: "tortie-bird-" });

  constructor(private readonly wire: Wire) {
    wire.atEnd(async () => {
      await this.kill();
      await Deno.remove(this.#directory, { recursive: true });
    });
  }

  /** Starts BIRD; `recover` is its -R: it takes over from one that died. */
  async start(config: string, recover = false): Promise<void> {
    const path = `${this.#directory}/bird.conf`;
    await Deno.writeTextFile(path, config);
    this.#child = new Deno.Command("ip", {
      args: [
        ...["netns", "exec", this.wire.birdNamespace, "bird", "-f", "-c", path],
        ...["-s", `${this.#directory}/ctl`, "-P", `${this.#directory}/pid`],
        ...(recover ? ["-R"] : []),
      ],
      stdin: "null",
      stdout: "null",
      stderr: "piped",
    }).spawn();
    this.#child.ref();
    const errors = new Response(this.#child.stderr).text();
    try {
      await until("BIRD to answer", async () => {
        try {
          return (await this.ctl("show", "status")).includes("Daemon is up");
        } catch {
          return false;
        }
      }, { ms: 5000 });
    } catch (error) {
      await this.kill();
      throw new Error(`${(error as Error).message}\n${await errors}`);
    }
  }

  ctl(...words: string[]): Promise<string> {
    return run("birdc", "-s", `${this.#directory}/ctl`, ...words);
  }

  /** New configuration, without a restart. */
  async configure(config: string): Promise<void> {
    await Deno.writeTextFile(`${this.#directory}/bird.conf`, config);
    await this.ctl("configure");
  }

  /** kill -9. `ip netns exec` has become BIRD, so the pid is BIRD's own. */
  async kill(signal: Deno.Signal = "SIGKILL"): Promise<void> {
    const child = this.#child;
    this.#child = undefined;
    if (!child) return;
    try {
      child.kill(signal);
    } catch { /* it has ended by itself */ }
    await child.status;
    await child.stderr.cancel().catch(() => {});
  }

  /** Prefixes of BIRD's table, with the whole text of each. */
  async routes(table = "master4"): Promise<Map<string, string>> {
    const text = await this.ctl("show", "route", "table", table, "all");
    const routes = new Map<string, string>();
    let current = "";
    for (const line of text.split("\n")) {
      const start = /^([0-9a-f.:]+\/\d+)\s/.exec(line);
      if (start) current = start[1];
      if (current) routes.set(current, `${routes.get(current) ?? ""}${line}\n`);
    }
    return routes;
  }
}

/** The part of a BIRD configuration that all tests share. */
export function birdConfig(options: {
  as?: number;
  ourAs?: number;
  /** More lines of the BGP protocol. */
  bgp?: string;
  /** More lines of its channel. */
  channel?: string;
  static4?: readonly string[];
  static6?: readonly string[];
  family?: 4 | 6;
}): string {
  const {
    as = 64512,
    ourAs = 64512,
    bgp = "",
    channel = "",
    static4 = [],
    static6 = [],
    family = 4,
  } = options;
  const [local, neighbor] = family === 4 ? ["10.9.0.2", "10.9.0.1"] : ["fd09::2", "fd09::1"];
  const route = (text: string) =>
    text.includes(" ") ? `route ${text};` : `route ${text} blackhole;`;
  return `
router id 10.9.0.2;
protocol device { }
protocol direct { ipv4; ipv6; interface "w0"; }
protocol static static4 { ipv4; ${static4.map(route).join(" ")} }
protocol static static6 { ipv6; ${static6.map(route).join(" ")} }
protocol bgp tortie {
  local ${local} as ${as};
  neighbor ${neighbor} as ${ourAs};
  multihop;
  connect delay time 1;
  connect retry time 1;
  error wait time 1, 2;
  hold time 6;
  graceful restart on;
  graceful restart time 10;
  ipv${family} { import all; export where source = RTS_STATIC; ${
    as === ourAs ? "next hop self;" : ""
  } gateway recursive; ${channel} };
  ${bgp}
}
`;
}

/** A speaker of ours in the wire's first namespace, and what it would put into the kernel. */
export class Ours {
  readonly kernel = new Map<string, string[]>();
  readonly log: string[] = [];
  readonly speaker: Speaker;

  constructor(wire: Wire, config: Partial<SpeakerConfig> = {}) {
    this.speaker = new Speaker({
      as: 64512,
      routerId: mustIp("10.9.0.1"),
      listen: [{ family: 4, port: 179 }, { family: 6, port: 179 }],
      ...config,
    }, {
      transport: new NodeTransport(wire.ours),
      clock: systemClock,
      log: (_, message) => this.log.push(message),
    });
    this.speaker.onRoutes((changes) => this.#apply(changes));
    wire.atEnd(() => this.speaker.stop({ graceful: false, reason: "the test is over" }));
  }

  #apply(changes: readonly BestRouteChange[]): void {
    for (const { prefix, paths } of changes) {
      const key = formatPrefix(prefix);
      if (paths.length === 0) this.kernel.delete(key);
      else this.kernel.set(key, paths.map((path) => formatIp(path.nextHop)));
    }
  }

  get state(): string {
    return this.speaker.peers()[0].state;
  }

  /** For a failing test: all that we know. */
  describe(): string {
    return JSON.stringify([this.speaker.peers(), [...this.kernel], this.log], null, 1);
  }
}
