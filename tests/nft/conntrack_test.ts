/** Tracked connections of the real kernel, made and read back with conntrack(8). Needs root. */
import assert from "node:assert/strict";
import { Conntrack, type Flow, openConntrack } from "../../ffi/conntrack.ts";
import { isKernelError } from "../../ffi/errors.ts";
import { ipKey, mustIp } from "../../mod/net/mod.ts";
import { inScratch, type Scratch } from "./scratch.ts";

async function withConntrack(
  test: (conntrack: Conntrack, scratch: Scratch, list: () => Promise<string[]>) => Promise<void>,
): Promise<void> {
  await inScratch(async (scratch) => {
    const conntrack = openConntrack(scratch.netns);
    const list = async () => {
      const text = await scratch.sh("conntrack -L 2>/dev/null");
      return text.split("\n").filter((line) => line !== "")
        .map((line) => /src=(\S+) dst=(\S+)/.exec(line)!.slice(1).join(" ")).sort();
    };
    try {
      // conntrack(8) can only add where tracking is on: a rule that asks for it switches it on.
      await scratch.nft(
        "table ip t { chain c { type filter hook input priority 0; ct state new accept; }; }\n" +
          "table ip6 t { chain c { type filter hook input priority 0; ct state new accept; }; }",
      );
      await test(conntrack, scratch, list);
    } finally {
      conntrack.close();
    }
  });
}

async function fill(scratch: Scratch): Promise<void> {
  const add = (what: string) => scratch.sh(`conntrack -I -t 300 ${what}`);
  const tcp = "-p tcp --state ESTABLISHED -u ASSURED";
  await add(`${tcp} -s 10.65.0.2 -d 10.96.0.1 --sport 40000 --dport 443`);
  await add(`${tcp} -s 10.65.0.2 -d 10.96.0.2 --sport 40001 --dport 443`);
  await add("-p udp -u SEEN_REPLY -s 10.65.0.7 -d 10.65.0.2 --sport 5000 --dport 53");
  // To a service's address, answered by the pod.
  await add(
    `${tcp} -s 10.9.0.9 -d 10.96.0.9 --sport 5001 --dport 80 ` +
      "-r 10.65.0.2 -q 10.9.0.9 --reply-port-src 8080 --reply-port-dst 5001",
  );
  await add(`${tcp} -s 10.9.0.9 -d 10.65.0.7 --sport 5002 --dport 80`);
  await add("-p icmp -s 10.9.0.9 -d 10.65.0.7 --icmp-type 8 --icmp-code 0 --icmp-id 7");
  await add(`${tcp} -s fd00::2 -d fd00::9 --sport 40000 --dport 443`);
  await add(`${tcp} -s fd00::3 -d fd00::9 --sport 40000 --dport 443`);
}

Deno.test("connections are listed as conntrack made them", async () => {
  await withConntrack(async (conntrack, scratch, list) => {
    await fill(scratch);
    const flows = [...conntrack.flows(4), ...conntrack.flows(6)];
    assert.equal(flows.length, 8);
    const [flow] = conntrack.flows(4, {
      original: { destination: mustIp("10.96.0.1"), protocol: 6, destinationPort: 443 },
    });
    assert.deepEqual({ ...flow, id: 0, timeout: 0 }, {
      original: {
        source: mustIp("10.65.0.2"),
        destination: mustIp("10.96.0.1"),
        protocol: 6,
        sourcePort: 40000,
        destinationPort: 443,
        icmp: undefined,
      },
      reply: {
        source: mustIp("10.96.0.1"),
        destination: mustIp("10.65.0.2"),
        protocol: 6,
        sourcePort: 443,
        destinationPort: 40000,
        icmp: undefined,
      },
      status: 12,
      timeout: 0,
      mark: 0,
      zone: 0,
      id: 0,
      tcpState: 3,
    });
    const ping = conntrack.flows(4).find((f) => f.original.protocol === 1)!;
    assert.deepEqual(ping.original.icmp, { id: 7, type: 8, code: 0 });
    assert.equal((await list()).length, 8);
  });
});

Deno.test("what a host opened and what was opened to it goes, nothing else", async () => {
  await withConntrack(async (conntrack, scratch, list) => {
    await fill(scratch);
    conntrack.deleteFlowsOf(mustIp("10.65.0.2"));
    assert.deepEqual(
      await list(),
      [
        "10.9.0.9 10.65.0.7",
        "10.9.0.9 10.65.0.7",
        "fd00::2 fd00::9",
        "fd00::3 fd00::9",
      ].sort(),
    );
    conntrack.deleteFlowsOf(mustIp("fd00::2"));
    conntrack.deleteFlowsOf(mustIp("10.1.1.1"));
    assert.deepEqual(await list(), [
      "10.9.0.9 10.65.0.7",
      "10.9.0.9 10.65.0.7",
      "fd00::3 fd00::9",
    ]);
  });
});

Deno.test("a selection of ports goes, one connection goes, one that is gone is no error", async () => {
  await withConntrack(async (conntrack, scratch, list) => {
    await fill(scratch);
    conntrack.deleteFlows({
      original: { source: mustIp("10.65.0.2"), protocol: 6, sourcePort: 40001 },
    });
    assert(!(await list()).includes("10.65.0.2 10.96.0.2"));
    const udp = conntrack.flows(4).find((f: Flow) => f.original.protocol === 17)!;
    assert.equal(conntrack.deleteFlow({ ...udp, id: udp.id ^ 1 }), false);
    assert.equal(conntrack.deleteFlow(udp), true);
    assert.equal(conntrack.deleteFlow(udp), false);
    const ping = conntrack.flows(4).find((f: Flow) => f.original.protocol === 1)!;
    assert.equal(conntrack.deleteTuple(ping.original), true);
    assert.equal(conntrack.deleteTuple(ping.original), false);
    assert.equal((await list()).length, 5);
  });
});

Deno.test("a connection that we make is one that conntrack lists", async () => {
  await withConntrack(async (conntrack, scratch) => {
    const ends = { source: mustIp("10.0.0.1"), destination: mustIp("10.0.0.2"), protocol: 6 };
    const flow = {
      original: { ...ends, sourcePort: 1000, destinationPort: 80 },
      reply: {
        protocol: 6,
        source: ends.destination,
        destination: ends.source,
        sourcePort: 80,
        destinationPort: 1000,
      },
      status: 12,
      timeout: 200,
      tcpState: 3,
    };
    conntrack.create(flow);
    const text = await scratch.sh("conntrack -L 2>/dev/null");
    assert.match(
      text,
      /tcp +6 +(200|199) ESTABLISHED src=10.0.0.1 dst=10.0.0.2 sport=1000 dport=80 .*\[ASSURED\]/,
    );
    assert.throws(() => conntrack.create(flow), (error) => isKernelError(error, "EEXIST"));
  });
});

Deno.test("bits of marks are set and taken back, and connections forgotten, by the hundred", async () => {
  await withConntrack(async (conntrack, _scratch, list) => {
    for (let i = 0; i < 1200; i++) {
      const [source, destination] = i % 2 ? ["10.65.0.2", "10.0.0.9"] : ["fd00::2", "fd00::9"];
      const ends = { source: mustIp(source), destination: mustIp(destination), protocol: 17 };
      const [sourcePort, destinationPort] = [1000 + i, 53];
      conntrack.create({
        original: { ...ends, sourcePort, destinationPort },
        reply: {
          protocol: 17,
          source: ends.destination,
          destination: ends.source,
          sourcePort: destinationPort,
          destinationPort: sourcePort,
        },
        status: 0,
        timeout: 200,
      });
    }
    const visited = async (family: 4 | 6 | undefined, addresses: string[]) => {
      const flows: Flow[] = [];
      let pauses = 0;
      const among = new Set(addresses.map((a) => ipKey(mustIp(a))));
      await conntrack.visitFlows({ family, among }, (some) => flows.push(...some), () => {
        pauses++;
      });
      assert(pauses > 1);
      return flows;
    };
    const four = await visited(4, ["10.65.0.2"]);
    assert.equal(four.length, 600);
    assert.equal(await conntrack.count(), 1200);
    assert.equal((await visited(undefined, ["10.65.0.2", "fd00::2"])).length, 1200);
    assert.equal((await visited(undefined, ["fd00::9"])).length, 600);
    conntrack.setMarks(four, 5, 0xffffffff);
    assert.equal(conntrack.setMarks(four, 0x100000, 0x100000), 600);
    assert.deepEqual(new Set(conntrack.flows(4).map((f) => f.mark)), new Set([0x100005]));
    assert.deepEqual(new Set(conntrack.flows(6).map((f) => f.mark)), new Set([0]));
    assert.equal(conntrack.setMarks(four, 0, 0x100000), 600);
    assert.deepEqual(new Set(conntrack.flows(4).map((f) => f.mark)), new Set([5]));
    // The server's side of the answers counts as well; nobody else's address does.
    const six = await visited(6, ["fd00::9"]);
    assert.equal(six.length, 600);
    assert.deepEqual(await visited(6, ["fd00::7", "10.65.0.2"]), []);
    // One host of IPv6 and no other's.
    assert.equal(conntrack.forget(six.slice(0, 550)), 550);
    assert.equal(conntrack.forget(six), 50);
    assert.equal(conntrack.setMarks(six, 0x100000, 0x100000), 0);
    assert.deepEqual(new Set(await list()), new Set(["10.65.0.2 10.0.0.9"]));
    assert.equal((await list()).length, 600);
    assert.equal(await conntrack.count(), 600);
  });
});
