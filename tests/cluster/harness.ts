/**
 * Labs for tests: clusters of namespaces run by the built executable (TORTIE_BINARY), looked at with
 * the real tools. Needs root. `withLab` takes the lab away whatever happens.
 */
import { inNetns, Netns } from "../../ffi/netns.ts";
import { connectTcp } from "../../ffi/tcp.ts";
import { labDown, labUp, netnsPath, waitReady } from "../../mod/lab/cluster.ts";
import { Lab } from "../../mod/lab/lab.ts";
import { layout, parseFamilies, parseSubnets } from "../../mod/lab/layout.ts";
import type { PodRecord } from "../../mod/lab/record.ts";
import { ping } from "../../mod/lab/probe.ts";
import { mustIp } from "../../mod/net/mod.ts";

export { inNetns, Netns };

const ROOT = new URL("../../", import.meta.url).pathname;

/** The executable under test. */
export function binary(): string {
  const path = Deno.env.get("TORTIE_BINARY") || `${ROOT}dist/tortie`;
  Deno.env.set("TORTIE_BINARY", path);
  return path;
}

let labs = 0;

export interface LabWishes {
  subnets?: string;
  /** `IPv4,IPv6` for dual stack; absent: IPv4. */
  families?: string;
  env?: Record<string, string>;
  mesh?: boolean;
}

/** A lab's name that no other test run has. */
export function labName(): string {
  return `t${Deno.pid}x${++labs}`;
}

export async function withLab(
  wishes: LabWishes,
  run: (lab: Lab) => Promise<void>,
): Promise<void> {
  binary();
  const families = parseFamilies(wishes.families ?? "IPv4");
  const plan = layout(labName(), parseSubnets(wishes.subnets ?? "2"), families);
  const pools = {
    ...(families.includes(4) && { CALICO_IPV4POOL_CIDR: "10.244.0.0/16" }),
    ...(families.includes(6) && { CALICO_IPV6POOL_CIDR: "fd00:10:244::/64" }),
  };
  try {
    const record = await labUp(plan, {
      env: { ...pools, ...wishes.env },
    });
    const lab = new Lab(record);
    try {
      if (wishes.mesh ?? true) await waitReady(record, { mesh: true });
      await run(lab);
    } finally {
      await lab.close();
    }
  } finally {
    await labDown(plan.name, plan.directory);
  }
}

/** Runs a real tool; its standard output. Throws with its standard error where it fails. */
export async function tool(netns: string | undefined, command: string, ...args: string[]) {
  const inside = netns ? ["ip", "netns", "exec", netns] : [];
  const [program, ...rest] = [...inside, command, ...args];
  const { success, stdout, stderr } = await new Deno.Command(program, { args: rest }).output();
  if (!success) {
    throw new Error(`${command} ${args.join(" ")}: ${new TextDecoder().decode(stderr).trim()}`);
  }
  return new TextDecoder().decode(stdout);
}

/** For a deleted interface: the kernel may have been quicker to end the namespace that it was in. */
export function isGone(error: Error): void {
  if (!error.message.includes("Cannot find device")) throw error;
}

export const pause = (milliseconds: number) =>
  new Promise<void>((resolve) => setTimeout(resolve, milliseconds));

/** Milliseconds until it is so; throws after `limit` of them with what was last seen. */
export async function until(
  what: string,
  limit: number,
  isSo: () => Promise<boolean> | boolean,
): Promise<number> {
  const began = performance.now();
  let last = "";
  do {
    try {
      if (await isSo()) return performance.now() - began;
    } catch (error) {
      last = ` (${(error as Error).message})`;
    }
    await pause(25);
  } while (performance.now() - began < limit);
  throw new Error(`not so within ${limit} ms: ${what}${last}`);
}

export async function podPings(from: PodRecord, to: string): Promise<boolean> {
  const netns = Netns.open(netnsPath(from.netns));
  try {
    return await ping(netns, mustIp(to), 300) !== undefined;
  } finally {
    netns.close();
  }
}

/** A pod's manifest. */
export function pod(name: string, more: {
  labels?: Record<string, string>;
  annotations?: Record<string, string>;
  ports?: number[];
  namespace?: string;
} = {}): string {
  return JSON.stringify({
    apiVersion: "v1",
    kind: "Pod",
    metadata: {
      name,
      namespace: more.namespace ?? "default",
      labels: more.labels ?? { app: name },
      annotations: more.annotations,
    },
    spec: {
      containers: [{
        name: "c",
        ports: (more.ports ?? []).map((containerPort) => ({ containerPort })),
      }],
    },
  });
}

/** GET over HTTP inside a namespace; status and body. */
export async function httpGet(namespace: string, port: number, path: string) {
  const netns = Netns.open(netnsPath(namespace));
  try {
    const stream = await connectTcp({
      remote: { ip: mustIp("127.0.0.1"), port },
      netns,
      timeout: 1000,
    });
    const request = `GET ${path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n`;
    await stream.write(new TextEncoder().encode(request));
    let text = "";
    for (let chunk; (chunk = await stream.read());) text += new TextDecoder().decode(chunk);
    stream.close();
    return { status: Number(text.split(" ")[1]), body: text.slice(text.indexOf("\r\n\r\n") + 4) };
  } finally {
    netns.close();
  }
}

/**
 * Chains, sets and maps that `nft list table` shows, in an order of their own: a table that was made
 * again, its closed skeleton first, lists the same in another order.
 */
export function tableParts(listing: string): string {
  return listing.match(/^\t(chain|set|map) [^]*?^\t\}$/gm)!.sort().join("\n").replace(/\s+/g, " ");
}
