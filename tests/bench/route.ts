/**
 * rtnetlink in a scratch namespace, by each carrier: 10,000 routes one by one, in datagrams of a
 * thousand, read, read again where each is refused, deleted; a pod's whole wiring; a link's deletion
 * and how long it holds up everything else. Needs root.
 *
 *     deno run -A tests/bench/route.ts [routes] [repetitions]
 */
import { mustIp, mustPrefix } from "../../mod/net/mod.ts";
import { configureLibnl, libnl } from "../../ffi/libnl.ts";
import * as route from "../../ffi/route/mod.ts";
import { RouteSocket } from "../../ffi/route/mod.ts";
import { Scratch } from "../ffi/scratch.ts";

/** Milliseconds, least and median of the repetitions. */
export interface Figure {
  readonly min: number;
  readonly median: number;
}
export type RouteFigures = Record<string, Figure>;

const hostMac = "ee:ee:ee:ee:ee:ee", podMac = "0a:58:0a:41:00:02";

function wirePod(host: RouteSocket, pod: Scratch, name: string): void {
  host.addLink({
    kind: "veth",
    name,
    mac: hostMac,
    mtu: 1450,
    alias: `pod:${name}`,
    peer: { name: "eth0", netns: pod.netns, mtu: 1450, mac: podMac },
  });
  using inside = RouteSocket.open(pod.netns);
  const outer = host.link(name)!.index, index = inside.link("eth0")!.index;
  const gateway = mustIp("169.254.1.1"), ip = mustIp("10.65.0.2");
  inside.run(
    route.setLink("lo", { up: true }),
    route.setLink(index, { up: true }),
    route.addAddress({ index, ip, length: 32 }),
    route.addRoute({ destination: { ip: gateway, length: 32 }, hops: [{ oif: index }] }),
    route.addRoute({ destination: mustPrefix("0.0.0.0/0"), hops: [{ gateway, oif: index }] }),
    route.addNeighbour({ kind: "neighbour", index, ip: gateway, mac: hostMac }),
  );
  host.run(
    route.setLink(outer, { up: true }),
    route.addRoute({ destination: { ip, length: 32 }, protocol: 80, hops: [{ oif: outer }] }),
  );
}

export async function measure(count = 10_000, repetitions = 5): Promise<RouteFigures> {
  const times = new Map<string, number[]>();
  const timed = <T>(name: string, work: () => T): T => {
    const started = performance.now();
    const result = work();
    const list = times.get(name) ?? [];
    list.push(performance.now() - started);
    times.set(name, list);
    return result;
  };
  using host = new Scratch();
  using socket = RouteSocket.open(host.netns);
  socket.setLink("lo", { up: true });
  const routes = Array.from({ length: count }, (_, i): route.Route => ({
    destination: {
      ip: { family: 4, bytes: Uint8Array.of(10, 128 + (i >> 16), i >> 8, i) },
      length: 32,
    },
    protocol: 80,
    hops: [{ oif: 1 }],
  }));
  for (let n = 0; n < repetitions; n++) {
    timed("add one by one", () => {
      for (const one of routes) socket.addRoute(one);
    });
    const read = timed("read", () => socket.routes({ family: 4, protocol: 80 }));
    if (read.length !== count) throw new Error(`${read.length} of ${count} routes`);
    timed("replace by the thousand, unchanged", () => socket.putRoutes(routes));
    timed("refuse by the thousand, with words", () => socket.putRoutes(routes, "add"));
    timed("delete by the thousand", () => socket.deleteRoutes(routes));
    timed("add by the thousand", () => socket.putRoutes(routes));
    socket.deleteRoutes(routes);

    using pod = new Scratch();
    timed("a pod's wiring", () => wirePod(socket, pod, `cali${n}`));
    const started = performance.now();
    let last = started, gap = 0;
    const timer = setInterval(() => {
      const now = performance.now();
      gap = Math.max(gap, now - last);
      last = now;
    }, 1);
    await socket.deleteLink(`cali${n}`);
    timed("delete a link", () => {});
    times.get("delete a link")![n] = performance.now() - started;
    timed("longest stop of the event loop meanwhile", () => {});
    times.get("longest stop of the event loop meanwhile")![n] = gap;
    clearInterval(timer);
  }
  return Object.fromEntries(
    [...times].map(([name, list]) => {
      list.sort((a, b) => a - b);
      return [name, { min: list[0], median: list[list.length >> 1] }];
    }),
  );
}

if (import.meta.main) {
  const [count = 10_000, repetitions = 5] = Deno.args.map(Number);
  for (const useHost of [true, false]) {
    configureLibnl({ useHost, directory: new URL("file:///nonexistent/") });
    console.log(`${count} routes, libnl ${libnl()?.origin ?? "absent"} (ms, least / median)`);
    for (const [name, { min, median }] of Object.entries(await measure(count, repetitions))) {
      console.log(
        `  ${name.padEnd(42)} ${min.toFixed(2).padStart(8)} ${median.toFixed(2).padStart(8)}`,
      );
    }
  }
}
