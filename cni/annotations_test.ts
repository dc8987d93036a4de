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

Deno.test("annotations: what is decided before pools and families is told, and garbage is refused", () => {
  const on = conf({ feature_control: { ip_addrs_no_ipam: true } });
  const choices: Annotations = {
    [P + "ipv4pools"]: '["q"]',
    [P + "ipv6pools"]: '["q"]',
    [P + "ipFamilies"]: '["IPv6"]',
  };
  const told = (pod: Annotations, namespace: Annotations = {}, args = "") =>
    request(pod, namespace, `K8S_POD_NAMESPACE=blue;K8S_POD_NAME=p;${args}`, on).unfollowed;
  for (const name of ["ipAddrs", "ipAddrsNoIpam"]) {
    const fixed = { [P + name]: '["10.0.0.9"]' };
    const by = `is not followed: Pod blue/p: annotation ${P}${name} goes before it`;
    assert.deepEqual(
      told({ ...fixed, ...choices }),
      [P + "ipFamilies", P + "ipv4pools", P + "ipv6pools"].map((one) =>
        `Pod blue/p: annotation ${one} ${by}`
      ),
    );
    assert.deepEqual(told({ ...fixed, [P + "ipFamilies"]: '["IPv4"]' }), []);
    assert.deepEqual(told({ ...fixed, [P + "ipv4pools"]: "[]" }), []);
    assert.deepEqual(told(fixed, { [P + "ipv4pools"]: '["q"]' }), [
      `Namespace blue: annotation ${P}ipv4pools ${by}`,
    ]);
    // The Pod's own counts instead of it.
    assert.equal(
      told({ ...fixed, [P + "ipv4pools"]: '["q"]' }, { [P + "ipv4pools"]: "{" }).length,
      1,
    );
    assert.deepEqual(told(fixed, {}, "IP=10.0.0.8"), [`CNI_ARGS: IP= ${by}`]);
  }
  assert.deepEqual(told({ [P + "ipv4pools"]: '["q"]' }, {}, "IP=10.0.0.8"), [
    `Pod blue/p: annotation ${P}ipv4pools is not followed: CNI_ARGS: IP= goes before it`,
  ]);

  const pins = { "tortie.io/ip-pins": "10.0.0.10-10.0.0.12" };
  const refused = (pod: Annotations, words: RegExp, namespace: Annotations = {}) =>
    assert.throws(
      () => told(pod, namespace),
      (error) => error instanceof CniError && error.code === 102 && words.test(error.message),
      `${words}`,
    );
  for (const name of ["ipv4pools", "ipv6pools"]) {
    refused({ ...pins, [P + name]: '["nope"]' }, new RegExp(`${name} excludes tortie.io/ip-pins`));
  }
  refused({ ...pins, [P + "ipFamilies"]: '["IPv6"]' }, /ipFamilies names other families than/);
  refused({ ...pins, [P + "ipFamilies"]: '["IPv4","IPv6"]' }, /ipFamilies names other families/);
  assert.deepEqual(told({ ...pins, [P + "ipFamilies"]: '["IPv4"]' }), []);
  assert.deepEqual(
    told(pins, { [P + "ipv4pools"]: '["q"]', [P + "ipFamilies"]: '["IPv6"]' }),
    [
      P + "ipFamilies",
      P + "ipv4pools",
    ].map((one) =>
      `Namespace blue: annotation ${one} is not followed: Pod blue/p: annotation tortie.io/ip-pins ` +
      "goes before it"
    ),
  );
  assert.deepEqual(told(pins, {}, "IP=10.0.0.8").length, 1);
  for (const first of [pins, { [P + "ipAddrs"]: '["10.0.0.9"]' }] as Annotations[]) {
    for (const name of ["ipv4pools", "ipv6pools", "ipFamilies"]) {
      refused({ ...first, [P + name]: "garbage[" }, /is not a JSON list of texts/);
      refused(first, /^Namespace blue: .* is not a JSON list of texts/, { [P + name]: "garbage[" });
    }
  }
});

Deno.test("annotations: a floating address that is named twice is followed once, and told", () => {
  const on = conf({ feature_control: { floating_ips: true } });
  const { floatingIps, unfollowed } = request(
    { [P + "floatingIPs"]: '["192.0.2.9","fd00::9","192.0.2.9","fd00:0::9"]' },
    {},
    "K8S_POD_NAMESPACE=blue;K8S_POD_NAME=p",
    on,
  );
  assert.deepEqual(floatingIps.addresses.map(formatIp), ["192.0.2.9", "fd00::9"]);
  assert.deepEqual(
    unfollowed,
    ["192.0.2.9", "fd00::9"].map((ip) =>
      `Pod blue/p: annotation ${P}floatingIPs names ${ip} more than once, which is followed once`
    ),
  );
});
