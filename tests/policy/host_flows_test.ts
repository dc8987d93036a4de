/**
 * Live connections between a pod and its own node, which pass the input and output hooks: what a change
 * of policy denies falls silent in both directions, TCP and UDP, as between pods; and it goes on when it
 * is allowed again. What the node itself began with its pod goes on all the time.
 */
import assert from "node:assert/strict";
import { DatagramSocket } from "../../ffi/datagram.ts";
import { connectTcp, listenTcp, type TcpStream } from "../../ffi/tcp.ts";
import { netnsPath } from "../../mod/lab/cluster.ts";
import { mustIp } from "../../mod/net/mod.ts";
import { Netns, pause, pod, until, withLab } from "../cluster/harness.ts";

const options = { sanitizeResources: false, sanitizeOps: false };
const bytes = new Uint8Array(16);

/** A connection on which both ends say something all the time; when each last heard of the other. */
interface Talk {
  readonly name: string;
  readonly heard: { client: number; server: number };
  close(): void;
}

const now = () => performance.now();

function udp(name: string, from: Netns, to: Netns, address: string, port: number): Talk {
  const ip = mustIp(address);
  const { family } = ip;
  const heard = { client: 0, server: 0 };
  let back: { ip: typeof ip; port: number } | undefined;
  const server = new DatagramSocket({ family, netns: to, local: { ip, port } }, (got) => {
    heard.server = now();
    back = got;
  });
  const client = new DatagramSocket({ family, netns: from }, () => heard.client = now());
  const timer = setInterval(() => {
    // A packet that the output hook drops is an error of whoever sends it.
    for (
      const send of [
        () => client.send(ip, port, bytes),
        () => back && server.send(back.ip, back.port, bytes),
      ]
    ) {
      try {
        send();
      } catch { /* denied */ }
    }
  }, 20);
  const close = () => {
    clearInterval(timer);
    server.close();
    client.close();
  };
  return { name, heard, close };
}

async function tcp(
  name: string,
  from: Netns,
  to: Netns,
  address: string,
  port: number,
): Promise<Talk> {
  const remote = { ip: mustIp(address), port };
  const accepted = Promise.withResolvers<TcpStream>();
  const listener = listenTcp({ netns: to, local: remote }, accepted.resolve);
  const client = await connectTcp({ netns: from, remote, timeout: 10_000 });
  const server = await accepted.promise;
  const heard = { client: 0, server: 0 };
  const hear = async (stream: TcpStream, side: "client" | "server") => {
    while (await stream.read()) heard[side] = now();
  };
  for (const [stream, side] of [[client, "client"], [server, "server"]] as const) {
    hear(stream, side).catch(() => {}); // closed in the end
  }
  let busy = 0;
  const timer = setInterval(() => {
    // What is not taken is sent again by the kernel, so little is given to it.
    if (busy > 20) return;
    for (const stream of [client, server]) {
      busy++;
      stream.write(bytes).catch(() => {}).finally(() => busy--); // closed in the end
    }
  }, 20);
  const close = () => {
    clearInterval(timer);
    client.close();
    server.close();
    listener.close();
  };
  return { name, heard, close };
}

Deno.test("a pod and its own node: what is denied falls silent", options, async (t) => {
  await withLab({ subnets: "1", mesh: false, families: "IPv4,IPv6" }, async (lab) => {
    const [a] = await lab.run(pod("a"));
    const [b] = await lab.run(pod("b"));
    const host = lab.node("node1");
    using inA = Netns.open(netnsPath(a.netns));
    using inB = Netns.open(netnsPath(b.netns));
    using inHost = Netns.open(netnsPath(host.namespace));
    const talks: Talk[] = [];
    const fromHost: Talk[] = [];
    let port = 7000;
    for (const [i, address] of host.addresses.map((x) => x.split("/")[0]).entries()) {
      const kind = address.includes(":") ? "IPv6" : "IPv4";
      talks.push(udp(`UDP to the node, ${kind}`, inA, inHost, address, port++));
      talks.push(await tcp(`TCP to the node, ${kind}`, inA, inHost, address, port++));
      talks.push(await tcp(`TCP between pods, ${kind}`, inA, inB, b.addresses[i], port++));
      fromHost.push(udp(`UDP of the node, ${kind}`, inHost, inA, a.addresses[i], port++));
      fromHost.push(await tcp(`TCP of the node, ${kind}`, inHost, inA, a.addresses[i], port++));
    }
    const alive = ({ heard }: Talk) => Math.min(heard.client, heard.server) > now() - 500;
    const silent = ({ heard }: Talk) => Math.max(heard.client, heard.server) < now() - 2000;
    const all = (list: Talk[], want: (talk: Talk) => boolean, what: string) =>
      until(
        what,
        20_000,
        () => Promise.resolve(list.every(want)),
      ).catch((error) => {
        throw new Error(list.filter((talk) => !want(talk)).map((talk) => talk.name).join(), {
          cause: error,
        });
      });
    const deny = (policyTypes: string[], podSelector: unknown = {}) =>
      lab.apply(JSON.stringify({
        apiVersion: "networking.k8s.io/v1",
        kind: "NetworkPolicy",
        metadata: { name: "deny", namespace: "default" },
        spec: { podSelector, policyTypes },
      }));
    try {
      await all([...talks, ...fromHost], alive, "all talk");
      await t.step("denied: silent in both directions", async () => {
        await deny(["Ingress", "Egress"]);
        await all(talks, silent, "what is denied falls silent");
        assert.deepEqual(fromHost.filter((talk) => !alive(talk)).map(({ name }) => name), []);
        await pause(1000);
        assert.deepEqual(talks.filter((talk) => !silent(talk)).map(({ name }) => name), []);
      });
      await t.step("allowed again: all talk", async () => {
        await deny(["Ingress"], { matchLabels: { app: "nobody" } });
        // TCP tries again by its own timers.
        await until(
          "all talk again",
          60_000,
          () =>
            Promise.resolve(
              [...talks, ...fromHost].every(({ heard }) =>
                Math.min(heard.client, heard.server) > now() - 2000
              ),
            ),
        );
      });
    } finally {
      for (const talk of [...talks, ...fromHost]) talk.close();
    }
  });
});
