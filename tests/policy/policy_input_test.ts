/**
 * Policy that is large, odd or taken away, with the real service on the real kernel: what it costs, that
 * it does what it says, and that one element more is one element more. Pods of one node, their packets.
 */
import assert from "node:assert/strict";
import { DatagramSocket } from "../../ffi/datagram.ts";
import { NftEvents } from "../../ffi/nft/events.ts";
import { openNftListener } from "../../ffi/nft/socket.ts";
import { netnsPath } from "../../mod/lab/cluster.ts";
import { globalNetworkSetKind } from "../../mod/model/network_set.ts";
import { resourceKey } from "../../mod/model/keys.ts";
import { mustIp } from "../../mod/net/mod.ts";
import type { Lab, RunningPod } from "../../mod/lab/lab.ts";
import { Pinger } from "../../mod/lab/probe.ts";
import type { PodRecord } from "../../mod/lab/record.ts";
import { askNode } from "../../mod/lab/cluster.ts";
import type { NodeStatus } from "../../mod/node/api.ts";
import {
  httpGet,
  Netns,
  pause,
  pod,
  podPings,
  tableParts,
  tool,
  until,
  withLab,
} from "../cluster/harness.ts";

const options = { sanitizeResources: false, sanitizeOps: false };

/** A policy in `default`. */
function kubernetes(name: string, app: string, ingress: unknown[]) {
  return JSON.stringify({
    apiVersion: "networking.k8s.io/v1",
    kind: "NetworkPolicy",
    metadata: { name, namespace: "default" },
    spec: { podSelector: { matchLabels: { app } }, policyTypes: ["Ingress"], ingress },
  });
}

function calico(kind: string, name: string, spec: unknown, labels = {}) {
  return JSON.stringify({
    apiVersion: "projectcalico.org/v3",
    kind,
    metadata: { name, labels },
    spec,
  });
}

/** Counts what the kernel tells of changes of the table `calico` while something happens. */
async function changesDuring(netns: string, happens: () => Promise<unknown>): Promise<number> {
  using inside = Netns.open(netnsPath(netns));
  const listener = openNftListener(inside);
  const events = new NftEvents(listener);
  try {
    await happens();
    let count = 0;
    events.drain(-1, {
      changed: (_family, table) => {
        if (table === "calico") count++;
      },
      committed: () => {},
      lost: () => count = Infinity,
    });
    return count;
  } finally {
    events.close();
  }
}

const words = (text: string) => text.split(/[\s,]+/).filter(Boolean).sort().join(" ");

Deno.test("large and odd policy", options, async (t) => {
  await withLab({ subnets: "1", mesh: false }, async (lab) => {
    const { namespace } = lab.node("node1");
    const [a] = await lab.run(pod("a"));
    const [b] = await lab.run(pod("b"));
    const to = b.addresses[0];
    const nft = (...args: string[]) => tool(namespace, "nft", ...args);
    const done = async (args: string[]) => {
      const { exit, stderr } = await lab.tortie(args);
      assert.equal(exit, 0, stderr);
    };
    const memory = async () =>
      (await askNode<NodeStatus>(lab.node("node1"), "node.status"))
        .memoryBytes / 1e6;
    const reaches = (yes: boolean, limit = 15_000) =>
      until(
        `a ${yes ? "reaches" : "does not reach"} b`,
        limit,
        async () => await podPings(a, to) === yes,
      );
    await reaches(true);

    await t.step("a selector that matches nothing admits nobody, until it matches", async () => {
      await lab.apply(
        kubernetes("odd", "b", [{ from: [{ podSelector: { matchLabels: { no: "body" } } }] }]),
      );
      await reaches(false);
      await done(["label", "pods", "a", "no=body"]);
      await reaches(true);
      await done(["label", "pods", "a", "--remove", "no"]);
      await reaches(false);
      await done(["delete", "knp", "odd"]);
    });

    await t.step(
      "prefixes that overlap are one set, and the narrow one outlives the wide",
      async () => {
        const admit = (...cidrs: string[]) =>
          lab.apply(
            calico("GlobalNetworkPolicy", "overlap", {
              selector: "app == 'b'",
              ingress: [{ action: "Allow", source: { selector: "net == 'overlap'" } }],
            }) + "\n---\n" +
              calico("GlobalNetworkSet", "overlap", { nets: cidrs }, { net: "overlap" }),
          );
        await admit("10.0.0.0/8", "10.244.0.0/16", `${a.addresses[0]}/32`, "10.244.0.0/16");
        await reaches(true);
        await admit("10.244.0.0/16", `${a.addresses[0]}/32`);
        await pause(300);
        assert.ok(await podPings(a, to));
        await admit(`${a.addresses[0]}/32`);
        await pause(300);
        assert.ok(await podPings(a, to));
        await admit("192.0.2.0/24");
        await reaches(false);
      },
    );

    await t.step(
      "100,000 addresses in one set: accepted, bounded, changed element by element",
      async () => {
        const PER = 25_000;
        const net = (i: number) => `11.${i >> 14}.${i >> 6 & 255}.${(i & 63) << 2}`;
        const object = (n: number, nets: string[]) =>
          JSON.parse(calico("GlobalNetworkSet", `big${n}`, { nets }, { net: "overlap" }));
        const put = (n: number, nets: string[]) =>
          lab.store.put(resourceKey(globalNetworkSetKind, `big${n}`), object(n, nets));
        // What does not fit into one object of the datastore is refused in words.
        const tooMany = Array.from({ length: 120_000 }, (_, i) => `${net(i)}/32`);
        await assert.rejects(put(0, tooMany), /at most \d+ can be stored/);
        const before = await memory();
        const parts = Array.from(
          { length: 4 },
          (_, n) => Array.from({ length: PER }, (_, i) => `${net(n * PER + i)}/30`),
        );
        const began = performance.now();
        for (const [n, nets] of parts.entries()) {
          await put(n, nets);
        }
        const [, set] = /set (cali40s-\S+) \{[^}]*192\.0\.2\.0\/24/.exec(
          (await nft("list", "sets", "ip")).replace(
            /elements = \{ 11[^}]*/g,
            "elements = { 192.0.2.0/24",
          ),
        ) ?? [];
        assert.ok(set);
        const has = async (address: string) => {
          await nft("get", "element", "ip", "calico", set, `{ ${address} }`);
          return true;
        };
        await until("the last of them is in the kernel", 120_000, () => has(net(4 * PER - 1)));
        await has(net(0));
        const took = performance.now() - began;
        assert.equal((await httpGet(namespace, 9099, "/liveness")).status, 200);
        // One element goes, one comes: so many messages, whatever the set's size.
        const changes = await changesDuring(namespace, async () => {
          await put(3, [...parts[3].slice(1), `${a.addresses[0]}/32`]);
          await reaches(true);
        });
        await assert.rejects(has(net(3 * PER)));
        assert.ok(changes > 0 && changes <= 8, `${changes} changed objects were told of`);
        const more = await memory() - before;
        assert.ok(more < 400, `${more} MB more`);
        console.log(
          `  100,000 prefixes: ${took.toFixed(0)} ms to the kernel, ${
            more.toFixed(0)
          } MB more memory`,
        );
        for (const n of parts.keys()) await done(["delete", "globalnetworkset", `big${n}`]);
        await reaches(false, 30_000);
        await done(["delete", "gnp", "overlap"]);
        await reaches(true);
      },
    );

    await t.step("1,000 policies for one pod", async () => {
      const apply = (count: number, last: unknown[]) =>
        lab.apply(
          Array.from({ length: count }, (_, i) =>
            kubernetes(
              `many${i}`,
              "b",
              i < count - 1
                ? [{ from: [{ ipBlock: { cidr: `192.0.${i >> 8}.${i & 255}/32` } }] }]
                : last,
            )).join("\n---\n"),
        );
      await apply(1000, [{ from: [{ podSelector: { matchLabels: { app: "a" } } }] }]);
      await reaches(true, 60_000);
      await until(
        "all are there",
        60_000,
        async () =>
          (await nft("list", "table", "ip", "calico")).match(
            /chain filter-cali-pi-knp\/default\/many/g,
          )?.length === 1000,
      );
      await lab.apply(kubernetes("many999", "b", []));
      await reaches(false);
      await done(["delete", "knp", ...Array.from({ length: 1000 }, (_, i) => `many${i}`)]);
      await reaches(true, 60_000);
    });

    await t.step(
      "policies of 3,000 rules, Calico's and Kubernetes', the last counts",
      async () => {
        const rules = (count: number, last: string) => [
          ...Array.from({ length: count - 1 }, (_, i) => ({
            action: "Deny",
            protocol: "TCP",
            destination: { ports: [i + 1] },
          })),
          { action: last },
        ];
        const long = (count: number, last: string) =>
          calico("GlobalNetworkPolicy", "long", {
            selector: "app == 'b'",
            ingress: rules(count, last),
          });
        await lab.apply(long(3000, "Deny"));
        await reaches(false, 30_000);
        await lab.apply(long(3000, "Allow"));
        await reaches(true, 30_000);
        await done(["delete", "gnp", "long"]);
        const blocks = (last: string) =>
          Array.from({ length: 3000 }, (_, i) => ({
            from: [{ ipBlock: { cidr: i < 2999 ? `192.${i >> 8}.${i & 255}.0/24` : last } }],
          }));
        await lab.apply(kubernetes("long", "b", blocks("198.51.100.0/24")));
        await reaches(false, 30_000);
        await lab.apply(kubernetes("long", "b", blocks(`${a.addresses[0]}/32`)));
        await reaches(true, 30_000);
        await done(["delete", "knp", "long"]);
      },
    );

    await t.step("names of 253 characters, two alike but for the last", async () => {
      const name = (end: string) => `${"long-name-".repeat(25)}${end}`.padEnd(253, "x");
      const namespaceName = "n".repeat(63);
      await lab.apply(
        JSON.stringify({ apiVersion: "v1", kind: "Namespace", metadata: { name: namespaceName } }),
      );
      await lab.apply(
        [["1", "Deny"], ["2", "Allow"]].map(([end, action], order) =>
          calico("GlobalNetworkPolicy", name(end), {
            order,
            selector: "app == 'b'",
            ingress: [{ action, source: { selector: "app == 'a'" } }],
          })
        ).join("\n---\n"),
      );
      await reaches(false);
      await done(["delete", "gnp", name("1")]);
      await reaches(true);
      await done(["delete", "gnp", name("2")]);
      await until(
        "nothing of it is left",
        5000,
        async () => !(await nft("list", "table", "ip", "calico")).includes("long-name"),
      );
    });
    const status = await askNode<NodeStatus>(lab.node("node1"), "node.status");
    assert.deepEqual([status.errors, status.warnings], [[], []]);
  });
});

/** Datagrams from one pod to another, all the time; when those that came through did. */
async function throughDuring(from: PodRecord, to: RunningPod, happens: () => Promise<void>) {
  using sender = Netns.open(netnsPath(from.netns));
  using receiver = Netns.open(netnsPath(to.netns));
  const at: number[] = [];
  const local = { ip: mustIp("0.0.0.0"), port: 7777 };
  const ear = new DatagramSocket(
    { family: 4, netns: receiver, local },
    () => at.push(performance.now()),
  );
  const mouth = new DatagramSocket({ family: 4, netns: sender }, () => {});
  const target = mustIp(to.addresses[0]);
  let sent = 0;
  const sending = setInterval(() => {
    for (let i = 0; i < 5; i++) if (mouth.send(target, 7777, new Uint8Array(32))) sent++;
  }, 1);
  try {
    await happens();
  } finally {
    clearInterval(sending);
    await pause(50);
    ear.close();
    mouth.close();
  }
  return { sent, at };
}

/** Three pods, of which `b` admits `c` alone; `a` is refused. */
async function threePods(lab: Lab) {
  const { namespace } = lab.node("node1");
  const [a] = await lab.run(pod("a"));
  const [b] = await lab.run(pod("b"));
  const [c] = await lab.run(pod("c"));
  await lab.apply(
    kubernetes("b", "b", [{ from: [{ podSelector: { matchLabels: { app: "c" } } }] }]),
  );
  await until("a does not reach b", 5000, async () => !await podPings(a, b.addresses[0]));
  return { namespace, a, b, c };
}

Deno.test(
  "what others do to our table is mended, and opens as little as can be",
  options,
  async (t) => {
    await withLab({ subnets: "1", mesh: false }, async (lab: Lab) => {
      const { namespace, a, b, c } = await threePods(lab);
      const nft = (script: string) => tool(namespace, "nft", script);
      await nft(
        'add table ip other; add chain ip other c { type filter hook forward priority 10; }; add rule ip other c counter accept comment "theirs"',
      );
      const ours = async () =>
        words(await tool(namespace, "nft", "-s", "list", "table", "ip", "calico"));
      const theirs = () => tool(namespace, "nft", "-s", "list", "table", "ip", "other");
      const whole = await ours(), other = await theirs();
      const [, set] = /set (cali40s-\S+)/.exec(await nft("list sets ip"))!;
      const map = (way: string) => `filter-cali-${way}-wl-dispatch`;

      // Of these nothing opens: what is missing is a way that policy admits, not what it denies.
      const closed: Record<string, string> = {
        "the verdicts of all interfaces deleted": `flush map ip calico ${
          map("to")
        }; flush map ip calico ${map("from")}`,
        "the members of a set deleted": `flush set ip calico ${set}`,
        "members added to a map": `add element ip calico ${map("to")} { "calinobody" : drop }`,
        "a chain and a set of somebody":
          "add chain ip calico strange; add rule ip calico strange accept; add set ip calico strange { type ipv4_addr; }",
      };
      for (const [what, script] of Object.entries(closed)) {
        await t.step(`${what}: mended within 2 s, closed all the time`, async () => {
          const { sent, at } = await throughDuring(a, b, async () => {
            await nft(script);
            await until(`${what}: as before`, 2000, async () => await ours() === whole);
          });
          assert.deepEqual(at, [], `of ${sent}`);
          assert.ok(sent > 20);
          await until("c reaches b", 2000, () => podPings(c, b.addresses[0]));
          assert.equal(await theirs(), other);
        });
      }

      // Nobody can keep a table from being open that root has opened or deleted: until the kernel tells
      // of it and our one transaction is in. How long that is, is measured.
      const open: Record<string, string | (() => Promise<string>)> = {
        "the table deleted": "delete table ip calico",
        "a deny made an accept under its own comment": async () => {
          const listed = await tool(namespace, "nft", "-a", "list", "table", "ip", "calico");
          const chain = listed.split(/\n\tchain /).find((text) =>
            text.startsWith("filter-cali-tw-") && text.includes(" drop comment ")
          )!;
          const name = chain.slice(0, chain.indexOf(" "));
          return chain.split("\n").map((line) =>
            /^(.*) drop (comment .*) # handle (\d+)$/.exec(line)
          )
            .filter((found) => found !== null)
            .map(([, match, comment, handle]) =>
              `replace rule ip calico ${name} handle ${handle} ${match} accept ${comment}`
            ).join("; ");
        },
        "the whole ruleset flushed": "flush ruleset",
        "an accept before ours": "insert rule ip calico filter-FORWARD accept",
      };
      for (const [what, script] of Object.entries(open)) {
        await t.step(`${what}: closed again within 2 s`, async () => {
          // Who undoes our work again and again is met ever more slowly: these are single blows.
          await pause(2100);
          let began = 0, mended = 0;
          const { sent, at } = await throughDuring(a, b, async () => {
            await pause(100);
            const line = typeof script === "string" ? script : await script();
            began = performance.now();
            await nft(line);
            await until(`${what}: as before`, 2000, async () => await ours() === whole);
            mended = performance.now();
            await pause(200);
          });
          assert.ok(at.every((time) => time >= began && time <= mended), "open only in between");
          const [first = 0] = at, last = at.at(-1) ?? 0;
          console.log(
            `  ${what}: open for ${(last - first).toFixed(1)} ms (${at.length} of ${sent} passed)`,
          );
          assert.ok(await podPings(c, b.addresses[0]));
          if (what.includes("whole")) {
            await assert.rejects(theirs(), "theirs is not ours to mend");
            await nft(
              'add table ip other; add chain ip other c { type filter hook forward priority 10; }; add rule ip other c counter accept comment "theirs"',
            );
          }
          assert.equal(await theirs(), other);
        });
      }

      const { directory } = lab.node("node1");
      const logged = async (message: string) =>
        (await Deno.readTextFile(`${directory}/node.log`)).split("\n").filter((line) =>
          line.includes(message)
        );
      const status = () => askNode<NodeStatus>(lab.node("node1"), "node.status");

      await t.step(
        "who did all this is in the log, a line a burst, and in the status",
        async () => {
          // What is touched while a line is not due is told with the next one.
          const told = () => logged("another program changed our nf_tables");
          const before = (await told()).length, began = performance.now();
          assert.ok(before >= 1, "the first touch has its line at once");
          for (let i = 0; i < 20; i++) await nft("add chain ip calico strange");
          await until("a line more", 15_000, async () => (await told()).length > before);
          const lines = await told();
          // At most one each ten seconds, however long a loaded machine takes for this.
          const most = 2 + Math.floor((performance.now() - began) / 10_000);
          assert.ok(lines.length - before <= most, `${lines.length - before} lines for 20 touches`);
          for (const line of lines) assert.equal(JSON.parse(line).program, "nft");
          assert.match(lines.at(-1)!, /"tables":"ip calico"/);
          const { warnings } = await status();
          assert.ok(warnings.some((w) => /^nft changed our nf_tables \(.*ip calico/.test(w)));
          const { status: code, body } = await httpGet(namespace, 9099, "/readiness");
          assert.equal(code, 200);
          assert.match(body, /^ready\nwarning: .*nft changed our nf_tables/s);
          await until("as before", 5000, async () => await ours() === whole);
        },
      );

      await t.step(
        "a table that another program owns makes the node unready until it is ours again",
        async () => {
          const owner = new Deno.Command("ip", {
            args: ["netns", "exec", namespace, "nft", "-i"],
            stdin: "piped",
            stdout: "null",
            stderr: "null",
          }).spawn();
          const input = owner.stdin.getWriter();
          const readiness = () => httpGet(namespace, 9099, "/readiness");
          const reason =
            /nf_tables are not as policy wants them for \d+ s after nft changed them: table ip calico belongs to another program \(flags owner/;
          try {
            const script = "delete table ip calico; add table ip calico { flags owner; }\n";
            await input.write(new TextEncoder().encode(script));
            await until("unready", 20_000, async () => (await readiness()).status === 503);
            assert.match((await readiness()).body, reason);
            const { ready, errors } = await status();
            assert.equal(ready, false);
            assert.ok(errors.some((error) => reason.test(error)), errors.join("\n"));
            assert.equal((await logged("our nf_tables cannot be brought up to date")).length, 1);
          } finally {
            await input.close();
            await owner.status;
          }
          await until("taken back", 10_000, async () => await ours().catch(() => "") === whole);
          await until("ready", 5000, async () => (await readiness()).status === 200);
          assert.equal((await logged("our nf_tables are as they should be again")).length, 1);
          assert.equal(await podPings(a, b.addresses[0]), false);
          assert.ok(await podPings(c, b.addresses[0]));
        },
      );
    });
  },
);

/** How long datagrams came through in a row without a pause of so many milliseconds, in all. */
function openFor(at: readonly number[], gap = 100): number {
  let sum = 0;
  for (let i = 1; i < at.length; i++) if (at[i] - at[i - 1] < gap) sum += at[i] - at[i - 1];
  return sum;
}

Deno.test(
  "a table that takes seconds to make again, and one that is deleted again and again, is soon closed",
  options,
  async (t) => {
    await withLab({ subnets: "1", mesh: false }, async (lab: Lab) => {
      const { namespace, a, b, c } = await threePods(lab);
      const deleteTable = () => tool(namespace, "nft", "delete", "table", "ip", "calico");
      const listing = async () =>
        tableParts(await tool(namespace, "nft", "-t", "-s", "list", "table", "ip", "calico"));
      const elements = async () =>
        (await tool(namespace, "nft", "list", "table", "ip", "calico"))
          .match(/\b11\.\d+\.\d+\.\d+\/30/g)?.length;
      /** How long the node was open, and how long it took until all was there again. */
      const blow = async (limit: number) => {
        const whole = await listing();
        let took = 0;
        const { sent, at } = await throughDuring(a, b, async () => {
          await pause(50);
          const began = performance.now();
          await deleteTable();
          await until("as before", limit, async () => await listing() === whole);
          took = performance.now() - began;
          await pause(100);
        });
        assert.ok(sent > 20);
        return { open: openFor(at), took };
      };
      const small: number[] = [];
      for (let i = 0; i < 3; i++) {
        await pause(2100);
        small.push((await blow(10_000)).open);
      }
      // What a small table needs on this machine now is all that is forgiven, with a margin.
      const bound = 100 + 3 * Math.max(...small);

      await t.step(
        "deleted every 1.3 s: each time closed at once, the whole comes later",
        async () => {
          const opened: number[] = [];
          for (let i = 0; i < 8; i++) {
            const { at } = await throughDuring(a, b, async () => {
              await deleteTable();
              await pause(1300);
            });
            opened.push(openFor(at));
          }
          console.log(
            `  open for ${opened.map((ms) => ms.toFixed(0)).join(", ")} ms; single blows: ${
              small.map((ms) => ms.toFixed(0)).join(", ")
            } ms`,
          );
          assert.ok(opened.every((ms) => ms < bound), `${opened} of ${bound} ms`);
          await until("c reaches b", 10_000, () => podPings(c, b.addresses[0]));
          assert.ok(!await podPings(a, b.addresses[0]));
        },
      );

      await t.step(
        "with 100,000 addresses: closed long before it is whole; what lives lives",
        async () => {
          const net = (i: number) => `11.${i >> 14}.${i >> 6 & 255}.${(i & 63) << 2}/30`;
          for (let n = 0; n < 4; n++) {
            const nets = Array.from({ length: 25_000 }, (_, i) => net(n * 25_000 + i));
            await lab.store.put(
              resourceKey(globalNetworkSetKind, `big${n}`),
              JSON.parse(calico("GlobalNetworkSet", `big${n}`, { nets }, { net: "big" })),
            );
          }
          await lab.apply(calico("GlobalNetworkPolicy", "big", {
            selector: "app == 'b'",
            order: 1,
            ingress: [{ action: "Allow", source: { selector: "net == 'big'" } }],
          }));
          await until("all are there", 120_000, async () => {
            await pause(1000); // a list of all of them is work
            return await elements() === 100_000;
          });
          await until("c reaches b", 10_000, () => podPings(c, b.addresses[0]));
          await pause(2100);
          // What lives, lives on: echo requests of one identifier are a connection.
          using inside = Netns.open(netnsPath(c.netns));
          const living = new Pinger(mustIp(b.addresses[0]), inside);
          living.start(20);
          await pause(200);
          const { open, took } = await blow(120_000);
          const { sent, lost } = await living.stop(5000);
          console.log(`  open for ${open.toFixed(0)} ms, whole again after ${took.toFixed(0)} ms`);
          assert.ok(open < bound, `open for ${open} ms; a small table: ${small} ms`);
          assert.deepEqual(lost, [], `of ${sent} packets of a live connection`);
          assert.equal(await elements(), 100_000);
          assert.ok(await podPings(c, b.addresses[0]));
          assert.ok(!await podPings(a, b.addresses[0]));
        },
      );

      for (const [every, count] of [[1000, 5], [500, 10]]) {
        await t.step(
          `with 100,000 addresses, deleted ${count} times, every ${every} ms: closed each time`,
          async () => {
            const round = async () => {
              let blows = 0;
              const { sent, at } = await throughDuring(a, b, async () => {
                for (let i = 0; i < count; i++) {
                  // There is none to delete while the last blow is not yet answered.
                  await deleteTable().then(() => blows++, () => {});
                  await pause(every);
                }
              });
              const open = openFor(at);
              console.log(`  open for ${open.toFixed(0)} ms after ${blows} deletions`);
              assert.ok(sent > 20);
              assert.ok(blows >= count / 2, `${blows} of ${count} found a table to delete`);
              return { open, bound: blows * bound };
            };
            // What else the machine does in these seconds is not ours: one round of three must be right.
            const rounds = [];
            do rounds.push(await round()); while (
              rounds.length < 3 && rounds.at(-1)!.open >= rounds.at(-1)!.bound
            );
            const { open, bound: most } = rounds.at(-1)!;
            assert.ok(open < most, `open for ${open} ms; a small table: ${small} ms`);
          },
        );
      }
      await t.step("the whole comes when it is over", async () => {
        await until("all are there", 60_000, async () => {
          await pause(1000);
          return await elements() === 100_000;
        });
        await until("c reaches b", 10_000, () => podPings(c, b.addresses[0]));
        assert.ok(!await podPings(a, b.addresses[0]));
      });
    });
  },
);

/** Sends something to whoever has connected, all the time: the server speaks, the client listens. */
const STREAM = `
const server = Deno.listen({ port: 7000 });
console.log("listening");
for await (const connection of server) {
  (async () => {
    const bytes = new Uint8Array(100);
    try {
      for (;;) {
        await connection.write(bytes);
        await new Promise((resolve) => setTimeout(resolve, 20));
      }
    } catch { /* cut */ }
  })();
}`;

/**
 * Connects all the time until a line is read; then says how many connections there were, and how many
 * still bring something \`Deno.args[1]\` ms later.
 */
const LISTEN = `
const live = new Set();
let opened = 0, over = false;
const attempt = async () => {
  const signal = AbortSignal.timeout(100);
  const connection = await Deno.connect({ hostname: Deno.args[0], port: 7000, signal });
  opened++;
  const entry = { last: performance.now() };
  live.add(entry);
  const buffer = new Uint8Array(1000);
  while (await connection.read(buffer)) entry.last = performance.now();
};
const connecting = (async () => {
  while (!over) {
    attempt().catch(() => {});
    await new Promise((resolve) => setTimeout(resolve, 2));
  }
})();
await Deno.stdin.read(new Uint8Array(1));
over = true;
await connecting;
await new Promise((resolve) => setTimeout(resolve, Number(Deno.args[1])));
const now = performance.now();
const streaming = [...live].filter(({ last }) => now - last < 1000).length;
console.log(JSON.stringify({ opened, streaming }));
Deno.exit(0);`;

Deno.test(
  "what begins while our table is away, and policy denies, is cut, whoever speaks first",
  options,
  async () => {
    await withLab({ subnets: "1", mesh: false }, async (lab: Lab) => {
      const { namespace } = lab.node("node1");
      const [a] = await lab.run(pod("a"));
      const [b] = await lab.run(pod("b"));
      await lab.apply(kubernetes("b", "b", []));
      await until("a does not reach b", 5000, async () => !await podPings(a, b.addresses[0]));
      const script = async (name: string, text: string) => {
        const path = `${lab.record.layout.directory}/${name}.js`;
        await Deno.writeTextFile(path, text);
        return path;
      };
      const inPod = (netns: string, ...args: string[]) =>
        new Deno.Command("ip", {
          args: ["netns", "exec", netns, Deno.execPath(), "run", "--no-config", "-A", ...args],
          stdin: "piped",
          stdout: "piped",
          stderr: "null",
        }).spawn();
      const server = inPod(b.netns, await script("stream", STREAM));
      const client = inPod(a.netns, await script("listen", LISTEN), b.addresses[0], "5000");
      try {
        const said = server.stdout.getReader();
        assert.ok((await said.read()).value);
        said.releaseLock();
        const rounds = Number(Deno.env.get("TORTIE_ROUNDS") ?? 8);
        for (let round = 0; round < rounds; round++) {
          await pause(1200);
          await tool(namespace, "nft", "delete", "table", "ip", "calico");
        }
        await pause(300);
        const writer = client.stdin.getWriter();
        await writer.write(new TextEncoder().encode("\n"));
        writer.releaseLock();
        const { opened, streaming } = JSON.parse(await new Response(client.stdout).text());
        console.log(`  ${opened} connections in ${rounds} gaps, ${streaming} live on`);
        assert.ok(opened > 0, "the table was never away");
        assert.equal(streaming, 0, `of ${opened}`);
      } finally {
        for (const process of [server, client]) {
          try {
            process.kill("SIGKILL");
          } catch { /* it has ended */ }
          await process.status;
        }
      }
    });
  },
);
