import assert from "node:assert/strict";
import { formatIp } from "../mod/net/mod.ts";
import { parseArgs } from "./args.ts";
import { type Annotations, readRequest } from "./annotations.ts";
import { CniError } from "./errors.ts";
import { parseNetConf } from "./netconf.ts";

const P = "cni.projectcalico.org/";
const conf = (more: Record<string, unknown> = {}) =>
  parseNetConf(
    new TextEncoder().encode(
      JSON.stringify({
        name: "net",
        cniVersion: "1.0.0",
        ipam: { type: "tortie-ipam", ipv4_pools: ["conf-pool"] },
        ...more,
      }),
    ),
  );

function request(pod: Annotations, namespace: Annotations = {}, args = "", configuration = conf()) {
  return readRequest({
    conf: configuration,
    args: parseArgs(args),
    pod,
    namespace,
    features: { floatingIps: true, sourceSpoofing: true },
  });
}

function pools(pod: Annotations, namespace: Annotations = {}): readonly string[] {
  const { plan } = request(pod, namespace);
  assert.equal(plan.kind, "automatic");
  return plan.kind === "automatic" ? plan.ipv4Pools : [];
}

Deno.test("annotations: pod over namespace over configuration, whole lists", () => {
  assert.deepEqual(pools({}), ["conf-pool"]);
  assert.deepEqual(pools({}, { [P + "ipv4pools"]: '["ns-a","ns-b"]' }), ["ns-a", "ns-b"]);
  assert.deepEqual(
    pools({ [P + "ipv4pools"]: '["pod-a"]' }, { [P + "ipv4pools"]: '["ns-a"]' }),
    ["pod-a"],
  );
});

Deno.test("annotations: fixed addresses go before all pools, the annotation before CNI_ARGS", () => {
  const both = request(
    { [P + "ipAddrs"]: '["fd00::9","10.0.0.9"]', [P + "ipv4pools"]: '["x"]' },
    {},
    "IP=10.0.0.8",
  ).plan;
  assert.equal(both.kind, "fixed");
  assert.deepEqual(both.kind === "fixed" && both.addresses.map(formatIp), ["10.0.0.9", "fd00::9"]);
  const args = request({ [P + "ipv4pools"]: '["x"]' }, {}, "IP=10.0.0.8").plan;
  assert.deepEqual(args.kind === "fixed" && args.addresses.map(formatIp), ["10.0.0.8"]);
});

Deno.test("annotations: families", () => {
  const of = (pod: Annotations, namespace: Annotations = {}) => {
    const { plan } = request(pod, namespace);
    return plan.kind === "automatic" ? [plan.ipv4, plan.ipv6] : [];
  };
  assert.deepEqual(of({}), [true, false]);
  assert.deepEqual(of({ [P + "ipFamilies"]: '["IPv6"]' }), [false, true]);
  assert.deepEqual(of({}, { [P + "ipFamilies"]: '["IPv4","IPv6"]' }), [true, true]);
  assert.throws(
    () => request({}, {}, "", conf({ ipam: { type: "tortie-ipam", assign_ipv4: "false" } })),
    (e) => e instanceof CniError && e.code === 7,
  );
});

Deno.test("annotations: what is wrong is refused and named", () => {
  const wrong: [string, string, string][] = [
    ["ipAddrs", "10.0.0.9", "JSON list"],
    ["ipAddrs", '"10.0.0.9"', "JSON list"],
    ["ipAddrs", "[1]", "JSON list"],
    ["ipAddrs", "[]", "empty list"],
    ["ipAddrs", '["10.0.0.300"]', "not an IP address"],
    ["ipAddrs", '["10.0.0.9","10.0.0.10"]', "more than one IPv4"],
    ["ipAddrs", '["fd00::1","fd00::2"]', "more than one IPv6"],
    ["ipAddrsNoIpam", '["10.0.0.9"]', "feature_control.ip_addrs_no_ipam"],
    ["floatingIPs", '["10.0.0.9"]', "feature_control.floating_ips"],
    ["ipv4pools", "{}", "JSON list"],
    ["ipFamilies", '["IPv5"]', "IPv4 nor IPv6"],
    ["ipFamilies", '["IPv4","IPv4"]', "each once"],
    ["hwAddr", "01:00:00:00:00:01", "one interface"],
    ["hwAddr", "1:2:3", "MAC"],
    ["allowedSourcePrefixes", '["x"]', "CIDR"],
  ];
  for (const [name, value, words] of wrong) {
    assert.throws(
      () => request({ [P + name]: value }),
      (e) =>
        e instanceof CniError && e.code === 102 && e.message.includes(P + name) &&
        e.message.includes(words),
      `${name}=${value}`,
    );
  }
  assert.throws(
    () => request({ [P + "ipAddrs"]: '["10.0.0.9"]', [P + "ipAddrsNoIpam"]: '["10.0.0.9"]' }),
    /excludes cni\.projectcalico\.org\/ipAddrsNoIpam/,
  );
});

Deno.test("annotations: features that the configuration turns on, and the MAC", () => {
  const on = conf({ feature_control: { ip_addrs_no_ipam: true, floating_ips: true } });
  const got = request(
    {
      [P + "ipAddrsNoIpam"]: '["192.0.2.9"]',
      [P + "floatingIPs"]: '["198.51.100.7"]',
      [P + "hwAddr"]: "02-AB-00-00-00-01",
      [P + "allowedSourcePrefixes"]: '["10.9.0.0/16"]',
    },
    {},
    "",
    on,
  );
  assert.equal(got.plan.kind, "unmanaged");
  assert.deepEqual(got.floatingIps.addresses.map(formatIp), ["198.51.100.7"]);
  assert.equal(got.mac, "02:ab:00:00:00:01");
  assert.equal(got.allowedSourcePrefixes.length, 1);
});

Deno.test("annotations: what FelixConfiguration has not switched on is refused", () => {
  const off = (pod: Annotations) => () =>
    readRequest({
      conf: conf({ feature_control: { floating_ips: true } }),
      args: parseArgs("K8S_POD_NAMESPACE=blue;K8S_POD_NAME=p"),
      pod,
      namespace: {},
      features: { floatingIps: false, sourceSpoofing: false },
    });
  assert.throws(
    off({ [P + "floatingIPs"]: '["10.0.0.9"]' }),
    /^CniError: Pod blue\/p: annotation .*floatingIPs needs floatingIPs: Enabled in FelixConf/,
  );
  assert.throws(
    off({ [P + "allowedSourcePrefixes"]: '["10.0.0.0/8"]' }),
    /^CniError: Pod blue\/p: annotation .*Prefixes needs workloadSourceSpoofing: Any in FelixConf/,
  );
  // An empty list asks for nothing.
  off({ [P + "allowedSourcePrefixes"]: "[]" })();
});

Deno.test("annotations: addresses that can be no pod's are refused, whoever names them", () => {
  const on = conf({ feature_control: { ip_addrs_no_ipam: true, floating_ips: true } });
  const special = [
    ["0.0.0.0", "no interface"],
    ["127.0.0.1", "loopback"],
    ["169.254.1.1", "link-local"],
    ["169.254.169.254", "link-local"],
    ["224.0.0.1", "multicast"],
    ["239.255.255.255", "multicast"],
    ["255.255.255.255", "broadcast"],
    ["::", "unspecified"],
    ["::1", "loopback"],
    ["::ffff:10.0.0.1", "IPv4 address in"],
    ["fe80::ecee:eeff:feee:eeee", "link-local"],
    ["ff02::1", "multicast"],
  ];
  for (const [ip, words] of special) {
    for (const name of ["ipAddrs", "ipAddrsNoIpam", "floatingIPs"]) {
      assert.throws(
        () => request({ [P + name]: JSON.stringify([ip]) }, {}, "", on),
        (e) =>
          e instanceof CniError && e.code === 102 && e.message.includes(P + name) &&
          e.message.includes(words),
        `${name} ${ip}`,
      );
    }
    assert.throws(
      () => request({}, {}, `IP=${ip}`, on),
      (e) => e instanceof CniError && e.code === 102 && e.message.includes(words),
      `IP=${ip}`,
    );
  }
  const fine = ["223.255.255.254", "126.255.255.255", "169.253.1.1", "fd00::1", "2001:db8::1"];
  for (const ip of fine) request({ [P + "ipAddrsNoIpam"]: JSON.stringify([ip]) }, {}, "", on);
});
