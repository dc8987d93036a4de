/**
 * `tortie node run`: agent, BGP speaker and CNI server in one process. This file only puts the parts
 * together and says in which order they come and go:
 *
 *   start   socket (CNI answers at once, if only with "try again") -> Node, pools -> agent, speaker
 *           -> READY=1 -> reports
 *   stop    socket -> agent -> speaker, without NOTIFICATION -> store. The kernel keeps everything:
 *           links, routes, rules outlive the process, and the next one takes them over.
 */
import { isHostLocals } from "../../cni/host_local/files.ts";
import { CniServer } from "../../cni/server.ts";
import { netlinkKernel } from "../../cni/plumbing.ts";
import { PolicyEngine } from "../../policy/engine.ts";
import { Ipam } from "../ipam/ipam.ts";
import type { FelixConfiguration } from "../model/felix_configuration.ts";
import { kubernetesName } from "../model/node.ts";
import { formatIp, parsePrefix, type Prefix } from "../net/mod.ts";
import type { Methods } from "../rpc/method.ts";
import { openKv } from "../store/kv.ts";
import { openDatastore } from "../store/open.ts";
import { Resources } from "../store/resources.ts";
import { serveStore } from "../store/serve.ts";
import { describeLocation } from "../store/location.ts";
import { type Store, StoreError } from "../store/store.ts";
import { holdName, sendDatagram } from "../../ffi/unix.ts";
import { AddressQuestions } from "./address_questions.ts";
import { Agent } from "./agent.ts";
import { attachFaults, endpointFaults, localApi, ownNodeFaults } from "./api.ts";
import { BgpPart } from "./bgp.ts";
import { ConfigError, type NodeConfig, nodeConfig, type NodeFlags } from "./config.ts";
import { type FelixParameters, felixParameters, policyParameters } from "./felix.ts";
import { Metrics, type Report, serveHealth, serveMetrics } from "./health.ts";
import { openFlowParts } from "./flow_parts.ts";
import { returnFreedMemory } from "../../ffi/memory.ts";
import { RouteSocket } from "../../ffi/route/socket.ts";
import { systemClock } from "../store/clock.ts";
import { DeadEndpoints } from "./dead_endpoints.ts";
import { heldAddresses, readMachine, remembered } from "./held_addresses.ts";
import { Kernel } from "./kernel.ts";
import { copyLabels } from "./label_copy.ts";
import { Later } from "./later.ts";
import { type Log, logger, startLogging } from "./log.ts";
import { EngineDataplane } from "./nft/engine_dataplane.ts";
import { openNftDataplane } from "./nft/open.ts";
import { TableWatch } from "./nft/table_watch.ts";
import { PathProbe } from "./path_probe.ts";
import { readiness } from "./readiness.ts";
import { Reports } from "./reports.ts";
import { type LocalSocket, serveSocket } from "./socket.ts";
import { ReadyCheck, register, type Registration } from "./startup.ts";
import { readSnapshot, Snapshot } from "./snapshot.ts";
import { ClusterState, type Topic } from "./state.ts";
import { LostRecorder } from "./lost_recorder.ts";
import { UnroutedHolders } from "./unrouted_holders.ts";
import { TunnelAddresses } from "./vxlan_addresses.ts";

/** As the command line has it for a wrong setting. */
const EXIT_USAGE = 2, EXIT_UNREACHABLE = 3;

/** A loop that has not turned for so long, although it has work, is stuck. */
const STUCK = 90_000;

/** Milliseconds until a tunnel address is asked for again that could not be had. */
const ADDRESS_RETRY = 5000;
/** Milliseconds until it is tried again to write what could not be written of this node. */
const REGISTER_RETRY = 5000;
/** Milliseconds that an interface plugin may take from its IPAM plugin's DEL to the end of its interface. */
const FOREIGN_DEL = 3000;
/** Milliseconds for which a pod that has ended, and whose endpoint has gone with it, may be in use. */
const ENDING = 60_000;
/** Milliseconds after a turn until containers without an endpoint are looked for. */
const TELL = 100;
/** Milliseconds after the last turn until memory goes back to the machine that turns have freed. */
const SPARE = 3000;
/** Topics from which the node's tunnel addresses follow. */
const TUNNEL_TOPICS: readonly Topic[] = ["pools", "nodes", "blocks", "endpoints"];

export interface ServiceInfo {
  readonly version: string;
}

/** Runs a job, once more if it was asked for meanwhile, and never two at a time. */
function coalesced(job: () => Promise<void>, onError: (error: Error) => void): () => void {
  let running = false, again = false;
  const run = async () => {
    running = true;
    do {
      again = false;
      await job().catch(onError);
    } while (again);
    running = false;
  };
  return () => {
    if (running) again = true;
    else run();
  };
}

/** Holds a name; a predecessor that is about to end is waited for. */
async function holdSoon(name: string): Promise<{ release(): void } | undefined> {
  for (let tries = 0;; tries++) {
    const held = holdName(name);
    if (held || tries === 25) return held;
    await new Promise((resolve) => setTimeout(resolve, 200));
  }
}

/** The store of this node, and the methods by which others reach it through us. */
async function openStore(
  config: NodeConfig,
  /** Another service of this node has read the datastore before: it is away, not wrong. */
  known: boolean,
  onTrouble: (message: string) => void,
): Promise<{ store: Store; methods: Methods }> {
  const { kind } = config.store;
  if (kind !== "kv") {
    // A lab's store is started beside its nodes; a cluster's is there, or its location is wrong.
    const lazily = kind === "socket" || known || config.waitForDatastore;
    return { store: await openDatastore(config.store, { lazily, onTrouble }), methods: {} };
  }
  const socket = `${config.runDir}/tortie.sock`;
  // A predecessor that was killed gives the file back at once; one that is ending, in a moment.
  const store = await openKv(config.store.path, { socket, waitMs: 5000 });
  return { store, methods: serveStore(store) };
}

/** Runs until SIGTERM or SIGINT; the exit code. */
export async function runNode(flags: NodeFlags, info: ServiceInfo): Promise<number> {
  let config: NodeConfig;
  try {
    config = nodeConfig(flags);
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    console.error(`error: ${error.message}`);
    return EXIT_USAGE;
  }
  await startLogging(config.logLevel);
  const log = logger("node");
  const ended = new Promise<string>((resolve) => {
    for (const signal of ["SIGTERM", "SIGINT"] as const) {
      Deno.addSignalListener(signal, () => resolve(signal));
    }
  });
  let former: Former | undefined;
  for (;;) {
    const service = new NodeService(config, info, log, former);
    try {
      await service.start(ended);
    } catch (error) {
      log.error("cannot start", { error });
      await service.stop("it could not start");
      if (error instanceof ConfigError) console.error(`error: ${error.message}`);
      if (!(error instanceof StoreError) || config.store.kind === "kv") return 1;
      console.error(
        `error: the datastore (${
          describeLocation(config.store)
        }) cannot be used: ${error.message}; ` +
          "with WAIT_FOR_DATASTORE=true the node waits for it",
      );
      return EXIT_UNREACHABLE;
    }
    const why = await Promise.race([ended, service.renewal]);
    await service.stop(typeof why === "string" ? why : "other settings that want a new start");
    if (typeof why === "string") return 0;
    former = why;
  }
}

/** What a service of this process leaves to the next. */
interface Former {
  /** FelixConfigurations as it has read them. */
  readonly known: ReadonlyMap<string, FelixConfiguration>;
  readonly hasRegistered: boolean;
}

/** Parameters that parts are made with; when they change, the service starts anew (Felix does too). */
function structural(felix: FelixParameters): string {
  const { mtuInterfacePattern, vxlanVni, vxlanMtu, ipipMtu } = felix;
  const { healthEnabled, metricsEnabled, ipv6 } = felix;
  return JSON.stringify([
    policyParameters(felix),
    ...[mtuInterfacePattern.source, vxlanVni, vxlanMtu, ipipMtu],
    ...[healthEnabled, metricsEnabled, ipv6],
  ]);
}

export class NodeService {
  readonly #started = new Date();
  readonly #state: ClusterState;
  readonly #metrics = new Metrics();
  #store: Store | undefined;
  #kubernetes: Store | undefined;
  #socket: LocalSocket | undefined;
  #kernel: Kernel | undefined;
  #agent: Agent | undefined;
  #bgp: BgpPart | undefined;
  #reports: Reports | undefined;
  #unrouted: UnroutedHolders | undefined;
  #paths: PathProbe | undefined;
  #questions: AddressQuestions | undefined;
  #deadEndpoints: DeadEndpoints | undefined;
  #snapshot: Snapshot | undefined;
  #tables: TableWatch | undefined;
  #closeDataplane: (() => Promise<void>) | undefined;
  readonly #servers: (() => Promise<void>)[] = [];
  #stopping = false;
  #name: { release(): void } | undefined;
  #wrotePid = false;
  /** Why the node lacks a tunnel address, or has one too many. */
  #addressFault = "";
  #addressRetry = new Later(() => {});
  /** What has become of what others must know of us. */
  #registration: Registration = { unwritten: [] };
  #registerAgain = new Later(() => {});
  /** A few megabytes, where many pods have come. */
  #spareMemory = new Later(() => void returnFreedMemory());
  /** Looks for containers without an endpoint: not in each turn of a hundred pods that come at once. */
  #tellUnrouted = new Later(() => {});
  /** Looks again whether addresses of containers without an endpoint are on record. */
  #lookAgain = new Later(() => this.#agent?.touch());
  /** This process has written our Node: one that is gone since was deleted. */
  #hasRegistered: boolean;
  /** Our Node was not in the datastore, or may not have been, when it was last looked for. */
  #nodeIsGone: boolean;
  /** Of our Node, as it was last seen. */
  #nodeUid: string | undefined;
  /** What the file holds that tells CNI plugins the MTU. */
  #mtu = "";
  /** What is said once and stays so for a while. */
  readonly #told = new Set<string>();
  /** What start waits for, in words. */
  #waiting = "the service is starting";

  /** Resolves when settings have changed that want a new start. */
  readonly renewal: Promise<Former>;
  readonly #renew: (left: Former) => void;

  constructor(
    readonly config: NodeConfig,
    readonly info: ServiceInfo,
    readonly log: Log,
    readonly former?: Former,
  ) {
    this.#hasRegistered = this.#nodeIsGone = former?.hasRegistered ?? false;
    this.#state = new ClusterState(config.nodeName, config.usePodCidr);
    const { promise, resolve } = Promise.withResolvers<Former>();
    this.renewal = promise;
    this.#renew = resolve;
  }

  #parameters: { felix: FelixParameters; from: readonly unknown[] } | undefined;

  /** Made anew when one of the two objects that they come from is another one. */
  #felix(): FelixParameters {
    const { nodeName, felix: environment } = this.config;
    const configurations = this.#state.felixConfigurations;
    const from = [configurations.get("default"), configurations.get(`node.${nodeName}`)];
    if (this.#parameters?.from.every((object, i) => object === from[i])) {
      return this.#parameters.felix;
    }
    const felix = felixParameters(nodeName, environment, configurations);
    this.#parameters = { felix, from };
    return felix;
  }

  /** Settings that have no effect, each once: `node status` tells of them all the time. */
  #tellSettings(): void {
    const { problems, unfollowed } = this.#felix();
    for (const text of [...problems, ...unfollowed]) this.#warnOnce(text);
  }

  #warnOnce(text: string): void {
    if (!this.#told.has(text)) this.log.warn(text);
    this.#told.add(text);
  }

  /** `ended` resolves when the service is told to stop: a start that still waits gives up then. */
  async start(ended: Promise<unknown>): Promise<void> {
    const { config, log } = this;
    for (const folder of [config.runDir, config.stateDir, config.calicoDir]) {
      await Deno.mkdir(folder, { recursive: true, mode: 0o755 });
    }
    this.#name = await holdSoon("tortie-node");
    if (!this.#name) {
      throw new ConfigError(
        "another node service runs in this network namespace; stop it first (see: tortie node status)",
      );
    }
    const picture = `${config.stateDir}/last-state.json`;
    const last = readSnapshot(picture, config.nodeName, config.usePodCidr);
    const onTrouble = (error: string) =>
      log.warn("the datastore's access is not in order", { error });
    const before = (this.former ?? last) !== undefined;
    const { store, methods } = await openStore(config, before, onTrouble);
    this.#store = store;
    // Asked at the first pod: who has none loses nothing while the API is away.
    this.#kubernetes = config.kubernetes &&
      await openDatastore(config.kubernetes, { lazily: true, beside: true, onTrouble });
    const resources = new Resources(store);
    // Before the datastore is read: as a former service has read it. A difference is a new start.
    const felix = felixParameters(
      config.nodeName,
      config.felix,
      this.former?.known ?? last?.felixConfigurations ?? new Map(),
    );
    const engine = new PolicyEngine({
      ...policyParameters(felix),
      nodeName: config.nodeName,
    });
    const kernel = new Kernel(felix, log);
    this.#kernel = kernel;
    const flows = openFlowParts({
      engine,
      kernel,
      log: logger("flows"),
      known: last?.endpoints.values(),
      onFailure: () => this.#agent?.touch(),
    });
    const tables = new TableWatch(logger("nftables"));
    this.#tables = tables;
    const nft = openNftDataplane({
      onEvent: (event) => {
        tables.heard(event);
        const wasAway = event.event === "committed" && event.reason !== "change";
        if (wasAway) flows.cutter.everything();
      },
    });
    this.#closeDataplane = async () => {
      await flows.close();
      await nft.close();
      tables.close();
    };
    const bgp = config.backend === "bgp"
      ? new BgpPart(config, logger("bgp"), () => kernel, kernel.forwards())
      : undefined;
    this.#bgp = bgp;
    if (bgp) kernel.learned = () => bgp.learned();
    kernel.mayForget = (key, gateways) => bgp?.mayForget(key, gateways) ?? true;
    const labels = coalesced(
      () => copyLabels(this.#state, resources),
      (error) => log.warn("cannot copy a pod's labels to its endpoint", { error }),
    );
    const ipam = new Ipam(store, {
      warn: (why) => log.warn("an IPAM record is damaged", { why }),
      kubernetes: this.#kubernetes,
      taken: (family) => {
        const known: Prefix[] = [];
        for (const [cidr, { affinity }] of this.#state.blocks) {
          const prefix = parsePrefix(cidr);
          if (prefix?.ip.family !== family) continue;
          // Of our own, IPAM looks for those that it has lost sight of.
          if (affinity === `host:${config.nodeName}`) return undefined;
          known.push(prefix);
        }
        return known.length > 0 ? known : undefined;
      },
    });
    const tunnelAddresses = new TunnelAddresses(this.#state, resources, ipam);
    const addresses = coalesced(
      async () => {
        await tunnelAddresses.settle();
        this.#addressFault = "";
      },
      (error) => {
        if (this.#stopping) return;
        const fault = `no tunnel address: ${error.message}`;
        if (fault !== this.#addressFault) log.warn("no tunnel address; tried again", { error });
        this.#addressFault = fault;
        this.#addressRetry.in(ADDRESS_RETRY);
      },
    );
    this.#addressRetry = new Later(addresses);
    this.#snapshot = new Snapshot(
      picture,
      config.nodeName,
      (error) => log.warn("cannot keep the last state on disk", { error }),
    );
    const recorder = new LostRecorder({
      ...{ ipam, node: config.nodeName, state: this.#state, isHostLocals, remembered },
      machine: () => readMachine(felix.interfacePrefixes),
      epoch: () => store.epoch,
      pause: () => new Promise((resolve) => setTimeout(resolve, FOREIGN_DEL)),
      clock: systemClock,
      log: logger("endpoints"),
    });
    const { endpoints } = this.#state;
    const unrouted = new UnroutedHolders({
      ...kernel.pairs,
      endpoints,
      log: logger("endpoints"),
      clock: systemClock,
      patience: config.store.kind === "kubernetes" ? ENDING : 0,
      prefixes: felix.interfacePrefixes,
      epoch: () => store.epoch,
      again: (milliseconds) => {
        this.#lookAgain.cancel();
        this.#lookAgain.in(milliseconds);
      },
      record: (lost) => recorder.record(lost),
    });
    this.#unrouted = unrouted;
    const agent = new Agent({
      snapshot: this.#snapshot,
      store,
      state: this.#state,
      engine,
      dataplane: new EngineDataplane(nft, (deltas) => flows.cutter.applied(deltas)),
      released: flows.released,
      kernel,
      bgp,
      log: logger("agent"),
      resyncSeconds: () => this.#felix().routeRefreshInterval,
      onTurn: (report) => {
        this.#metrics.add("felix_int_dataplane_apply_time_seconds_sum", report.milliseconds / 1000);
        this.#metrics.add("felix_int_dataplane_apply_time_seconds_count");
        if (report.errors.length > 0) this.#metrics.add("felix_int_dataplane_failures");
        this.#writeMtu();
        if (report.topics.has("felix")) this.#tellSettings();
        const differs = () => structural(this.#felix()) !== structural(felix);
        if (report.topics.has("felix") && differs()) {
          log.info("settings have changed that want a new start");
          const known = this.#state.felixConfigurations;
          this.#renew({ known, hasRegistered: this.#hasRegistered });
        }
        // When turns have come to rest: whoever allocates waits for it.
        this.#spareMemory.cancel();
        this.#spareMemory.in(SPARE);
        this.#tellUnrouted.in(TELL);
        recorder.turn();
        this.#lookForNode();
        if (report.topics.has("pods") || report.topics.has("endpoints")) labels();
        if (TUNNEL_TOPICS.some((topic) => report.topics.has(topic))) addresses();
      },
    });
    this.#agent = agent;
    this.#tellUnrouted = new Later(() => {
      if (!agent.report().locked) unrouted.tell();
    });
    kernel.onChange = () => agent.touch();
    if (bgp) {
      bgp.onChange = () => {
        kernel.replan();
        agent.touch();
      };
      bgp.onLearned = (keys) => {
        kernel.learnedChanged(keys);
        agent.touch();
      };
      bgp.onSettled = () => {
        kernel.sweepLearned();
        agent.touch();
      };
      kernel.onPaths = () => bgp.nextHopsChanged();
      kernel.onAddresses = () => bgp.hostAddressesChanged();
    }
    const paths = new PathProbe({
      state: this.#state,
      wireMtu: () => kernel.wireMtu(),
      interval: config.pathMtuInterval,
      log: logger("path"),
    });
    this.#paths = paths;
    const cni = new CniServer({
      store,
      kubernetes: this.#kubernetes,
      podsKnown: config.kubernetes !== undefined || config.store.kind === "kubernetes",
      ipam,
      leases: ipam,
      features: () => {
        const { floatingIps, sourceSpoofing } = this.#felix();
        return { floatingIps, sourceSpoofing };
      },
      kernel: netlinkKernel(),
      nodeName: config.nodeName,
      interfacePrefix: felix.interfacePrefixes[0],
      mtu: () => kernel.podMtu(this.#state),
      endpointProgrammed: (endpoint, signal) => agent.programmed(endpoint, signal),
      unroutedHolder: (ip) => unrouted.holderOf(ip),
      gave: (addresses, given) => {
        for (const ip of addresses) recorder.gave(formatIp(ip), given);
      },
      freed: (handle) => recorder.freed(handle),
      given: (ip) => recorder.given(formatIp(ip)),
      locked: () => agent.report().locked,
      log: (level, message, fields) => log[level](message, fields),
    });
    this.#declareMetrics();
    this.#socket = serveSocket({
      path: `${config.runDir}/tortie.sock`,
      methods: {
        ...methods,
        ...localApi({
          config,
          info: this.info,
          started: this.#started,
          state: this.#state,
          agent,
          kernel,
          bgp,
          engine,
          paths,
          tables,
          unrouted,
          felix: () => this.#felix(),
          registration: () => this.#registration,
        }),
      },
      cni,
      log: logger("socket"),
    });
    await Deno.writeTextFile(`${config.runDir}/node.pid`, `${Deno.pid}\n`);
    this.#wrotePid = true;
    this.#servers.push(
      serveHealth({
        host: config.healthHost,
        port: felix.healthEnabled ? config.healthPort : 0,
        setBy: "TORTIE_HEALTH_PORT",
      }, {
        liveness: () => this.#liveness(),
        readiness: () => this.#readiness(),
      }),
      serveMetrics(
        {
          host: config.metricsHost,
          port: felix.metricsEnabled ? config.metricsPort : 0,
          setBy: "TORTIE_METRICS_PORT",
        },
        this.#metrics,
      ),
    );
    this.#notify("READY=1\nSTATUS=starting");
    // Peers hear from us at once, from the last good state, however long the datastore is away.
    bgp?.start();
    if (last) bgp?.begin(last);
    const check = new ReadyCheck();
    await this.#waitForDatastore(check, resources, ended);
    if (this.#stopping) return;
    const registering = coalesced(
      async () => {
        await check.mustBeReady(resources);
        await this.#register(resources, kernel);
      },
      (error) => {
        if (this.#stopping) return;
        log.warn("cannot register yet", { error });
        if (error instanceof ConfigError) {
          const unregistered = `this node is not registered: ${error.message}`;
          this.#registration = { ...this.#registration, unregistered };
        }
        this.#registerAgain.in(REGISTER_RETRY);
      },
    );
    this.#registerAgain = new Later(registering);
    await this.#register(resources, kernel);
    this.#waiting = "";
    agent.start();
    this.#reports = new Reports({
      store,
      resources,
      config,
      info: this.info,
      started: this.#started,
      state: this.#state,
      agent,
      kernel,
      bgp,
      felix: () => this.#felix(),
      log: logger("report"),
    });
    this.#reports.start();
    paths.start();
    this.#questions = new AddressQuestions({
      store,
      nodeName: config.nodeName,
      held: async (asked) => {
        const machine = await readMachine(felix.interfacePrefixes);
        return { held: heldAddresses(asked, machine), unseen: machine.unseen };
      },
      log: logger("questions"),
    });
    this.#questions.start();
    // On Kubernetes an endpoint is its Pod, and goes with it.
    if (config.store.kind !== "kubernetes") {
      this.#deadEndpoints = new DeadEndpoints({
        store,
        pods: this.#kubernetes ?? store,
        nodeName: () => kubernetesName(this.#state.nodes.get(config.nodeName)) ?? config.nodeName,
        endpoints: this.#state.endpoints,
        links: () => {
          using socket = RouteSocket.open();
          return new Set(socket.links().map(({ name }) => name));
        },
        machine: () => readMachine(felix.interfacePrefixes),
        locked: () => agent.report().locked,
        clock: systemClock,
        log: logger("endpoints"),
      });
      this.#deadEndpoints.start();
    }
    this.#notify("STATUS=running");
    log.info("node service started", { node: config.nodeName, version: this.info.version });
  }

  /** Until it answers and is not locked, as long as it takes. */
  async #waitForDatastore(
    check: ReadyCheck,
    resources: Resources,
    ended: Promise<unknown>,
  ): Promise<void> {
    const { log } = this;
    let over = false;
    ended.then(() => over = true);
    this.#waiting = "waiting for the datastore";
    for (let pause = 250;; pause = Math.min(pause * 2, 5000)) {
      try {
        await check.mustBeReady(resources);
        return;
      } catch (error) {
        if (over) {
          this.#stopping = true;
          return;
        }
        this.#waiting = `waiting for the datastore: ${(error as Error).message}`;
        this.#agent?.waits((error as Error).message);
        log.warn("cannot register yet", { error });
        await Promise.race([ended, new Promise((resolve) => setTimeout(resolve, pause))]);
        if (over) {
          this.#stopping = true;
          return;
        }
      }
    }
  }

  /**
   * Writes what others must know of this node. What cannot be written (our Node is there and cannot be
   * read, or the account lacks a right) is named wherever somebody asks, and tried again beside
   * everything else.
   */
  async #register(resources: Resources, kernel: Kernel): Promise<void> {
    const { config, log } = this;
    const told = (why: string) => this.#warnOnce(why);
    const again = this.#hasRegistered;
    const registration = await register(resources, config, kernel.host(), told, again);
    const { addresses, unregistered, unwritten } = this.#registration = registration;
    this.#hasRegistered ||= unregistered === undefined;
    for (const family of [4, 6] as const) {
      const found = addresses?.[family];
      if (found) log.info("node address", { ...found, ip: formatIp(found.ip) });
    }
    await Deno.writeTextFile(`${config.calicoDir}/nodename`, config.nodeName);
    const faults = unregistered ? [unregistered, ...unwritten] : unwritten;
    for (const fault of faults) this.#warnOnce(fault);
    if (faults.length > 0) this.#registerAgain.in(REGISTER_RETRY);
  }

  /** One that comes back may be as somebody else makes it, without what others must know of us. */
  #lookForNode(): void {
    const wasGone = this.#nodeIsGone, before = this.#nodeUid;
    const [fault] = ownNodeFaults(this.#state);
    this.#nodeIsGone = fault !== undefined;
    this.#nodeUid = this.#state.nodes.get(this.config.nodeName)?.metadata.uid ?? before;
    if (fault !== undefined && !wasGone) this.log.warn(fault);
    // It may have been deleted and made anew between two looks.
    const isAnother = before !== undefined && this.#nodeUid !== before;
    if (fault === undefined && (wasGone || isAnother)) this.#registerAgain.in(0);
  }

  /** Where the CNI plugin of Calico reads it too. */
  #writeMtu(): void {
    const path = `${this.config.calicoDir}/mtu`;
    const text = `${this.#kernel!.podMtu(this.#state)}`;
    if (text === this.#mtu) return;
    try {
      Deno.writeTextFileSync(`${path}.part`, text);
      Deno.renameSync(`${path}.part`, path);
      this.#mtu = text;
    } catch (error) {
      this.log.warn("cannot write the MTU file", { path, error });
    }
  }

  #liveness(): Report {
    const agent = this.#agent?.report();
    if (agent?.busy && agent.idleMilliseconds > STUCK) {
      const seconds = Math.round(agent.idleMilliseconds / 1000);
      return { ok: false, reasons: [`the agent's loop has been in one turn for ${seconds} s`] };
    }
    return { ok: true, reasons: [] };
  }

  #readiness(): Report {
    const tables = this.#tables?.fault();
    return readiness({
      waiting: this.#waiting,
      agent: this.#agent?.report(),
      faults: [
        ...[tables, this.#registration.unregistered].filter((fault) => fault !== undefined),
        ...this.#agent?.report().synced ? ownNodeFaults(this.#state) : [],
      ],
      warnings: () => [
        ...this.#bgp?.warnings() ?? [],
        ...this.#registration.unwritten,
        ...this.#addressFault ? [this.#addressFault] : [],
        ...attachFaults(this.#state),
        ...this.#paths?.warnings() ?? [],
        ...this.#tables?.notes() ?? [],
        ...this.#unrouted?.warnings() ?? [],
        ...this.#kernel ? endpointFaults({ kernel: this.#kernel, state: this.#state }) : [],
      ],
    });
  }

  #declareMetrics(): void {
    const m = this.#metrics;
    m.declare("felix_int_dataplane_apply_time_seconds_sum", "counter", "Seconds in turns.");
    m.declare("felix_int_dataplane_apply_time_seconds_count", "counter", "Turns.");
    m.declare("felix_int_dataplane_failures", "counter", "Turns that have to be repeated.");
    m.declare(
      "felix_active_local_endpoints",
      "gauge",
      "Endpoints of this node.",
      () => m.set("felix_active_local_endpoints", this.#state.endpoints.size),
    );
    m.declare("tortie_bgp_peers", "gauge", "BGP peers by state.", () => {
      m.reset("tortie_bgp_peers");
      for (const { state } of this.#bgp?.peers() ?? []) m.add("tortie_bgp_peers", 1, { state });
    });
    m.declare("tortie_path_mtu_bytes", "gauge", "The widest packet that passes to a node.", () => {
      m.reset("tortie_path_mtu_bytes");
      for (const { peer, result } of this.#paths?.results() ?? []) {
        const labels = { node: peer.node, address: formatIp(peer.ip) };
        if (result.measured) m.set("tortie_path_mtu_bytes", result.measured, labels);
      }
    });
    m.declare(
      "tortie_path_mtu_mismatches",
      "gauge",
      "Paths to other nodes that lose what this node may send.",
      () => m.set("tortie_path_mtu_mismatches", this.#paths?.warnings().length ?? 0),
    );
    m.declare("process_resident_memory_bytes", "gauge", "Resident memory.", () => {
      m.set("process_resident_memory_bytes", Deno.memoryUsage().rss);
    });
  }

  #notify(text: string): void {
    const path = Deno.env.get("NOTIFY_SOCKET");
    if (!path) return;
    try {
      sendDatagram(path, text);
    } catch (error) {
      this.log.warn("cannot notify systemd", { error });
    }
  }

  /** Ends the process's part; nothing in the kernel is touched. */
  async stop(why: string): Promise<void> {
    this.#stopping = true;
    this.log.info("stopping; the dataplane stays as it is", { why });
    this.#notify("STOPPING=1");
    this.#reports?.stop();
    this.#addressRetry.cancel();
    this.#registerAgain.cancel();
    this.#paths?.stop();
    this.#deadEndpoints?.stop();
    await this.#questions?.stop();
    await this.#socket?.close();
    await this.#agent?.stop();
    // A turn may have asked for these last.
    this.#tellUnrouted.cancel();
    this.#lookAgain.cancel();
    this.#spareMemory.cancel();
    this.#snapshot?.close();
    this.#bgp?.stop();
    await this.#closeDataplane?.();
    this.#kernel?.close();
    for (const close of this.#servers) await close();
    await this.#kubernetes?.close();
    await this.#store?.close();
    this.#name?.release();
    if (!this.#wrotePid) return; // a refused one must not take away the other's
    try {
      await Deno.remove(`${this.config.runDir}/node.pid`);
    } catch (error) {
      if (!(error instanceof Deno.errors.NotFound)) throw error;
    }
  }
}
