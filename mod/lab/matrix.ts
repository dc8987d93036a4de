/**
 * Who reaches whom, asked with real packets, all at once: on a TCP port, or by ping. In a dual-stack
 * lab each family has a matrix of its own.
 */
import { Netns } from "../../ffi/netns.ts";
import { type Family, type Ip, mustIp } from "../net/mod.ts";
import { netnsPath } from "./cluster.ts";
import type { RunningPod } from "./lab.ts";
import { ping, probeTcp } from "./probe.ts";
import { LabError } from "./workloads.ts";

/** Row: client; column: server. */
export type Reach = boolean[][];

/** A pod's address of a family, or its first one. */
export function addressOf(pod: RunningPod, family?: Family): Ip {
  const ips = pod.addresses.map(mustIp);
  const found = family === undefined ? ips[0] : ips.find((ip) => ip.family === family);
  if (found) return found;
  throw new LabError(`the pod "${pod.namespace}/${pod.name}" has no IPv${family} address`);
}

async function ask(
  pods: readonly RunningPod[],
  family: Family | undefined,
  reaches: (netns: Netns, target: Ip) => Promise<boolean>,
): Promise<Reach> {
  const targets = pods.map((pod) => addressOf(pod, family));
  const namespaces = pods.map((pod) => Netns.open(netnsPath(pod.netns)));
  try {
    return await Promise.all(
      namespaces.map((netns) => Promise.all(targets.map((ip) => reaches(netns, ip)))),
    );
  } finally {
    for (const netns of namespaces) netns.close();
  }
}

export function matrix(
  pods: readonly RunningPod[],
  port: number,
  family?: Family,
): Promise<Reach> {
  return ask(
    pods,
    family,
    async (netns, ip) => await probeTcp(netns, ip, port, 500) === "open",
  );
}

export function pingMatrix(pods: readonly RunningPod[], family?: Family): Promise<Reach> {
  return ask(pods, family, async (netns, ip) => await ping(netns, ip, 500) !== undefined);
}
