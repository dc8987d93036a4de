import assert from "node:assert/strict";
import { felixParameters } from "./felix.ts";
import { hostMtu, podMtu, tunnelMtu } from "./mtu.ts";
import { StateWorld } from "./testing/world.ts";

const link = (name: string, mtu: number, up = true) => ({ name, mtu, up });

Deno.test("the host's MTU is that of the narrowest interface that leads to others", () => {
  const pattern = felixParameters("n", new Map(), new Map()).mtuInterfacePattern;
  const links = [link("lo", 65536), link("eth0", 9000), link("eth1", 1400, false)];
  assert.equal(hostMtu(links, pattern), 9000);
  assert.equal(hostMtu([...links, link("ens3", 1500), link("cali1", 500)], pattern), 1500);
  assert.equal(hostMtu([link("lo", 65536)], pattern), 1460, "Felix's, where none matches");
});

Deno.test("a pod's MTU leaves room for every tunnel that a pool asks for", () => {
  const mtu = (
    pools: object[],
    environment: Record<string, string> = {},
    links = {},
    host = 1500,
  ) => {
    const world = new StateWorld();
    pools.forEach((spec, i) => world.pool(`p${i}`, spec));
    const felix = felixParameters("n", new Map(Object.entries(environment)), new Map());
    return podMtu(host, world.state.poolPrefixes(), felix, links);
  };
  const plain = { cidr: "10.0.0.0/16" };
  const vxlan = { cidr: "10.1.0.0/16", vxlanMode: "CrossSubnet" };
  const vxlan6 = { cidr: "fd00::/48", vxlanMode: "Always" };
  const ipip = { cidr: "10.2.0.0/16", ipipMode: "Always" };
  assert.equal(mtu([]), 1500);
  assert.equal(mtu([plain]), 1500);
  assert.equal(mtu([plain, vxlan]), 1450);
  assert.equal(mtu([plain, vxlan, vxlan6]), 1430);
  assert.equal(mtu([ipip]), 1480);
  assert.equal(mtu([ipip, vxlan]), 1450);
  assert.equal(mtu([vxlan], { vxlanmtu: "1390" }), 1390, "vxlanMTU");
  assert.equal(mtu([vxlan, vxlan6], { vxlanmtu: "1390", vxlanmtuv6: "1350" }), 1350);
  assert.equal(mtu([ipip], { ipinipmtu: "1440" }), 1440);
  assert.equal(mtu([plain], { vxlanmtu: "1390" }), 1500, "no tunnel, no room for one");
  assert.equal(mtu([plain], { vxlanenabled: "true" }), 1450);
  assert.equal(mtu([vxlan], { vxlanenabled: "false" }), 1500);
  const links = { 4: 1500, 6: 1300 };
  assert.equal(mtu([vxlan], { vxlanmtu: "1500" }, links), 1450, "no more than the link leaves");
  // Below 1280 bytes a link loses its IPv6 addresses, and with them who it is.
  assert.equal(mtu([vxlan, vxlan6], { vxlanmtuv6: "1300" }, { 4: 68 }, 68), 68);
  assert.equal(mtu([vxlan, vxlan6], {}, links), 1450, "no tunnel of IPv6 fits into 1300 bytes");
});

Deno.test("a device's MTU is the host's less its headers, or what is configured", () => {
  const felix = felixParameters("n", new Map([["vxlanmtuv6", "1280"]]), new Map());
  assert.equal(tunnelMtu(4, 9000, felix), 8950);
  assert.equal(tunnelMtu(6, 9000, felix), 1280);
  assert.equal(tunnelMtu(4, 9000, felix, 1500), 1450);
});
