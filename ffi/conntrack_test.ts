import assert from "node:assert/strict";
import {
  Conntrack,
  type Flow,
  flowMatches,
  getFlow,
  IPCTNL_MSG_CT_DELETE,
  IPCTNL_MSG_CT_GET,
  IPCTNL_MSG_CT_NEW,
  IPS_ASSURED,
  IPS_CONFIRMED,
  IPS_SEEN_REPLY,
  putDelete,
  putFlow,
  putSelection,
  type Tuple,
} from "./conntrack.ts";
import { isKernelError } from "./errors.ts";
import { AttributeCursor, MessageCursor } from "./netlink/decoder.ts";
import { MessageEncoder } from "./netlink/encoder.ts";
import { fakeKernel, type FakeReply, type FakeRequest } from "./netlink/fake.ts";
import { Connection } from "./netlink/connection.ts";
import { bytes, clearPadding, hex } from "./nft/testing.ts";
import { mustIp } from "../mod/net/mod.ts";

function tuple(
  source: string,
  destination: string,
  protocol: number,
  sourcePort?: number,
  destinationPort?: number,
): Tuple {
  return {
    source: mustIp(source),
    destination: mustIp(destination),
    protocol,
    sourcePort,
    destinationPort,
    icmp: undefined,
  };
}

const tcpFlow: Flow = {
  original: tuple("10.65.0.2", "10.96.0.1", 6, 40000, 443),
  reply: tuple("10.96.0.1", "10.65.0.2", 6, 443, 40000),
  status: IPS_ASSURED | IPS_CONFIRMED,
  timeout: 300,
  mark: 0,
  zone: 0,
  id: 0x1234,
  tcpState: 3,
};
const udp6Flow: Flow = {
  original: tuple("fd00::2", "fd00::99", 17, 5000, 53),
  reply: tuple("fd00::99", "fd00::2", 17, 53, 5000),
  status: IPS_SEEN_REPLY | IPS_CONFIRMED,
  timeout: 120,
  mark: 0,
  zone: 0,
  id: 2,
  tcpState: undefined,
};
const icmpFlow: Flow = {
  original: { ...tuple("10.65.0.2", "10.65.0.3", 1), icmp: { id: 77, type: 8, code: 0 } },
  reply: { ...tuple("10.65.0.3", "10.65.0.2", 1), icmp: { id: 77, type: 0, code: 0 } },
  status: 0,
  timeout: 30,
  mark: 0,
  zone: 0,
  id: 3,
};

async function golden(name: string): Promise<string> {
  const text = await Deno.readTextFile(new URL(`nft/golden/${name}.hex`, import.meta.url));
  // Sequence number (the time) and port id differ from run to run.
  return hex(clearPadding(bytes(text))).replace(/^(.{16}).{16}/, "$1");
}
function body(write: (encoder: MessageEncoder) => void, type: number, flags: number): string {
  const encoder = new MessageEncoder().begin(type, flags, 1);
  write(encoder);
  return hex(encoder.end().finish()).replace(/^(.{16}).{16}/, "$1");
}

for (
  const [name, flow] of Object.entries({
    "flow-tcp": tcpFlow,
    "flow-udp6": udp6Flow,
    "flow-icmp": icmpFlow,
  })
) {
  Deno.test(`the connection "${name}" has conntrack's bytes`, async () => {
    const ours = body((e) => putFlow(e, flow), IPCTNL_MSG_CT_NEW, 0x605);
    assert.equal(ours, await golden(name));
  });
}

/** A kernel that tracks these connections. What it can do differs with its age. */
function fakeConntrack(
  flows: Flow[],
  can: { filteredDelete: boolean; filteredDump: boolean },
) {
  let flushedAll = 0;
  const kernel = fakeKernel(function* (request: FakeRequest): Iterable<FakeReply> {
    const asked = read(request);
    switch (request.type) {
      case IPCTNL_MSG_CT_GET: {
        if (asked.hasFilter && !can.filteredDump) return void (yield { error: 95 });
        for (const flow of [...flows]) {
          if (flow.original.source.family !== asked.family) continue;
          if (asked.hasFilter && !matches(asked, flow)) continue;
          const encoder = new MessageEncoder().begin(IPCTNL_MSG_CT_NEW, 0, 0);
          putFlow(encoder, flow);
          encoder.attrBe32(12, flow.id).end();
          yield { type: IPCTNL_MSG_CT_NEW, payload: encoder.finish().slice(16) };
        }
        return;
      }
      case IPCTNL_MSG_CT_DELETE: {
        if (asked.hasFilter) {
          // An older kernel takes the partial tuple for a whole one.
          if (!can.filteredDelete) return void (yield { error: 22 });
          for (let i = flows.length - 1; i >= 0; i--) {
            if (matches(asked, flows[i])) flows.splice(i, 1);
          }
          return;
        }
        if (!asked.original) {
          flushedAll++;
          flows.length = 0;
          return;
        }
        const at = flows.findIndex((flow) => same(flow.original, asked.original!));
        if (at < 0 || (asked.id !== undefined && flows[at].id !== asked.id)) {
          return void (yield { error: 2 });
        }
        flows.splice(at, 1);
      }
    }
  });
  return { kernel, conntrack: new Conntrack(new Connection(kernel)), all: () => flushedAll };
}

function same(a: Tuple, b: Tuple): boolean {
  return flowMatches({ ...tcpFlow, original: a }, { original: b });
}

/** Reads a request without the decoder under test: addresses, filter flags, id. */
function read(request: FakeRequest) {
  const family: 4 | 6 = request.payload[0] === 2 ? 4 : 6;
  let original: Tuple | undefined, id: number | undefined;
  const parts: { source?: string; destination?: string; dport?: number }[] = [{}, {}];
  const flags = [0, 0];
  let hasFilter = false;
  for (const a = new AttributeCursor(request.payload, 4); a.next();) {
    if (a.type === 1 || a.type === 2) {
      const part = parts[a.type - 1];
      for (const t = a.nested(); t.next();) {
        for (const i = t.nested(); i.next();) {
          if (t.type === 1 && (i.type === 1 || i.type === 3)) part.source = i.bytes().join();
          if (t.type === 1 && (i.type === 2 || i.type === 4)) part.destination = i.bytes().join();
          if (t.type === 2 && i.type === 3) part.dport = i.be16();
        }
      }
    } else if (a.type === 12) id = a.be32();
    else if (a.type === 25) {
      hasFilter = true;
      for (const f = a.nested(); f.next();) flags[f.type - 1] = f.u32();
    }
  }
  if (!hasFilter && parts[0].source) {
    const m = new MessageCursor(
      new Uint8Array([...new Uint8Array(16), ...request.payload]),
    );
    new DataView(m.buffer.buffer).setUint32(0, 16 + request.payload.length, true);
    m.next();
    const flow = getFlow(m);
    original = flow?.original ?? tupleOf(m);
  }
  return { family, original, id, parts, flags, hasFilter };
}

/** deleteTuple sends the original direction alone, which getFlow takes for no flow. */
function tupleOf(message: MessageCursor): Tuple {
  const encoder = new MessageEncoder().begin(IPCTNL_MSG_CT_NEW, 0, 0);
  const bytes = message.bytes();
  const turned = bytes.slice(4);
  turned[2] = 2;
  encoder.putBytes(bytes).putBytes(turned).end();
  const both = new MessageCursor(encoder.finish());
  both.next();
  return getFlow(both)!.original;
}

function matches(asked: ReturnType<typeof read>, flow: Flow): boolean {
  return flow.original.source.family === asked.family &&
    [flow.original, flow.reply].every((tuple, side) => {
      const part = asked.parts[side], flags = asked.flags[side];
      // As the kernel does: addresses of IPv6 the wrong way round.
      const wanted = tuple.source.family === 4;
      return (!(flags & 1) || (tuple.source.bytes.join() === part.source) === wanted) &&
        (!(flags & 2) || (tuple.destination.bytes.join() === part.destination) === wanted) &&
        (!(flags & 32) || tuple.destinationPort === part.dport);
    });
}

function someFlows(): Flow[] {
  return [
    {
      ...udp6Flow,
      id: 20,
      original: tuple("fd00::3", "fd00::99", 17, 5000, 53),
      reply: tuple("fd00::99", "fd00::3", 17, 53, 5000),
    },
    tcpFlow,
    icmpFlow,
    udp6Flow,
    {
      ...tcpFlow,
      id: 9,
      original: tuple("10.9.0.9", "10.96.0.1", 6, 5000, 80),
      // Through a service's address to the pod 10.65.0.2.
      reply: tuple("10.65.0.2", "10.9.0.9", 6, 8080, 5000),
    },
    {
      ...tcpFlow,
      id: 10,
      original: tuple("10.9.0.9", "10.65.0.7", 6, 5001, 80),
      reply: tuple("10.65.0.7", "10.9.0.9", 6, 80, 5001),
    },
  ];
}

for (
  const can of [
    { filteredDelete: true, filteredDump: true },
    { filteredDelete: false, filteredDump: true },
    { filteredDelete: false, filteredDump: false },
  ]
) {
  const kind = JSON.stringify(can);
  Deno.test(`connections of a host go, others stay: ${kind}`, () => {
    const flows = someFlows();
    const { conntrack, all } = fakeConntrack(flows, can);
    conntrack.deleteFlowsOf(mustIp("10.65.0.2"));
    assert.deepEqual(flows.map((f) => f.id), [20, 2, 10]);
    conntrack.deleteFlowsOf(mustIp("fd00::2"));
    assert.deepEqual(flows.map((f) => f.id), [20, 10]);
    conntrack.deleteFlowsOf(mustIp("10.65.0.99"));
    assert.deepEqual(flows.map((f) => f.id), [20, 10]);
    assert.equal(all(), 0);
  });

  Deno.test(`connections are listed by a selection: ${kind}`, () => {
    const { conntrack } = fakeConntrack(someFlows(), can);
    assert.equal(conntrack.flows(4).length, 4);
    assert.equal(conntrack.flows(6).length, 2);
    assert.deepEqual(conntrack.flows(6, { original: { source: mustIp("fd00::2") } }), [udp6Flow]);
    assert.deepEqual(
      conntrack.flows(4, { original: { destination: mustIp("10.96.0.1") } }).map((f) => f.id),
      [0x1234, 9],
    );
    assert.deepEqual(
      conntrack.flows(4, {
        original: { destination: mustIp("10.96.0.1"), protocol: 6, destinationPort: 443 },
      }).map((f) => f.id),
      [0x1234],
    );
  });
}

Deno.test("one connection is deleted by its tuple, and by its id alone if it is the one", () => {
  const flows = someFlows();
  const { conntrack } = fakeConntrack(flows, { filteredDelete: true, filteredDump: true });
  assert.equal(conntrack.deleteFlow({ ...tcpFlow, id: 77 }), false);
  assert.equal(flows.length, 6);
  assert.equal(conntrack.deleteFlow(tcpFlow), true);
  assert.equal(conntrack.deleteFlow(tcpFlow), false);
  assert.equal(conntrack.deleteTuple(icmpFlow.original), true);
  assert.equal(conntrack.deleteTuple(icmpFlow.original), false);
  assert.deepEqual(flows.map((f) => f.id), [20, 2, 9, 10]);
});

Deno.test("nothing that could delete every connection is ever sent", () => {
  const flows = someFlows();
  const { conntrack, kernel } = fakeConntrack(flows, { filteredDelete: true, filteredDump: true });
  for (
    const selection of [
      {},
      { original: {} },
      { original: { source: undefined }, reply: {} },
      { original: { protocol: 6 } },
      { original: { source: mustIp("10.0.0.1") }, reply: { source: mustIp("fd00::1") } },
    ]
  ) {
    assert.throws(() => conntrack.deleteFlows(selection), TypeError);
  }
  assert.throws(() => putSelection(new MessageEncoder(), {}), TypeError);
  assert.throws(
    () => putSelection(new MessageEncoder(), { original: { source: mustIp("fd00::1") } }),
    TypeError,
  );
  assert.throws(
    () => conntrack.deleteFlows({ original: { source: mustIp("10.0.0.1"), sourcePort: 1 } }),
    /needs one on the protocol/,
  );
  // The probe and what follows it carry a filter, too.
  for (const request of kernel.requests) {
    const attributes = new AttributeCursor(request.payload, 4);
    assert(attributes.next(), "a deletion without attributes was sent");
  }
  assert.equal(flows.length, 6);
});

Deno.test("another error than an old kernel's ends the attempt", () => {
  const kernel = fakeKernel(() => [{ error: 1 }]);
  const conntrack = new Conntrack(new Connection(kernel));
  assert.throws(
    () => conntrack.deleteFlowsOf(mustIp("10.0.0.1")),
    (error) => isKernelError(error, "EPERM"),
  );
  assert.equal(kernel.requests.length, 1);
});

Deno.test("what is read writes as it was", () => {
  for (const flow of [tcpFlow, udp6Flow, icmpFlow]) {
    const encoder = new MessageEncoder().begin(IPCTNL_MSG_CT_NEW, 0, 1);
    putDelete(encoder, flow);
    const message = new MessageCursor(encoder.end().finish());
    message.next();
    const read = getFlow(message);
    assert.deepEqual(read?.original, flow.original);
    assert.deepEqual(read?.reply, flow.reply);
    assert.equal(read?.id, flow.id);
  }
});
