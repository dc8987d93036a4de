import assert from "node:assert/strict";
import { formatIp, mustIp } from "../net/mod.ts";
import { type Host, nodeAddress } from "./autodetect.ts";

const link = (name: string, ...addresses: string[]) => ({
  name,
  up: true,
  mtu: 1500,
  addresses: addresses.map((a) => {
    const [ip, length] = a.split("/");
    return { ip: mustIp(ip), length: Number(length) };
  }),
});

const host: Host = {
  interfaces: [
    link("lo", "127.0.0.1/8"),
    link("docker0", "172.17.0.1/16"),
    { ...link("eth9", "10.9.9.9/24"), up: false },
    link("eth0", "fe80::1/64", "192.0.2.11/24", "2001:db8::11/64"),
    link("eth1", "198.51.100.11/25"),
  ],
  sourceTowards: (to) => formatIp(to) === "203.0.113.1" ? mustIp("198.51.100.11") : undefined,
};

function found(wish: string, method = "first-found", family: 4 | 6 = 4): string | undefined {
  const a = nodeAddress(wish, method, family, host);
  return a && `${formatIp(a.ip)}/${a.length} ${a.interfaceName}`;
}

Deno.test("the node's address is found by Calico's methods", () => {
  assert.equal(found(""), "192.0.2.11/24 eth0");
  assert.equal(found("autodetect", "first-found", 6), "2001:db8::11/64 eth0");
  assert.equal(found("", "interface=eth[19],docker.*"), "198.51.100.11/25 eth1");
  assert.equal(found("", "interface=docker"), "172.17.0.1/16 docker0");
  assert.equal(found("", "skip-interface=eth0"), "198.51.100.11/25 eth1");
  assert.equal(found("", "cidr=198.51.100.0/24"), "198.51.100.11/25 eth1");
  assert.equal(found("", "can-reach=203.0.113.1"), "198.51.100.11/25 eth1");
  assert.equal(found("", "can-reach=203.0.113.2"), undefined);
  assert.equal(found("none"), undefined);
});

Deno.test("a given address must be there, and may bring its own length", () => {
  assert.equal(found("192.0.2.11"), "192.0.2.11/24 eth0");
  assert.equal(found("192.0.2.11/32"), "192.0.2.11/32 eth0");
  assert.throws(() => found("192.0.2.12"), /no address of an interface/);
  assert.throws(() => found("", "nearest"), /not known; use first-found/);
  assert.throws(() => found("", "interface=["), /not a pattern/);
});
