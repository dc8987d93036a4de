import assert from "node:assert/strict";
import { formatMark } from "../../cni/mark.ts";
import type { Link } from "../../ffi/route/link.ts";
import type { WorkloadEndpoint } from "../model/workload_endpoint.ts";
import { mustIp } from "../net/mod.ts";
import { ManualClock } from "../store/testing.ts";
import { UnroutedHolders, type UnroutedHoldersParts } from "./unrouted_holders.ts";

interface Fake {
  name: string;
  /** Of the mark "in use", or the whole alias. */
  container?: string;
  alias?: string;
  beyond: string[];
  more?: Partial<Link>;
}

class Host {
  links: Link[] = [];
  readonly beyond = new Map<string, string[]>();
  readonly endpoints = new Map<string, WorkloadEndpoint>();
  readonly said: string[] = [];
  readonly clock = new ManualClock();
  /** Names of interfaces beyond which was looked. */
  looks: string[] = [];
  /** Interfaces that have gone, and nobody has said it yet. */
  readonly gone = new Set<number>();
  epoch = 0;
  /** Milliseconds after which it wants to be called again. */
  again: number | undefined;
  readonly holders: UnroutedHolders;

  constructor(patience = 0, record?: UnroutedHoldersParts["record"]) {
    this.holders = new UnroutedHolders({
      links: () => this.links,
      now: (index) => this.gone.has(index) ? undefined : this.links.find((l) => l.index === index),
      beyond: (link) => {
        this.looks.push(link.name);
        return this.beyond.get(link.name)!.map(mustIp);
      },
      endpoints: this.endpoints,
      clock: this.clock,
      patience,
      prefixes: ["cali"],
      epoch: () => this.epoch,
      again: (milliseconds) => this.again = milliseconds,
      record,
      log: { warn: (_: string, f: unknown) => this.said.push(JSON.stringify(f)) } as any,
    });
  }

  link({ name, container, alias, beyond, more }: Fake): Link {
    const link = {
      index: 10 + this.links.length,
      name,
      kind: "veth",
      linkIndex: 2,
      linkNetnsId: this.links.length,
      up: true,
      alias: container
        ? formatMark({ state: "in use", containerId: container, ifname: "eth0" })
        : alias,
      ...more,
    } as Link;
    this.links.push(link);
    this.beyond.set(name, beyond);
    return link;
  }

  endpoint(interfaceName: string, containerID: string | undefined, ipNetworks = ["10.0.0.1/32"]) {
    const spec = { interfaceName, containerID, ipNetworks };
    this.endpoints.set(interfaceName, { metadata: { name: interfaceName }, spec } as any);
  }

  who = (ip: string) => this.holders.holderOf(mustIp(ip))?.name;
}

Deno.test("as long as every pod has its endpoint nothing is looked at, and nothing said", () => {
  const host = new Host();
  host.link({ name: "cali1", container: "c1", beyond: ["10.0.0.1"] });
  host.endpoint("cali1", "c1");
  // Made by Calico, without a mark; an uplink; what stands on no pair; what is being made.
  host.link({ name: "cali2", beyond: ["10.0.0.2"] });
  host.endpoint("cali2", "c2", ["10.0.0.2/32"]);
  host.link({
    name: "eth0",
    beyond: ["10.0.0.3"],
    more: { kind: undefined, linkNetnsId: undefined },
  });
  host.link({ name: "wire", beyond: ["10.0.0.4"], more: { linkNetnsId: undefined } });
  host.link({ name: "cali3", alias: "tortie adding c3/eth0", beyond: ["10.0.0.5"] });
  host.holders.tell();
  for (let i = 1; i < 6; i++) assert.equal(host.who(`10.0.0.${i}`), undefined);
  // Whether it is of this life of its pod an interface of Calico's does not say: that is looked at once.
  assert.deepEqual([host.looks, host.said], [["cali2"], []]);
});

Deno.test("a pod that has lost its endpoint holds what is beyond its interface, until that goes", () => {
  const host = new Host();
  const link = host.link({
    name: "cali1",
    container: "c1",
    beyond: ["fe80::1", "10.0.0.1", "fd00::1"],
  });
  assert.equal(host.who("10.0.0.1"), "cali1");
  assert.equal(host.who("fd00::1"), "cali1");
  assert.equal(host.who("fe80::1"), undefined);
  for (let i = 2; i < 9; i++) assert.equal(host.who(`10.0.0.${i}`), undefined);
  assert.equal(host.holders.holderOf(mustIp("10.0.0.1"))?.alias, link.alias);
  host.gone.add(link.index);
  assert.equal(host.who("10.0.0.1"), undefined, "gone, though nobody has said it yet");
});

Deno.test("an endpoint that speaks of another container, or was denied its addresses, is none of a pod's", () => {
  const host = new Host();
  host.link({ name: "cali1", container: "new", beyond: ["10.0.0.1"] });
  host.endpoint("cali1", "old", ["10.0.0.9/32"]);
  host.link({ name: "cali2", container: "c2", beyond: ["10.0.0.2"] });
  host.endpoint("cali2", "c2", []);
  assert.equal(host.who("10.0.0.1"), "cali1");
  assert.equal(host.who("10.0.0.2"), "cali2");
});

Deno.test("a container under another interface plugin counts as soon as it has its address", () => {
  const host = new Host();
  const addresses: string[] = [];
  host.link({ name: "veth1", beyond: addresses });
  assert.equal(host.who("10.0.0.1"), undefined);
  addresses.push("10.0.0.1");
  assert.equal(host.who("10.0.0.1"), "veth1");
  addresses[0] = "10.0.0.2";
  assert.equal(host.who("10.0.0.1"), undefined, "it has another now");
  assert.equal(host.who("10.0.0.2"), "veth1");
  host.holders.tell();
  assert.deepEqual(host.said, [], "it never had an endpoint");
});

Deno.test("a container's second address counts as the first does, however late it comes", () => {
  const host = new Host();
  const addresses = ["10.0.0.1"];
  host.link({ name: "veth1", beyond: addresses });
  // Of this one an endpoint speaks.
  host.link({ name: "cali2", container: "c2", beyond: ["10.0.0.2"] });
  host.endpoint("cali2", "c2");
  assert.equal(host.who("10.0.0.7"), undefined, "another pod's ADD in between");
  addresses.push("fd00::1");
  assert.equal(host.who("fd00::1"), "veth1");
  assert.equal(host.who("10.0.0.1"), "veth1");
  assert(!host.looks.includes("cali2"));
});

Deno.test("each loss is told once; where pods' endpoints go with their end, when it lasts", async () => {
  const recorded: string[] = [];
  const host = new Host(60_000, ({ addresses }) => {
    recorded.push(...addresses);
    return Promise.resolve(new Map());
  });
  const link = host.link({ name: "cali1", container: "c1", beyond: ["10.0.0.1"] });
  host.link({ name: "cali2", container: "c2", beyond: ["10.0.0.2"] });
  host.endpoint("cali2", "c2");
  host.holders.tell();
  assert.deepEqual([host.said, recorded], [[], ["10.0.0.1"]], "on record it is at once");
  await host.clock.advance(60_000);
  for (let i = 0; i < 3; i++) host.holders.tell();
  assert.deepEqual(host.said, ['{"interface":"cali1","container":"c1","addresses":["10.0.0.1"]}']);
  host.gone.add(link.index);
  host.endpoints.clear();
  host.holders.tell();
  await host.clock.advance(60_000);
  host.holders.tell();
  assert.equal(host.said.length, 2);
});

Deno.test("a loss stands among the warnings, and its addresses are put on record until they are", async () => {
  const asked: string[] = [];
  let others = new Map([["10.0.0.1", "IPAM has given it to handle net.x"]]);
  const host = new Host(0, ({ mark, addresses, isThere }) => {
    asked.push(`${mark?.containerId} ${mark?.ifname} ${addresses} ${isThere()}`);
    return Promise.resolve(others);
  });
  host.link({ name: "cali1", container: "c1", beyond: ["10.0.0.1", "fe80::1"] });
  host.link({ name: "cali2", container: "c2", beyond: ["10.0.0.2"] });
  host.endpoint("cali2", "c2");
  assert.deepEqual(host.holders.warnings(), []);
  const turn = async () => {
    host.holders.tell();
    await new Promise((resolve) => setTimeout(resolve));
  };
  await turn();
  assert.deepEqual(asked, ["c1 eth0 10.0.0.1 true"]);
  const [warning, ...more] = host.holders.warnings();
  assert.deepEqual(more, []);
  assert.match(
    warning,
    /^container c1 \(interface cali1, 10\.0\.0\.1\) is in use, and the datastore/,
  );
  assert.match(warning, /; 10\.0\.0\.1 may go to others \(IPAM has given it to handle net\.x\)$/);
  assert.equal(host.said.length, 2, "the loss, and that others may give the address");
  await turn();
  assert.equal(asked.length, 1, "not at once again");
  others = new Map();
  await host.clock.advance(60_000);
  await turn();
  assert.equal(asked.length, 2);
  assert.doesNotMatch(host.holders.warnings()[0], /others/);
  assert.equal(host.said.length, 2);
  // It is on record now, and does not stay so for ever: somebody frees it, or the datastore goes back.
  assert.equal(host.again, 60_000);
  await turn();
  assert.equal(asked.length, 2);
  await host.clock.advance(60_000);
  others = new Map([["10.0.0.1", "IPAM has given it to handle net.y"]]);
  await turn();
  assert.equal(asked.length, 3);
  assert.match(host.holders.warnings()[0], /may go to others/);
  assert.equal(host.said.length, 3, "told anew");
  others = new Map();
  host.epoch++;
  await turn();
  assert.equal(asked.length, 4, "at once");
  await turn();
  assert.equal(asked.length, 4);
  assert.doesNotMatch(host.holders.warnings()[0], /others/);
  host.endpoint("cali1", "c1");
  await turn();
  assert.deepEqual(host.holders.warnings(), []);
});

Deno.test("a container that Calico wired is told of by its interface, and put on record as others", async () => {
  const asked: string[] = [];
  const host = new Host(0, ({ hostName, mark, foreign, addresses }) => {
    if (!foreign) asked.push(`${hostName} ${mark?.containerId} ${addresses}`);
    return Promise.resolve(new Map());
  });
  host.link({ name: "cali1", beyond: ["10.0.0.1"] });
  host.link({ name: "veth1", beyond: ["10.0.0.2"] });
  host.link({ name: "cali3", beyond: ["10.0.0.3"] });
  host.endpoint("cali3", "c3", ["10.0.0.3/32"]);
  host.holders.tell();
  assert.deepEqual(asked, ["cali1 undefined 10.0.0.1"]);
  // Calico's ADD may be under way: its endpoint comes in a moment.
  assert.deepEqual([host.said, host.holders.warnings(), host.again], [[], [], 3000]);
  await host.clock.advance(3000);
  host.holders.tell();
  assert.equal(host.said.length, 1);
  const [warning, ...more] = host.holders.warnings();
  assert.deepEqual(more, []);
  assert.match(
    warning,
    /^a container that Calico wired \(interface cali1, 10\.0\.0\.1\) is in use/,
  );
  // A former life of its pod had the same interface, and another address.
  host.endpoint("cali1", "c0", ["10.0.0.9/32"]);
  host.holders.tell();
  assert.equal(host.who("10.0.0.1"), "cali1");
  assert.equal(host.holders.warnings().length, 1);
  host.endpoint("cali1", "c1", ["fd00::1/128", "10.0.0.1/32"]);
  host.holders.tell();
  assert.deepEqual(host.holders.warnings(), []);
});

Deno.test("a container under another interface plugin is put on record, and told of where it cannot be", async () => {
  const asked: string[] = [];
  let why: [string, string][] = [];
  const host = new Host(0, ({ hostName, foreign, addresses }) => {
    asked.push(`${hostName} ${foreign} ${addresses}`);
    return Promise.resolve(new Map(why));
  });
  host.link({ name: "veth1", beyond: ["10.0.0.1"] });
  const look = async (milliseconds = 0) => {
    await host.clock.advance(milliseconds);
    host.holders.tell();
    await new Promise((resolve) => setTimeout(resolve));
    return asked.splice(0);
  };
  assert.deepEqual(await look(), ["veth1 true 10.0.0.1"]);
  assert.equal(host.again, 60_000, "nothing is waited for");
  assert.deepEqual(await look(3000), []);
  assert.deepEqual([host.said, host.holders.warnings()], [[], []], "no endpoint of it was lost");
  host.epoch++;
  why = [["10.0.0.1", "IPAM has given it to handle net.m1"]];
  assert.equal((await look()).length, 1);
  assert.deepEqual(host.holders.warnings(), [
    "a container of another interface plugin (interface veth1) is not on record with its addresses: " +
    "10.0.0.1 may go to others (IPAM has given it to handle net.m1)",
  ]);
  why = [];
  assert.equal((await look(60_000)).length, 1);
  assert.deepEqual(host.holders.warnings(), []);
});

Deno.test("of many addresses those count that were there first", () => {
  const asked: (readonly string[])[] = [];
  const host = new Host(0, ({ addresses }) => (asked.push(addresses), Promise.resolve(new Map())));
  const more = Array.from({ length: 20 }, (_, i) => `fd99::${i + 1}`);
  // The kernel has the newest of IPv6 first.
  host.link({
    name: "cali1",
    container: "c1",
    beyond: ["10.0.0.1", "10.9.0.1", ...more, "fd00::1"],
  });
  host.holders.tell();
  assert.deepEqual(asked[0].slice(0, 3), ["10.0.0.1", "10.9.0.1", "fd00::1"]);
  assert.equal(asked[0].length, 10);
});

Deno.test("an interface that has its addresses later is put on record then", async () => {
  const asked: string[] = [];
  const host = new Host(
    0,
    ({ addresses }) => (asked.push(`${addresses}`), Promise.resolve(new Map())),
  );
  const addresses: string[] = [];
  host.link({ name: "cali1", beyond: addresses });
  host.holders.tell();
  assert.deepEqual(asked, []);
  addresses.push("10.0.0.1");
  host.holders.tell();
  assert.deepEqual(asked, ["10.0.0.1"]);
});

Deno.test("what was found of an interface counts as long as nothing of it has changed", () => {
  for (const count of [2, 12]) {
    const host = new Host();
    const numbers = Array.from({ length: count }, (_, i) => i + 1);
    for (const n of numbers) {
      host.link({ name: `cali${n}`, container: `c${n}`, beyond: [`10.0.0.${n}`] });
      host.endpoint(`cali${n}`, `c${n}`, [`10.0.0.${n}/32`]);
    }
    const held = () => numbers.filter((n) => host.who(`10.0.0.${n}`) !== undefined);
    assert.deepEqual([held(), held()], [[], []]);
    host.endpoint("cali1", "another", ["10.0.0.1/32"]);
    assert.deepEqual(held(), [1]);
    host.endpoint("cali1", "c1", ["10.0.0.1/32"]);
    assert.deepEqual(held(), []);
    host.endpoint("cali2", "c2", []);
    assert.deepEqual(held(), [2]);
    host.endpoints.delete("cali1");
    assert.deepEqual(held(), [1, 2]);
    host.endpoints.clear();
    assert.deepEqual(held(), numbers);
  }
});

Deno.test("of two endpoints of one interface the container's own speaks of it", () => {
  for (const others of [0, 8]) {
    const host = new Host();
    host.link({ name: "cali1", container: "c1", beyond: ["10.0.0.1"] });
    host.endpoint("cali1", "c1");
    const { spec } = host.endpoints.get("cali1")!;
    const later = { ...spec, containerID: "c2" };
    host.endpoints.set("later", { metadata: { name: "later" }, spec: later } as any);
    for (let n = 0; n < others; n++) {
      host.links.unshift({ ...host.links[0], index: 100 + n, name: `cali-${n}` });
      host.beyond.set(`cali-${n}`, ["10.0.1.1"]);
    }
    assert.equal(host.who("10.0.0.1"), undefined);
    host.endpoints.delete("cali1");
    assert.equal(host.who("10.0.0.1"), "cali1");
  }
});
