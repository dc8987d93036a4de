/**
 * The speakers that are compared, each with the same two external peers and what it needs to put the
 * injector's routes into its kernel: our node service as it is installed, from the built executable on
 * an embedded store; BIRD 2; FRR's zebra and bgpd; GoBGP, which without a zebra has no way into the
 * kernel. What a speaker does for pacing alone is off where it can be set: FRR's advertisement interval,
 * and the 10 ms for which zebra holds a route before it looks at it (`zebra work-queue`). bgpd's own 50 ms
 * before it chooses among routes (`process_queue` in its `show work-queues`) have no setting: they are in
 * FRR's figures, and the tables say so.
 */
import { openKv } from "../../mod/store/kv.ts";
import { Resources } from "../../mod/store/resources.ts";
import { bgpPeerKind } from "../../mod/model/bgp_peer.ts";
import { ippoolKind } from "../../mod/model/ippool.ts";
import { binary } from "../cluster/harness.ts";
import {
  COLLECTOR,
  COLLECTOR_AS,
  INJECTOR,
  INJECTOR_AS,
  pause,
  RANGE,
  SPEAKER,
  SPEAKER_AS,
} from "./bgp_wire.ts";

const PEERS = [["injector", INJECTOR, INJECTOR_AS], [
  "collector",
  COLLECTOR,
  COLLECTOR_AS,
]] as const;

interface Process {
  readonly command: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
}

export interface Daemon {
  readonly name: string;
  /** Whether it writes its routes into the kernel. */
  readonly kernel: boolean;
  /** Writes what it reads at its start into the directory; the processes to run, in their order. */
  prepare(directory: string): Promise<readonly Process[]>;
}

export const TORTIE: Daemon = {
  name: "tortie",
  kernel: true,
  async prepare(directory) {
    const store = await openKv(`${directory}/store.kv`);
    try {
      const resources = new Resources(store);
      // Reflected and passed on is what lies in a pool; no address is given out of this one.
      await resources.create(ippoolKind, {
        kind: "IPPool",
        apiVersion: "projectcalico.org/v3",
        metadata: { name: "all" },
        spec: { cidr: RANGE, disabled: true, natOutgoing: false },
      });
      for (const [name, peerIP, asNumber] of PEERS) {
        await resources.create(bgpPeerKind, {
          kind: "BGPPeer",
          apiVersion: "projectcalico.org/v3",
          metadata: { name },
          spec: { peerIP, asNumber },
        });
      }
    } finally {
      await store.close();
    }
    return [{
      command: [
        ...[binary(), "node", "run", "--nodename", "speaker", "--ip", `${SPEAKER}/24`],
        ...["--store", `kv:${directory}/store.kv`, "--log-level", "warning"],
      ],
      env: {
        AS: `${SPEAKER_AS}`,
        NO_DEFAULT_POOLS: "true",
        TORTIE_RUN_DIR: `${directory}/run`,
        TORTIE_STATE_DIR: `${directory}/state`,
        TORTIE_CALICO_DIR: `${directory}/calico`,
      },
    }];
  },
};

export const BIRD: Daemon = {
  name: "BIRD 2",
  kernel: true,
  async prepare(directory) {
    const peer = ([name, address, as]: typeof PEERS[number]) => `
protocol bgp ${name} {
  local ${SPEAKER} as ${SPEAKER_AS}; neighbor ${address} as ${as}; passive on;
  ipv4 { import all; export ${name === "injector" ? "none" : "where source = RTS_BGP"}; };
}`;
    await Deno.writeTextFile(
      `${directory}/bird.conf`,
      `router id ${SPEAKER};
protocol device { }
protocol kernel { ipv4 { import none; export where source = RTS_BGP; }; }
${PEERS.map(peer).join("")}
`,
    );
    return [{
      command: [
        ...["/usr/sbin/bird", "-f", "-c", `${directory}/bird.conf`],
        ...["-s", `${directory}/ctl`, "-P", `${directory}/pid`],
      ],
    }];
  },
};

export const FRR: Daemon = {
  name: "FRR",
  kernel: true,
  async prepare(directory) {
    await Deno.writeTextFile(`${directory}/zebra.conf`, "hostname speaker\nzebra work-queue 0\n");
    await Deno.writeTextFile(
      `${directory}/bgpd.conf`,
      `router bgp ${SPEAKER_AS}
 bgp router-id ${SPEAKER}
 no bgp ebgp-requires-policy
${
        PEERS.map(([, address, as]) =>
          ` neighbor ${address} remote-as ${as}
 neighbor ${address} passive
 neighbor ${address} advertisement-interval 0
`
        ).join("")
      }`,
    );
    const common = (daemon: string) => [
      ...[`/usr/lib/frr/${daemon}`, "-f", `${directory}/${daemon}.conf`],
      ...["-i", `${directory}/${daemon}.pid`, "-z", `${directory}/zserv.api`],
      ...["--vty_socket", directory, "-P", "0", "-u", "root", "-g", "frrvty"],
    ];
    return [{ command: common("zebra") }, { command: [...common("bgpd"), "-S"] }];
  },
};

export const GOBGP: Daemon = {
  name: "GoBGP",
  kernel: false,
  async prepare(directory) {
    const peer = ([, address, as]: typeof PEERS[number]) => `
[[neighbors]]
  [neighbors.config]
    neighbor-address = "${address}"
    peer-as = ${as}
  [neighbors.transport.config]
    passive-mode = true
`;
    await Deno.writeTextFile(
      `${directory}/gobgpd.toml`,
      `[global.config]
  as = ${SPEAKER_AS}
  router-id = "${SPEAKER}"
${PEERS.map(peer).join("")}`,
    );
    return [{
      command: [
        ...["/usr/bin/gobgpd", "-f", `${directory}/gobgpd.toml`, "--pprof-disable"],
        ...["--api-hosts", "127.0.0.1:50051", "-l", "error"],
      ],
    }];
  },
};

/** A daemon that runs in a namespace. */
export class Running {
  readonly #children: Deno.ChildProcess[] = [];
  readonly #errors: Promise<string>[] = [];

  private constructor(readonly daemon: Daemon, readonly directory: string) {}

  static async start(daemon: Daemon, netns: string): Promise<Running> {
    const directory = await Deno.makeTempDir({ prefix: "tortie-bench-" });
    const running = new Running(daemon, directory);
    for (const { command, env } of await daemon.prepare(directory)) {
      const child = new Deno.Command("ip", {
        args: ["netns", "exec", netns, ...command],
        env,
        stdin: "null",
        stdout: "null",
        stderr: "piped",
      }).spawn();
      running.#children.push(child);
      running.#errors.push(new Response(child.stderr).text());
      await pause(300); // zebra's socket before bgpd
    }
    return running;
  }

  /** Resident memory of all its processes, MB (10^6 bytes). */
  async resident(): Promise<number> {
    let kb = 0;
    for (const { pid } of this.#children) {
      const text = await Deno.readTextFile(`/proc/${pid}/status`);
      kb += Number(/^VmRSS:\s+(\d+) kB/m.exec(text)![1]);
    }
    return kb * 1024 / 1e6;
  }

  /** Processor time that all its threads have had so far, milliseconds. */
  async busy(): Promise<number> {
    let ns = 0;
    for (const { pid } of this.#children) {
      for await (const { name } of Deno.readDir(`/proc/${pid}/task`)) {
        // A thread that ends meanwhile takes its figure with it; the daemons' workers stay.
        const text = await Deno.readTextFile(`/proc/${pid}/task/${name}/schedstat`).catch(() =>
          "0"
        );
        ns += Number(text.split(" ")[0]);
      }
    }
    return ns / 1e6;
  }

  /** What it has said on its standard error. */
  async stop(): Promise<string> {
    for (const child of this.#children.reverse()) {
      const kill = (signal: Deno.Signal) => {
        try {
          child.kill(signal); // `ip netns exec` has become the daemon: the pid is its own
        } catch { /* it has ended by itself */ }
      };
      kill("SIGTERM");
      const timer = setTimeout(() => kill("SIGKILL"), 5000);
      await child.status;
      clearTimeout(timer);
    }
    await Deno.remove(this.directory, { recursive: true });
    return (await Promise.all(this.#errors)).join("");
  }
}
