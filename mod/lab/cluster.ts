/**
 * Bringing a lab up and down: the router, the nodes' namespaces, the datastore's process and the
 * nodes' services. Everything is made by netlink and posix_spawn; the only programs that are started
 * are copies of this executable, and one that the caller names by its path (bird.ts).
 */
import {
  createNetns,
  deleteNetns,
  inNetns,
  listNetns,
  Netns,
  netnsDirectory,
} from "../../ffi/netns.ts";
import { isKernelError } from "../../ffi/errors.ts";
import { identify, isAlive, type ProcessIdentity, signal, spawn } from "../../ffi/process.ts";
import { RouteSocket } from "../../ffi/route/socket.ts";
import { closeFd, O_APPEND, O_CREAT, O_WRONLY } from "../../ffi/libc.ts";
import { openFd } from "../../ffi/file.ts";
import { IFA_F_NODAD } from "../../ffi/route/address.ts";
import { writeSysctl } from "../../ffi/sysctl.ts";
import { type Family, formatIp, mustPrefix, parseCidr } from "../net/mod.ts";
import { connectUnix } from "../rpc/connect.ts";
import { RpcClient } from "../rpc/client.ts";
import type { NodeStatus } from "../node/api.ts";
import { type LabLayout, type LabNode, namespacePrefix } from "./layout.ts";
import { findLab, type LabRecord, listProcesses, saveLab, saveProcess } from "./record.ts";
import { LabError } from "./workloads.ts";

const SIGTERM = 15, SIGKILL = 9;

/**
 * Taken once, at the start: when an update replaces the file, the kernel's name of what runs here
 * becomes "… (deleted)", while this path names the new executable.
 */
const OWN_PATH = Deno.execPath();

/** This executable. TORTIE_BINARY names another one, where the lab is run from source. */
export function executable(): string {
  const path = Deno.env.get("TORTIE_BINARY") || OWN_PATH;
  try {
    Deno.statSync(path);
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
    throw new LabError(`the executable ${path} is gone; put it back, or name one in TORTIE_BINARY`);
  }
  return path;
}

export const netnsPath = (name: string) => `${netnsDirectory}/${name}`;

/** Runs with the namespace open. */
export function withNetns<T>(name: string, run: (netns: Netns) => T): T {
  using netns = Netns.open(netnsPath(name));
  return run(netns);
}

function address(text: string) {
  const { ip, prefix } = parseCidr(text)!;
  return { ip, length: prefix.length };
}

/** Addresses on a link, usable at once: nobody else in the lab has them. */
export function addAddresses(socket: RouteSocket, link: string, texts: readonly string[]): void {
  const { index } = socket.link(link)!;
  for (const text of texts) {
    const { ip, length } = address(text);
    socket.addAddress({ index, ip, length, ...(ip.family === 6 && { flags: IFA_F_NODAD }) });
  }
}

const FORWARDING = { 4: "net/ipv4/ip_forward", 6: "net/ipv6/conf/all/forwarding" } as const;
const EVERYTHING = { 4: mustPrefix("0.0.0.0/0"), 6: mustPrefix("::/0") } as const;

function makeRouter(layout: LabLayout): void {
  createNetns(layout.routerNamespace);
  withNetns(layout.routerNamespace, (netns) => {
    using socket = RouteSocket.open(netns);
    socket.setLink("lo", { up: true });
    for (const [i, subnet] of layout.subnets.entries()) {
      // A bridge without a MAC of its own takes over its ports' lowest: a member that joins later
      // would change it, and everybody's neighbour entry for the gateway would lead nowhere.
      const mac = `02:00:00:00:00:${(i + 1).toString(16).padStart(2, "0")}`;
      socket.addLink({ kind: "bridge", name: subnet.bridge, mac });
      addAddresses(socket, subnet.bridge, subnet.routers);
      socket.setLink(subnet.bridge, { up: true });
    }
    inNetns(netns, () => {
      for (const family of layout.families) writeSysctl(FORWARDING[family], "1");
    });
  });
}

/** A member of a subnet: a namespace, its wire to the bridge, its addresses and default routes. */
export function joinSubnet(
  layout: LabLayout,
  member: Pick<LabNode, "name" | "namespace" | "subnet" | "addresses">,
): void {
  createNetns(member.namespace);
  const subnet = layout.subnets[member.subnet];
  withNetns(member.namespace, (netns) =>
    withNetns(layout.routerNamespace, (router) => {
      using inRouter = RouteSocket.open(router);
      using inMember = RouteSocket.open(netns);
      inRouter.addLink({ kind: "veth", name: member.name, peer: { name: "eth0", netns } });
      inRouter.setLink(member.name, {
        masterIndex: inRouter.link(subnet.bridge)!.index,
        up: true,
      });
      inMember.setLink("lo", { up: true });
      inMember.setLink("eth0", { up: true });
      addAddresses(inMember, "eth0", member.addresses);
      for (const gateway of subnet.routers.map((text) => address(text).ip)) {
        inMember.addRoute({
          destination: EVERYTHING[gateway.family],
          hops: [{ gateway, oif: inMember.link("eth0")!.index }],
        });
      }
    }));
}

/** Takes a member's wire from the bridge; that it is gone is no error. */
export async function deleteWire(layout: LabLayout, member: string): Promise<void> {
  using router = Netns.open(netnsPath(layout.routerNamespace));
  using socket = RouteSocket.open(router);
  try {
    await socket.deleteLink(member);
  } catch (error) {
    if (!(isKernelError(error) && error.code === "ENODEV")) throw error;
  }
}

function makeNode(layout: LabLayout, node: LabNode): void {
  joinSubnet(layout, node);
  for (const folder of ["run", "state", "calico", "net.d"]) {
    Deno.mkdirSync(`${node.directory}/${folder}`, { recursive: true });
  }
  Deno.writeTextFileSync(
    `${node.directory}/net.d/05-tortie.conflist`,
    JSON.stringify(conflist(node), undefined, 2),
    { mode: 0o600 },
  );
}

export const nodeFamilies = (node: LabNode): Family[] =>
  node.addresses.map((text) => address(text).ip.family);

/**
 * The CNI configuration of a node: it names the node's socket, as every node has its own here, and the
 * datastore, through which DEL goes where no service answers. Which families pods get is written as
 * Calico's manifests have it: texts.
 */
export function conflist(node: LabNode) {
  const families = nodeFamilies(node);
  return {
    cniVersion: "1.0.0",
    name: "k8s-pod-network",
    plugins: [{
      type: "tortie",
      ipam: {
        type: "tortie-ipam",
        assign_ipv4: `${families.includes(4)}`,
        assign_ipv6: `${families.includes(6)}`,
      },
      // In a lab everything may be tried; on a cluster these are off.
      feature_control: { ip_addrs_no_ipam: true, floating_ips: true },
      tortie: {
        socket: nodeSocket(node),
        store: `${node.directory.replace(/\/[^/]*$/, "")}/store.sock`,
      },
    }],
  };
}

export const nodeSocket = (node: LabNode) => `${node.directory}/run/tortie.sock`;

/** Starts a copy of this executable, its output appended to a file. */
export function startProcess(
  args: readonly string[],
  env: Readonly<Record<string, string>>,
  log: string,
  netns?: Netns,
): ProcessIdentity {
  return startProgram(executable(), args, env, log, netns);
}

/** Starts a program, its output appended to a file. It outlives us. */
export function startProgram(
  path: string,
  args: readonly string[],
  env: Readonly<Record<string, string>>,
  log: string,
  netns?: Netns,
): ProcessIdentity {
  const output = openFd(log, O_WRONLY | O_CREAT | O_APPEND, 0o600);
  try {
    const pid = spawn({
      path,
      argv: [path, ...args],
      env: { PATH: Deno.env.get("PATH") ?? "/usr/bin:/bin", ...env },
      netns,
      stdout: output,
      stderr: output,
      detached: true,
    });
    const identity = identify(pid);
    if (!identity) throw new LabError(`${path} ${args.join(" ")} ended at once; see ${log}`);
    return identity;
  } finally {
    closeFd(output);
  }
}

export function startStore(record: LabRecord): void {
  const { layout } = record;
  record.processes.store = startProcess(
    ["datastore", "serve", "--path", layout.storeFile, "--socket", layout.storeSocket],
    {},
    `${layout.directory}/store.log`,
  );
  saveProcess(layout.directory, "store", record.processes.store);
  saveLab(record);
}

/** What Calico's manifests set for the families of a cluster. */
function familySettings(families: readonly Family[]): Record<string, string> {
  return {
    ...(families.includes(4) ? {} : { IP: "none", CALICO_IPV4POOL_CIDR: "none" }),
    ...(families.includes(6) && { IP6: "autodetect" }),
  };
}

export function startNode(record: LabRecord, node: LabNode): void {
  record.processes[node.name] = withNetns(node.namespace, (netns) =>
    startProcess(
      ["node", "run"],
      {
        NODENAME: node.name,
        TORTIE_STORE: record.layout.storeSocket,
        TORTIE_RUN_DIR: `${node.directory}/run`,
        TORTIE_STATE_DIR: `${node.directory}/state`,
        TORTIE_CALICO_DIR: `${node.directory}/calico`,
        ...familySettings(nodeFamilies(node)),
        ...record.env,
      },
      `${node.directory}/node.log`,
      netns,
    ));
  saveProcess(record.layout.directory, node.name, record.processes[node.name]);
  saveLab(record);
}

/** One question to a node's local API. */
export async function askNode<T>(node: LabNode, method: string, params?: unknown): Promise<T> {
  const client = new RpcClient(await connectUnix(nodeSocket(node)));
  try {
    return await client.call(method, params) as T;
  } finally {
    client.close();
  }
}

/** Waits until it is so; on failure the end of the log says more. */
export async function until(
  what: string,
  milliseconds: number,
  log: string,
  done: () => Promise<boolean>,
) {
  const end = performance.now() + milliseconds;
  let last: unknown;
  while (performance.now() < end) {
    try {
      if (await done()) return;
    } catch (error) {
      last = error; // not there yet
    }
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  const why = last instanceof Error ? `: ${last.message}` : "";
  throw new LabError(
    `${what} is not ready after ${milliseconds / 1000} s${why}${await lastLines(log)}`,
  );
}

async function lastLines(log: string): Promise<string> {
  try {
    const lines = (await Deno.readTextFile(log)).trimEnd().split("\n").slice(-3);
    return `; the end of its log:\n  ${lines.join("\n  ")}`;
  } catch {
    return ""; // it has not even begun to write
  }
}

/**
 * Waits until all nodes are ready and (with `mesh`) all their BGP sessions are up: one for each
 * family with each other node.
 */
export async function waitReady(record: LabRecord, options: { mesh?: boolean } = {}) {
  const { nodes, families } = record.layout;
  const ours = new Set(nodes.flatMap((n) => n.addresses.map((text) => formatIp(address(text).ip))));
  for (const node of nodes) {
    await until(node.name, 20_000, `${node.directory}/node.log`, async () => {
      const status = await askNode<NodeStatus>(node, "node.status");
      if (!status.ready) return false;
      // Members that are not ours come and go as they like.
      const up = status.peers.filter((p) => p.state === "Established" && ours.has(p.address));
      return !options.mesh || up.length === (nodes.length - 1) * families.length;
    });
  }
}

export interface UpOptions {
  readonly env?: Readonly<Record<string, string>>;
}

/** Makes the whole lab; on failure everything is taken away again. */
export async function labUp(layout: LabLayout, options: UpOptions = {}): Promise<LabRecord> {
  if (findLab(layout.name)) {
    throw new LabError(
      `the lab "${layout.name}" is up already; take it down first: tortie lab down --lab ${layout.name}`,
    );
  }
  Deno.mkdirSync(`${layout.directory}/pods`, { recursive: true, mode: 0o700 });
  const record: LabRecord = { layout, env: options.env ?? {}, processes: {}, workloads: [] };
  saveLab(record);
  try {
    makeRouter(layout);
    startStore(record);
    for (const node of layout.nodes) makeNode(layout, node);
    await until("the datastore", 20_000, `${layout.directory}/store.log`, async () => {
      (await connectUnix(layout.storeSocket)).close();
      return true;
    });
    for (const node of layout.nodes) startNode(record, node);
    await waitReady(record);
    return record;
  } catch (error) {
    await labDown(layout.name, layout.directory);
    throw error;
  }
}

/** Ends a process: politely, then not. */
export async function endProcess(process: ProcessIdentity): Promise<void> {
  signal(process, SIGTERM);
  const end = performance.now() + 3000;
  while (isAlive(process) && performance.now() < end) {
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  signal(process, SIGKILL);
}

/**
 * Takes everything away, whatever state it is in; what is not there is no error. It asks nothing of
 * lab.json, which may be damaged: processes have files of their own, namespaces the lab's prefix.
 */
export async function labDown(name: string, directory: string): Promise<void> {
  await Promise.all(listProcesses(directory).map(endProcess));
  for (const netns of listNetns()) {
    if (netns.startsWith(namespacePrefix(name))) deleteNetns(netns);
  }
  try {
    Deno.removeSync(directory, { recursive: true });
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  }
}
