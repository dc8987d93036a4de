/** RouteSocket and drainEvents on a fake kernel: what cannot be provoked from the real one at will. */
import assert from "node:assert/strict";
import { mustIp, mustPrefix } from "../../mod/net/mod.ts";
import { isKernelError } from "../errors.ts";
import { NLM_F_ACK } from "../netlink/constants.ts";
import { Connection } from "../netlink/connection.ts";
import { MessageEncoder } from "../netlink/encoder.ts";
import { type FakeKernel, fakeKernel, type FakeReply, type FakeRequest } from "../netlink/fake.ts";
import { addAddress } from "./address.ts";
import { RTM_GETROUTE, RTM_NEWADDR, RTM_NEWLINK, RTM_NEWROUTE } from "./command.ts";
import { drainEvents, type RouteEvent } from "./events.ts";
import { encodeRoute, type Route, routeKey, sameRoute } from "./route.ts";
import { RouteSocket } from "./socket.ts";

function socketOn(kernel: FakeKernel, other: FakeKernel = kernel): RouteSocket {
  return new RouteSocket(new Connection(kernel), () => new Connection(other));
}

const route = (n: number): Route => ({
  destination: { ip: { family: 4, bytes: Uint8Array.of(10, 1, n >> 8, n & 255) }, length: 32 },
  protocol: 80,
  hops: [{ oif: 3 }],
});

function routeReply(one: Route): FakeReply {
  const message = new MessageEncoder().begin(RTM_NEWROUTE, 0, 0);
  encodeRoute(message, one);
  return { type: RTM_NEWROUTE, payload: message.end().finish().slice(16) };
}

Deno.test("a dump that was interrupted is taken again, and holds nothing twice", () => {
  let dumps = 0;
  const socket = socketOn(fakeKernel(() => {
    dumps++;
    return dumps === 1
      ? [routeReply(route(1)), { interrupted: true }, routeReply(route(2))]
      : [routeReply(route(2)), routeReply(route(3))];
  }));
  assert.deepEqual(socket.routes({ family: 4 }).map((r) => r.destination.ip.bytes[3]), [2, 3]);
  assert.equal(dumps, 2);
});

Deno.test("a kernel that does not filter is filtered here", () => {
  const other: Route = { ...route(9), protocol: 4, table: 100 };
  const socket = socketOn(fakeKernel(() => [routeReply(route(1)), routeReply(other)]));
  const keys = (filter: object) => socket.routes({ family: 4, ...filter }).map(routeKey);
  assert.deepEqual(keys({ protocol: 80 }), ["254 10.1.0.1/32 0 0"]);
  assert.deepEqual(keys({ table: 100 }), ["100 10.1.0.9/32 0 0"]);
  assert.deepEqual(keys({ oif: 4 }), []);
});

Deno.test("a table that is not there is empty; other refusals are told", () => {
  const answers: Record<number, FakeReply> = {
    100: { error: 2, text: "ipv4: FIB table does not exist" },
    200: { error: 22, text: "ipv4: Unsupported attribute in fib dump request" },
  };
  const socket = socketOn(fakeKernel((request: FakeRequest) => {
    assert.equal(request.type, RTM_GETROUTE);
    return [answers[new DataView(request.payload.buffer).getUint32(16, true)]];
  }));
  assert.deepEqual(socket.routes({ family: 4, table: 100 }), []);
  assert.throws(() => socket.routes({ family: 4, table: 200 }), (e) => isKernelError(e, "EINVAL"));
});

Deno.test("thousands of routes go in datagrams of a thousand, acknowledged at their ends", () => {
  const kernel = fakeKernel((request) =>
    request.payload[15 + 4] === 7 && request.payload[14 + 4] === 0 ? [{ error: 19 }] : []
  );
  const routes = Array.from({ length: 2500 }, (_, n) => route(n));
  const refused = socketOn(kernel).putRoutes(routes);
  assert.deepEqual(refused.map((r) => [r.item, r.error.code]), [[routes[7], "ENODEV"]]);
  assert.equal(kernel.datagrams.length, 3);
  const acknowledged = kernel.requests.flatMap((r, i) => r.flags & NLM_F_ACK ? [i] : []);
  assert.deepEqual(acknowledged, [999, 1999, 2499]);
});

Deno.test("lost answers are not taken for silence", () => {
  let n = 0;
  const kernel = fakeKernel(() => ++n === 2 ? [{ overflow: true }, { error: 19 }] : []);
  assert.throws(
    () => socketOn(kernel).putRoutes([route(1), route(2)]),
    (error) => isKernelError(error, "ENOBUFS") && /lost/.test(error.message),
  );
});

Deno.test("links are deleted beside everything else, those of one moment together", async () => {
  /** What each request names: an index, or a group. */
  const ask = ({ type, payload }: FakeRequest) => {
    const view = new DataView(payload.buffer, payload.byteOffset);
    return { type, index: view.getInt32(4, true), grouped: payload.length > 16 };
  };
  const marked: number[] = [], deleted: (number | "group")[] = [];
  let refuse = (_asked: number | "group") => false;
  const main = fakeKernel((request) => {
    const { type, index } = ask(request);
    if (type !== RTM_NEWLINK) return [];
    marked.push(index);
    return index === 7 ? [{ error: 19 }] : [];
  });
  const other = fakeKernel((request) => {
    const { index, grouped } = ask(request);
    deleted.push(grouped ? "group" : index);
    return refuse(deleted.at(-1)!) ? [{ error: 19 }] : [];
  });
  const socket = socketOn(main, other);
  const gone = (error: unknown) => isKernelError(error, "ENODEV");

  const alone = socket.deleteLink(3);
  socket.addRoute(route(1)); // does not wait
  assert.deepEqual([deleted, marked], [[], []]);
  await alone;
  assert.deepEqual([deleted.splice(0), marked], [[3], []]);

  // One that is not there any more hears of it, and keeps nobody.
  refuse = (asked) => asked === 7;
  const some = [4, 7, 5].map((index) => socket.deleteLink(index));
  await Promise.all([some[0], assert.rejects(some[1], gone), some[2]]);
  assert.deepEqual([deleted.splice(0), marked.splice(0)], [["group", 7], [4, 7, 5]]);

  // Where the group is refused, each is deleted by himself.
  refuse = (asked) => asked === "group" || asked === 8;
  const others = [8, 9].map((index) => socket.deleteLink(index));
  await Promise.all([assert.rejects(others[0], gone), others[1]]);
  assert.deepEqual(deleted, ["group", 8, 9]);

  socket.close();
  await assert.rejects(socket.deleteLink(6), (error) => isKernelError(error, "EBADF"));
});

Deno.test("notifications: what came before and after an overflow, and the overflow itself", () => {
  const kernel = fakeKernel((request) => {
    switch (request.payload[0]) {
      case 1:
        return [routeReply(route(1)), { cut: true }, { overflow: true }, routeReply(route(2)), {
          cut: true,
        }, routeReply(route(3))];
      default:
        return [{ type: 999, payload: [] }];
    }
  });
  kernel.send(new MessageEncoder().begin(100, 0, 1).putU8(1).end().finish());
  kernel.send(new MessageEncoder().begin(100, 0, 2).putU8(2).end().finish());
  const events: RouteEvent[] = [];
  drainEvents(kernel, (event) => events.push(event));
  assert.deepEqual(
    events.map((e) => e.kind === "route" ? e.route.destination.ip.bytes[3] : e.kind),
    [1, "overflow", 3],
  );
  const before = events.length;
  drainEvents(kernel, (event) => events.push(event));
  assert.equal(events.length, before);
});

Deno.test("notifications: one that the handler's own requests follow is not overwritten", () => {
  const kernel = fakeKernel((request) =>
    request.type === 100 ? [routeReply(route(1)), routeReply(route(2))] : []
  );
  kernel.send(new MessageEncoder().begin(100, 0, 1).end().finish());
  const seen: number[] = [];
  drainEvents(kernel, (event) => {
    if (event.kind !== "route") return;
    seen.push(event.route.destination.ip.bytes[3]);
    socketOn(fakeKernel(() => [])).addRoute(route(77));
  });
  assert.deepEqual(seen, [1, 2]);
});

Deno.test("routes: the same and not the same", () => {
  const p = mustPrefix, i = mustIp;
  const base: Route = {
    destination: p("10.0.0.0/24"),
    hops: [{ gateway: i("192.0.2.1"), oif: 2 }],
  };
  const same: [Route, Route][] = [
    [base, { ...base, table: 254, protocol: 3, type: "unicast", scope: "universe", priority: 0 }],
    [base, { ...base, hops: [{ ...base.hops![0], weight: 1 }] }],
    [
      { destination: p("fd00::/64"), hops: [{ oif: 2 }] },
      { destination: p("fd00::/64"), hops: [{ oif: 2 }], priority: 1024 },
    ],
    [
      { ...base, hops: [{ oif: 1 }, { oif: 2 }] },
      { ...base, hops: [{ oif: 2 }, { oif: 1 }] },
    ],
    [
      { destination: p("10.0.0.1/32"), hops: [{ oif: 2 }] },
      { destination: p("10.0.0.1/32"), hops: [{ oif: 2 }], scope: "link" },
    ],
  ];
  for (const [a, b] of same) assert.ok(sameRoute(a, b) && sameRoute(b, a), JSON.stringify([a, b]));
  const different: Partial<Route>[] = [
    { table: 100 },
    { protocol: 80 },
    { type: "blackhole" },
    { scope: "link" },
    { priority: 1 },
    { tos: 4 },
    { source: i("10.0.0.9") },
    { mtu: 1400 },
    { hops: [] },
    { hops: [{ gateway: i("192.0.2.1"), oif: 3 }] },
    { hops: [{ gateway: i("192.0.2.2"), oif: 2 }] },
    { hops: [{ gateway: i("192.0.2.1"), oif: 2, onlink: true }] },
    { hops: [{ gateway: i("192.0.2.1"), oif: 2, weight: 2 }] },
    { hops: [{ gateway: i("192.0.2.1"), oif: 2 }, { gateway: i("192.0.2.1"), oif: 2 }] },
    { destination: p("10.0.0.0/25") },
  ];
  for (const change of different) {
    assert.ok(!sameRoute(base, { ...base, ...change }), JSON.stringify(change));
  }
});

Deno.test("a command is named only when it is refused", () => {
  const command = addAddress({ index: 3, ip: mustIp("10.0.0.1"), length: 32 });
  let named = 0;
  const counting = { ...command, operation: () => (named++, command.operation()) };
  const socket = socketOn(fakeKernel((r) => {
    assert.equal(r.type, RTM_NEWADDR);
    return named === 0 && r.sequence === 1 ? [] : [{ error: 17 }];
  }));
  socket.run(counting);
  assert.equal(named, 0);
  assert.throws(() => socket.run(counting), /add address 10\.0\.0\.1\/32 on interface 3: exists/);
  assert.equal(named, 1);
});
