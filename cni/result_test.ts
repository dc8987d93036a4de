import assert from "node:assert/strict";
import { CniError } from "./errors.ts";
import { appendResult, type CniResult, formatResult, parseResult } from "./result.ts";
import { SUPPORTED_VERSIONS } from "./versions.ts";

const result: CniResult = {
  interfaces: [
    { name: "cali1", mac: "ee:ee:ee:ee:ee:ee" },
    { name: "eth0", mac: "02:00:00:00:00:01", mtu: 1450, sandbox: "/run/netns/x" },
  ],
  ips: [
    { address: "10.244.1.7/32", interface: 1 },
    { address: "fd00::7/128", interface: 1, gateway: "fe80::1" },
  ],
  routes: [{ dst: "0.0.0.0/0", gw: "169.254.1.1" }, { dst: "::/0", more: { mtu: 1400 } }],
  dns: { nameservers: ["10.96.0.10"] },
};

Deno.test("result: each version's form", () => {
  assert.deepEqual(formatResult(result, "1.1.0"), {
    cniVersion: "1.1.0",
    interfaces: [
      { name: "cali1", mac: "ee:ee:ee:ee:ee:ee" },
      { name: "eth0", mac: "02:00:00:00:00:01", mtu: 1450, sandbox: "/run/netns/x" },
    ],
    ips: [
      { interface: 1, address: "10.244.1.7/32" },
      { interface: 1, address: "fd00::7/128", gateway: "fe80::1" },
    ],
    routes: [{ dst: "0.0.0.0/0", gw: "169.254.1.1" }, { dst: "::/0", mtu: 1400 }],
    dns: { nameservers: ["10.96.0.10"] },
  });
  const one = formatResult(result, "1.0.0") as any;
  assert.equal("mtu" in one.interfaces[1], false);
  assert.deepEqual(one.ips[0], { interface: 1, address: "10.244.1.7/32" });
  assert.deepEqual(one.routes[1], { dst: "::/0" });
  for (const version of ["0.3.0", "0.3.1", "0.4.0"] as const) {
    const old = formatResult(result, version) as any;
    assert.equal(old.cniVersion, version);
    assert.deepEqual(old.ips[1], {
      version: "6",
      interface: 1,
      address: "fd00::7/128",
      gateway: "fe80::1",
    });
    assert.equal(old.ips[0].version, "4");
  }
  for (const version of ["0.1.0", "0.2.0"] as const) {
    assert.deepEqual(formatResult(result, version), {
      cniVersion: version,
      ip4: { ip: "10.244.1.7/32", routes: [{ dst: "0.0.0.0/0", gw: "169.254.1.1" }] },
      ip6: { ip: "fd00::7/128", gateway: "fe80::1", routes: [{ dst: "::/0" }] },
      dns: { nameservers: ["10.96.0.10"] },
    });
  }
});

Deno.test("result: an IPAM result has no interfaces key", () => {
  const ipam = formatResult({ ...result, interfaces: [], routes: [] }, "1.0.0");
  assert.equal("interfaces" in ipam, false);
  assert.equal("routes" in ipam, false);
});

Deno.test("result: what was printed is read back the same, in every version", () => {
  for (const version of SUPPORTED_VERSIONS) {
    const printed = formatResult(result, version);
    assert.deepEqual(formatResult(parseResult(printed, version), version), printed, version);
  }
});

Deno.test("result: a prevResult that is none is code 7 and names the place", () => {
  const wrong: [unknown, string][] = [
    ["x", "prevResult"],
    [[], "prevResult"],
    [{ ips: {} }, "prevResult.ips"],
    [{ ips: [{ address: "10.0.0.1" }] }, "prevResult.ips[0].address"],
    [{ ips: [{ address: "10.0.0.1/33" }] }, "prevResult.ips[0].address"],
    [{ ips: [{ address: "10.0.0.1/32", interface: 0 }] }, "prevResult.ips[0].interface"],
    [{ interfaces: [{ name: 1 }] }, "prevResult.interfaces[0].name"],
    [{ routes: [{ dst: "0.0.0.0/0", gw: "x" }] }, "prevResult.routes[0].gw"],
    [{ dns: 1 }, "prevResult.dns"],
  ];
  for (const [value, where] of wrong) {
    assert.throws(
      () => parseResult(value, "1.0.0"),
      (e) => e instanceof CniError && e.code === 7 && e.message.includes(where),
      where,
    );
  }
});

Deno.test("result: behind another plugin's interfaces our indexes move", () => {
  const before: CniResult = {
    interfaces: [{ name: "dummy0" }],
    ips: [],
    routes: [],
    dns: { domain: "x" },
  };
  const joined = appendResult(before, result);
  assert.deepEqual(joined.interfaces.map((i) => i.name), ["dummy0", "cali1", "eth0"]);
  assert.deepEqual(joined.ips.map((i) => i.interface), [2, 2]);
  assert.deepEqual(joined.dns, { nameservers: ["10.96.0.10"], domain: "x" });
});
