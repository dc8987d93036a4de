import assert from "node:assert/strict";
import { mustIp, mustPrefix } from "../net/mod.ts";
import { birdConfig, type BirdConfigInput } from "./bird_config.ts";

const input: BirdConfigInput = {
  meshAs: 64512,
  log: "/tmp/bird.log",
  addresses: [mustIp("10.10.1.40"), mustIp("fd00::40")],
  hosts: [mustIp("10.244.200.1"), mustIp("fd01::1")],
  peers: [
    { name: "node1", address: mustIp("10.10.1.11") },
    { name: "node3", address: mustIp("10.10.2.11") },
    { name: "node1", address: mustIp("fd00::11") },
  ],
  announce: [
    { block: mustPrefix("10.244.200.0/26") },
    { block: mustPrefix("fd01::/122"), nextHop: mustIp("fd00::41"), med: 7, localPref: 150 },
  ],
  restartTime: 6,
  holdTime: 9,
};

/** The protocol or filter of that name, in one line. */
function part(text: string, name: string): string {
  return new RegExp(`^(protocol \\w+|filter) ${name} \\{[^]*?^\\}`, "m").exec(text)![0]
    .replace(/\s+/g, " ");
}

Deno.test("each node has a session per family; who has the smaller text waits", () => {
  const text = birdConfig(input);
  assert.match(text, /^router id 10\.10\.1\.40;$/m);
  assert.match(
    part(text, "node1_4"),
    /local 10\.10\.1\.40 as 64512; neighbor 10\.10\.1\.11 as 64512; multihop; hold time 9;/,
  );
  assert.doesNotMatch(part(text, "node1_4"), /passive/);
  assert.match(part(text, "node3_4"), /multihop; passive on;/);
  assert.match(part(text, "node1_6"), /local fd00::40 .* ipv6 \{ .*export filter to_mesh6;/);
  assert.match(part(text, "node1_4"), /graceful restart on; graceful restart time 6;/);
});

Deno.test("blocks are announced by their families, with the attributes that they are given", () => {
  const text = birdConfig(input);
  assert.match(part(text, "blocks4"), /ipv4; route 10\.244\.200\.0\/26 blackhole; \}/);
  assert.match(part(text, "blocks6"), /ipv6; route fd01::\/122 blackhole; \}/);
  assert.doesNotMatch(part(text, "to_mesh4"), /bgp_/);
  assert.match(
    part(text, "to_mesh6"),
    /if net = fd01::\/122 then \{ bgp_next_hop = fd00::41; bgp_med = 7; bgp_local_pref = 150; \}/,
  );
  assert.match(part(text, "kernel4"), /learn; persist; scan time 2; graceful restart on; ipv4/);
  assert.match(part(text, "kernel4"), /krt_prefsrc = 10\.244\.200\.1;/);
});

Deno.test("one family, no host, no graceful restart", () => {
  const text = birdConfig({
    ...input,
    addresses: [mustIp("fd00::1:2:40")],
    hosts: [],
    peers: input.peers.slice(2),
    announce: [],
    restartTime: "off",
  });
  assert.match(text, /^router id 0\.2\.0\.64;$/m);
  assert.doesNotMatch(text, /ipv4|krt_prefsrc|graceful restart (on|time|wait)/);
  assert.match(part(text, "node1_6"), /graceful restart off;/);
});
