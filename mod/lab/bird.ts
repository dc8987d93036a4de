/**
 * A member of the lab's mesh that is not ours: BIRD 2 in a namespace of its own on the lab's first
 * subnet, as a node of a Calico cluster that has not been moved yet.
 *
 *     router namespace ──br1── node1 .11, node2 .12 …, bird .40 ── a host in each of its blocks
 *
 * It is a member as everybody is: a Node object with its addresses, by which our nodes peer with it, and
 * blocks of the pools that have an affinity to it, so that nobody else is given them. The host in a
 * block, its first address, is on the member's loopback: it answers pings, and is the source of what
 * the member itself sends to learned routes.
 *
 * The program is the caller's, by its path: nothing here looks for one. Its process is recorded as the
 * lab's others are, and its namespace has the lab's prefix, so `lab down` ends both.
 */
import { deleteNetns, listNetns, type Netns } from "../../ffi/netns.ts";
import { isAlive, type ProcessIdentity, signal } from "../../ffi/process.ts";
import { RouteSocket } from "../../ffi/route/socket.ts";
import { IpamError } from "../ipam/errors.ts";
import { Ipam } from "../ipam/ipam.ts";
import { DEFAULT_AS_NUMBER } from "../model/bgp_configuration.ts";
import { nodeKind } from "../model/node.ts";
import { formatIp, formatPrefix, ipAt, parseCidr, type Prefix } from "../net/mod.ts";
import { connectUnix } from "../rpc/connect.ts";
import { birdConfig, type BirdSettings } from "./bird_config.ts";
import {
  addAddresses,
  deleteWire,
  endProcess,
  joinSubnet,
  startProgram,
  until,
  withNetns,
} from "./cluster.ts";
import type { Lab } from "./lab.ts";
import { hostAddresses, namespacePrefix } from "./layout.ts";
import { processFile, saveLab, saveProcess } from "./record.ts";
import { LabError } from "./workloads.ts";

const SIGHUP = 1, SIGKILL = 9;

export interface BirdOptions {
  /** BIRD 2's executable: an absolute path. */
  readonly program: string;
  /** Networks of a pool's block size, within pools. All are announced at first. */
  readonly blocks: readonly Prefix[];
  /** Name of the Node. bird */
  readonly name?: string;
  /** Its number in the subnet. 40 */
  readonly host?: number;
  /** 120 s, BIRD's and Calico's default. */
  readonly restartTime?: BirdSettings["restartTime"];
  /** Seconds. 90 */
  readonly holdTime?: number;
}

/** Throws where no BIRD can be at that path. */
export function checkProgram(program: string): void {
  if (!program.startsWith("/")) {
    throw new LabError(`"${program}" is not the path of a program; give BIRD's, as /usr/sbin/bird`);
  }
  if (!isFile(program)) throw new LabError(`there is no program at ${program}; install BIRD 2`);
}

/** Makes the member: its namespace, its blocks, its Node object and its configuration. Not its process. */
export async function addBirdMember(lab: Lab, options: BirdOptions): Promise<BirdMember> {
  const { record: { layout } } = lab;
  const { name = "bird", host = 40, program, blocks } = options;
  const addresses = hostAddresses(layout.subnets[0], host);
  const namespace = namespacePrefix(layout.name) + name;
  // The wire to the bridge bears the name.
  if (!/^[a-z][a-z0-9]{0,14}$/.test(name)) {
    throw new LabError(
      `the member name "${name}" is not allowed: want at most 15 lower-case letters and digits`,
    );
  }
  checkProgram(program);
  const taken = layout.nodes.find((n) => n.addresses.some((a) => addresses.includes(a)));
  if (taken) throw new LabError(`${taken.name} has the address ${addresses[0]}; name another host`);
  if (listNetns().includes(namespace)) {
    throw new LabError(`the lab has a member "${name}" already; remove it first`);
  }
  const member = new BirdMember(lab, {
    name,
    namespace,
    program,
    addresses,
    blocks,
    directory: `${layout.directory}/${name}`,
  }, {
    announce: blocks.map((block) => ({ block })),
    restartTime: options.restartTime ?? 120,
    holdTime: options.holdTime ?? 90,
  });
  try {
    await member.make();
    return member;
  } catch (error) {
    await member.remove();
    throw error;
  }
}

function isFile(path: string): boolean {
  try {
    return Deno.statSync(path).isFile;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return false;
    throw error;
  }
}

interface Place {
  readonly name: string;
  readonly namespace: string;
  readonly directory: string;
  readonly program: string;
  /** With prefix length, IPv4 before IPv6. */
  readonly addresses: readonly string[];
  readonly blocks: readonly Prefix[];
}

export class BirdMember {
  readonly #ipam: Ipam;
  #addresses: readonly string[];
  #process: ProcessIdentity | undefined;
  /** It ended otherwise than by `stop`: the next one takes over from it. */
  #died = false;

  constructor(readonly lab: Lab, readonly place: Place, private settings: BirdSettings) {
    this.#ipam = new Ipam(lab.store);
    this.#addresses = place.addresses;
  }

  /** Its addresses in the mesh, with prefix length. */
  get addresses(): readonly string[] {
    return this.#addresses;
  }

  /** The reachable host in each block: its first address. */
  get hosts() {
    return this.place.blocks.map((block) => ipAt(block, 1));
  }

  /** BIRD's control socket, for birdc. */
  get control(): string {
    return `${this.place.directory}/bird.ctl`;
  }

  get running(): boolean {
    return this.#process !== undefined && isAlive(this.#process);
  }

  /** For `addBirdMember`. */
  async make(): Promise<void> {
    const { place, lab: { record: { layout } } } = this;
    for (const block of place.blocks) await this.#claim(block);
    joinSubnet(layout, { ...place, subnet: 0 });
    withNetns(place.namespace, (netns) => {
      using socket = RouteSocket.open(netns);
      addAddresses(socket, "lo", this.hosts.map((ip) => `${formatIp(ip)}/${8 * ip.bytes.length}`));
    });
    Deno.mkdirSync(place.directory, { recursive: true });
    this.#write();
    await this.register();
  }

  async #claim(block: Prefix): Promise<void> {
    const { name } = this.place;
    try {
      const { failed } = await this.#ipam.claimAffinity(block, name);
      if (failed.length === 0) return;
    } catch (error) {
      if (!(error instanceof IpamError)) throw error;
      throw new LabError(`${name} cannot have the block ${formatPrefix(block)}: ${error.message}`);
    }
    throw new LabError(
      `the block ${formatPrefix(block)} is another node's; give ${name} another one`,
    );
  }

  /** Writes the Node object: from now on our nodes peer with this member. */
  async register(): Promise<void> {
    await this.lab.resources.apply(nodeKind, {
      apiVersion: "projectcalico.org/v3",
      kind: "Node",
      metadata: { name: this.place.name },
      spec: {
        bgp: {
          ipv4Address: this.#addresses.find((a) => !a.includes(":")),
          ipv6Address: this.#addresses.find((a) => a.includes(":")),
          asNumber: this.settings.as,
        },
      },
    });
  }

  /**
   * Gives the member another number in the subnet: other addresses of its sessions, of its Node
   * object. The former ones stay on its link.
   */
  async move(host: number): Promise<void> {
    const { place, lab: { record: { layout } } } = this;
    this.#addresses = hostAddresses(layout.subnets[0], host);
    withNetns(place.namespace, (netns) => {
      using socket = RouteSocket.open(netns);
      addAddresses(socket, "eth0", this.#addresses);
    });
    this.configure({});
    await this.register();
  }

  /** Deletes the Node object: our nodes end their sessions. Its blocks stay its own. */
  async deregister(): Promise<void> {
    await this.lab.resources.delete(nodeKind, this.place.name);
  }

  #write(): void {
    const { place, settings, lab: { record: { layout } } } = this;
    const ipOf = (text: string) => parseCidr(text)!.ip;
    const text = birdConfig({
      ...settings,
      meshAs: DEFAULT_AS_NUMBER,
      log: `${place.directory}/bird.log`,
      addresses: this.#addresses.map(ipOf),
      hosts: this.hosts,
      peers: layout.nodes.flatMap(({ name, addresses }) =>
        addresses.map((address) => ({ name, address: ipOf(address) }))
      ),
    });
    Deno.writeTextFileSync(`${place.directory}/bird.conf`, text, { mode: 0o600 });
  }

  /** Starts BIRD, and waits until it answers on its control socket. */
  async start(): Promise<void> {
    if (this.running) throw new LabError(`${this.place.name} runs already`);
    const { record } = this.lab;
    const { name, namespace, directory, program } = this.place;
    const output = `${directory}/output.log`;
    removeFile(this.control); // of one that was killed
    const args = ["-f", "-c", `${directory}/bird.conf`, "-s", this.control];
    // -R: the kernel still forwards what the one before us had learned.
    if (this.#died) args.push("-R");
    const process = withNetns(
      namespace,
      (netns: Netns) => startProgram(program, args, {}, output, netns),
    );
    this.#process = record.processes[name] = process;
    this.#died = true;
    saveProcess(record.layout.directory, name, process);
    saveLab(record);
    await until(name, 10_000, output, async () => {
      if (!isAlive(process)) throw new LabError("it has ended");
      (await connectUnix(this.control)).close();
      return true;
    });
  }

  /** kill -9, unless another signal is asked for; resolves when the process is gone. */
  async kill(number = SIGKILL): Promise<void> {
    const process = this.#process;
    if (!process || !signal(process, number)) return;
    const end = performance.now() + 10_000;
    while (isAlive(process)) {
      if (performance.now() > end) {
        throw new LabError(`${this.place.name} has not ended 10 s after signal ${number}`);
      }
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
  }

  /** Ends BIRD in good order: it tells its peers (NOTIFICATION, Cease). */
  async stop(): Promise<void> {
    if (this.#process) await endProcess(this.#process);
    this.#died = false;
  }

  /** Other settings, taken in by a running BIRD at once. Sessions stay where only `announce` differs. */
  configure(settings: Partial<BirdSettings>): void {
    this.settings = { ...this.settings, ...settings };
    this.#write();
    if (this.running) signal(this.#process!, SIGHUP);
  }

  /** Takes everything away; what is not there is no error. */
  async remove(): Promise<void> {
    const { record } = this.lab;
    const { name, namespace, directory } = this.place;
    await this.stop();
    if (await this.lab.resources.get(nodeKind, name)) await this.deregister();
    await this.#ipam.removeHost(name);
    if (listNetns().includes(namespace)) {
      deleteNetns(namespace);
      // The kernel takes the namespace's links away in its own time; the name shall be free now.
      await deleteWire(record.layout, name);
    }
    delete record.processes[name];
    saveLab(record);
    removeFile(processFile(record.layout.directory, name));
    removeFile(directory);
  }
}

/** A file, or a folder with all that it holds. */
function removeFile(path: string): void {
  try {
    Deno.removeSync(path, { recursive: true });
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  }
}
