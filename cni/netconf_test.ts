import assert from "node:assert/strict";
import fc from "fast-check";
import { CniError } from "./errors.ts";
import { parseNetConf } from "./netconf.ts";

const bytes = (value: unknown) =>
  new TextEncoder().encode(typeof value === "string" ? value : JSON.stringify(value));
const base = { cniVersion: "1.0.0", name: "net", type: "tortie" };

function refused(value: unknown, code: number, words: string): void {
  assert.throws(
    () => parseNetConf(value instanceof Uint8Array ? value : bytes(value)),
    (e) => e instanceof CniError && e.code === code && e.message.includes(words),
    `${JSON.stringify(value)?.slice(0, 100)} must be refused with code ${code} and "${words}"`,
  );
}

Deno.test("netconf: Calico's own configuration is read", () => {
  const conf = parseNetConf(bytes({
    name: "k8s-pod-network",
    cniVersion: "0.3.1",
    type: "calico",
    log_level: "info",
    log_file_path: "/var/log/calico/cni/cni.log",
    datastore_type: "kubernetes",
    nodename: "node-1",
    mtu: 0,
    ipam: { type: "calico-ipam", assign_ipv6: "true", ipv4_pools: ["10.1.0.0/16", "pool-b"] },
    container_settings: { allow_ip_forwarding: true },
    feature_control: { ip_addrs_no_ipam: true },
    policy: { type: "k8s" },
    kubernetes: { kubeconfig: "/etc/cni/net.d/calico-kubeconfig" },
  }));
  assert.equal(conf.cniVersion, "0.3.1");
  assert.deepEqual(conf.ipam, {
    type: "calico-ipam",
    assignIpv4: true,
    assignIpv6: true,
    ipv4Pools: ["10.1.0.0/16", "pool-b"],
    ipv6Pools: [],
    routes: undefined,
    includeDefaultRoutes: false,
    hostLocal: undefined,
  });
  assert.equal(conf.policyFromKubernetes, true);
  assert.equal(conf.nodeName, "node-1");
  assert.equal(conf.allowIpForwarding, true);
  assert.deepEqual(conf.featureControl, {
    ipAddrsNoIpam: true,
    floatingIps: false,
    ipPins: true,
  });
});

Deno.test("netconf: defaults, unknown keys and our own key", () => {
  const conf = parseNetConf(bytes({
    ...base,
    colour: "blue",
    runtimeConfig: { portMappings: [], other: {} },
    tortie: { socket: "/run/x.sock", later: 1 },
    ipam: null,
  }));
  assert.equal(conf.socket, "/run/x.sock");
  assert.equal(conf.mtu, 0);
  assert.equal(conf.ipam.assignIpv4, true);
  assert.equal(conf.ipam.assignIpv6, false);
  assert.equal(conf.validAttachments, undefined);
});

Deno.test("netconf: only the exact text flips assign_ipv4 and assign_ipv6, as in Calico", () => {
  const ipam = (assign: unknown) =>
    parseNetConf(bytes({ ...base, ipam: { assign_ipv4: assign, assign_ipv6: assign } })).ipam;
  assert.deepEqual([ipam("false").assignIpv4, ipam("false").assignIpv6], [false, false]);
  assert.deepEqual([ipam("False").assignIpv4, ipam("True").assignIpv6], [true, false]);
  assert.deepEqual([ipam(true).assignIpv4, ipam(true).assignIpv6], [true, true]);
  refused({ ...base, ipam: { assign_ipv4: 1 } }, 7, "ipam.assign_ipv4");
});

Deno.test("netconf: no cniVersion is 0.1.0; an unknown one is code 1 and lists those served", () => {
  assert.equal(parseNetConf(bytes({ name: "net" })).cniVersion, "0.1.0");
  assert.equal(parseNetConf(bytes({ name: "net", cniVersion: "" })).cniVersion, "0.1.0");
  refused({ ...base, cniVersion: "99.0.0" }, 1, "1.1.0");
  refused({ ...base, cniVersion: "1.0" }, 1, '"1.0"');
  refused({ ...base, cniVersion: 1 }, 6, "cniVersion");
});

Deno.test("netconf: garbage is code 6", () => {
  refused("", 6, "empty");
  refused(" \n", 6, "empty");
  refused("{", 6, "not JSON");
  refused("[1]", 6, "not a JSON object");
  refused("null", 6, "not a JSON object");
  refused(new Uint8Array([0xff, 0xfe, 0]), 6, "not JSON");
  refused(new Uint8Array((1 << 20) + 1).fill(32), 6, "larger");
});

Deno.test("netconf: wrong fields are code 7 and named", () => {
  refused({ cniVersion: "1.0.0" }, 7, "name is missing");
  for (const name of ["a/b", "-a", "a b", "x".repeat(201)]) refused({ ...base, name }, 7, "name");
  refused({ ...base, name: 1 }, 7, "name");
  refused({ ...base, mtu: "1500" }, 7, "mtu");
  refused({ ...base, mtu: 67 }, 7, "68");
  refused({ ...base, mtu: 70000 }, 7, "mtu");
  refused({ ...base, ipam: [] }, 7, "ipam");
  refused({ ...base, ipam: { ipv4_pools: "x" } }, 7, "ipam.ipv4_pools");
  refused({ ...base, ipam: { routes: [{ dst: "x" }] } }, 7, "ipam.routes[0].dst");
  refused({ ...base, tortie: { socket: "relative" } }, 7, "tortie.socket");
  refused(
    { ...base, container_settings: { allow_ip_forwarding: "yes" } },
    7,
    "allow_ip_forwarding",
  );
  refused({ ...base, "cni.dev/valid-attachments": {} }, 7, "valid-attachments");
  refused(
    { ...base, "cni.dev/valid-attachments": [{ containerID: "a" }] },
    7,
    "valid-attachments[0]",
  );
});

Deno.test("netconf: any bytes and any JSON either parse or are a CniError with a code of ours", () => {
  const judge = (input: Uint8Array) => {
    try {
      parseNetConf(input);
    } catch (error) {
      assert.ok(error instanceof CniError, String(error));
      assert.ok([1, 6, 7].includes(error.code));
      assert.ok(error.message.length < 600);
    }
  };
  fc.assert(fc.property(fc.uint8Array({ maxLength: 200 }), judge));
  const keys = ["cniVersion", "name", "type", "ipam", "mtu", "policy", "tortie", "prevResult"];
  fc.assert(
    fc.property(
      fc.dictionary(fc.constantFrom(...keys, "cni.dev/valid-attachments"), fc.jsonValue()),
      (conf) => judge(bytes(conf)),
    ),
  );
});
