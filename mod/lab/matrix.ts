/** Who reaches whom on a TCP port, asked with real connections, all at once. */
import { Netns } from "../../ffi/netns.ts";
import { mustIp } from "../net/mod.ts";
import { netnsPath } from "./cluster.ts";
import type { RunningPod } from "./lab.ts";
import { probeTcp } from "./probe.ts";

/** Row: client; column: server. */
export type Reach = boolean[][];

export async function matrix(pods: readonly RunningPod[], port: number): Promise<Reach> {
  const namespaces = pods.map((pod) => Netns.open(netnsPath(pod.netns)));
  try {
    return await Promise.all(namespaces.map((netns) =>
      Promise.all(pods.map(async (server) => {
        const outcome = await probeTcp(netns, mustIp(server.addresses[0]), port, 500);
        return outcome === "open";
      }))
    ));
  } finally {
    for (const netns of namespaces) netns.close();
  }
}
