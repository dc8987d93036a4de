import assert from "node:assert/strict";
import type { FelixConfiguration } from "../model/felix_configuration.ts";
import { felixParameters, parseDuration, POLICY_VARIABLES, policyParameters } from "./felix.ts";

const configuration = (spec: object) => ({ spec }) as FelixConfiguration;

Deno.test("environment wins over the node's configuration, that over the default one", () => {
  const all = new Map([
    [
      "default",
      configuration({ reportingInterval: "10s", vxlanPort: 1, endpointReportingEnabled: true }),
    ],
    ["node.a", configuration({ reportingInterval: "20s", vxlanPort: 2 })],
  ]);
  const felix = felixParameters("a", new Map([["vxlanport", "3"]]), all);
  assert.equal(felix.vxlanPort, 3);
  assert.equal(felix.reportingInterval, 20);
  assert.equal(felix.endpointReporting, true);
  assert.equal(felix.reportingTtl, 90);
  assert.deepEqual(felix.problems, []);
  assert.equal(felixParameters("b", new Map(), all).reportingInterval, 10);
});

Deno.test("what cannot be understood is named and passed over", () => {
  const all = new Map([["default", configuration({ defaultEndpointToHostAction: "Drop" })]]);
  const felix = felixParameters(
    "a",
    new Map([["defaultendpointtohostaction", "burn"], ["mtuifacepattern", "("]]),
    all,
  );
  assert.equal(felix.endpointToHostAction, "drop");
  assert.ok(felix.mtuInterfacePattern.test("eth0"));
  assert.equal(felix.problems.length, 2);
  assert.match(felix.problems.join(), /burn/);
});

Deno.test("VXLAN's settings are Calico's, with its defaults", () => {
  const none = felixParameters("a", new Map(), new Map());
  const { vxlanEnabled, vxlanPort, vxlanVni, vxlanMtu, ipipMtu } = none;
  assert.deepEqual([vxlanEnabled, vxlanPort, vxlanVni, vxlanMtu, ipipMtu], [
    undefined,
    4789,
    4096,
    { 4: 0, 6: 0 },
    0,
  ]);
  const spec = { vxlanEnabled: false, vxlanVNI: 7, vxlanPort: 8472, vxlanMTU: 1400, ipipMTU: 1440 };
  const all = new Map([["default", configuration({ ...spec, vxlanMTUV6: 1380 })]]);
  const set = felixParameters("a", new Map([["vxlanvni", "16777216"]]), all);
  assert.equal(set.vxlanEnabled, false);
  assert.deepEqual([set.vxlanPort, set.vxlanVni, set.ipipMtu], [8472, 7, 1440]);
  assert.deepEqual(set.vxlanMtu, { 4: 1400, 6: 1380 });
  assert.match(set.problems.join(), /FELIX_VXLANVNI="16777216" is not a number from 0 to 16777215/);
});

Deno.test("what VXLAN cannot work with is passed over, each with what would do", () => {
  const spec = { vxlanPort: 0, vxlanMTU: 67, vxlanMTUV6: 1279, ipipMTU: 60 };
  const felix = felixParameters("a", new Map(), new Map([["default", configuration(spec)]]));
  assert.deepEqual([felix.vxlanPort, felix.vxlanMtu, felix.ipipMtu], [4789, { 4: 0, 6: 0 }, 0]);
  const mtu = (least: number) => `an MTU from ${least} to 65535, nor 0 for what the links leave`;
  assert.deepEqual(felix.problems, [
    'spec.vxlanPort="0" is not a number from 1 to 65535; it is passed over',
    `spec.vxlanMTU="67" is not ${mtu(68)}; it is passed over`,
    `spec.vxlanMTUV6="1279" is not ${mtu(1280)}; it is passed over`,
    `spec.ipipMTU="60" is not ${mtu(68)}; it is passed over`,
  ]);
  const least = { vxlanPort: 1, vxlanMTU: 68, vxlanMTUV6: 1280 };
  const fits = felixParameters("a", new Map(), new Map([["default", configuration(least)]]));
  assert.deepEqual([fits.vxlanPort, fits.vxlanMtu, fits.problems], [1, { 4: 68, 6: 1280 }, []]);
});

Deno.test("the variables that are told are those by which policy differs, and no others", () => {
  const policy = (environment: Record<string, string>) =>
    policyParameters(felixParameters("a", new Map(Object.entries(environment)), new Map()));
  const values = ["drop", "7", "true", "Enabled", "any", "tap", "reject", "IPPoolsAndHostIPs"];
  values.push("198.51.100.0/24");
  const differing = new Set<string>();
  const read = new Set<string>();
  const names = new class extends Map<string, string> {
    override get(name: string) {
      read.add(name);
      return undefined;
    }
  }();
  felixParameters("a", names, new Map());
  for (const name of read) {
    for (const value of values) {
      const [with_, without] = [policy({ [name]: value }), policy({})];
      if (JSON.stringify(with_) !== JSON.stringify(without)) differing.add(name);
    }
  }
  assert.ok(read.size > 15);
  assert.deepEqual([...differing].sort(), [...POLICY_VARIABLES].sort());
});

Deno.test("policy has what is set of it, from variables and configurations alike", () => {
  const settings: [variable: string, field: string, value: unknown, want: object][] = [
    ["NftablesFilterDenyAction", "nftablesFilterDenyAction", "Reject", { denyAction: "reject" }],
    ["IptablesFilterDenyAction", "iptablesFilterDenyAction", "Reject", { denyAction: "reject" }],
    ["DisableConntrackInvalidCheck", "disableConntrackInvalidCheck", true, { dropInvalid: false }],
    ["AllowVXLANPacketsFromWorkloads", "allowVXLANPacketsFromWorkloads", true, {
      allowVxlanFromWorkloads: true,
    }],
    ["AllowIPIPPacketsFromWorkloads", "allowIPIPPacketsFromWorkloads", true, {
      allowIpipFromWorkloads: true,
    }],
    ["ExternalNodesCIDRList", "externalNodesList", ["10.10.1.1", "198.51.100.7/24"], {
      externalNodes: ["10.10.1.1/32", "198.51.100.0/24"],
    }],
    ["NATOutgoingExclusions", "natOutgoingExclusions", "IPPoolsAndHostIPs", {
      natOutgoingExclusions: "IPPoolsAndHostIPs",
    }],
    ["NATPortRange", "natPortRange", "32768:65535", { natPorts: [32768, 65535] }],
    ["NATPortRange", "natPortRange", 4000, { natPorts: [4000, 4000] }],
    ["IptablesNATOutgoingInterfaceFilter", "iptablesNATOutgoingInterfaceFilter", "eth+", {
      natOutgoingInterface: "eth*",
    }],
    ["LogPrefix", "logPrefix", "denied", { logPrefix: "denied: " }],
    ["IpInIpEnabled", "ipipEnabled", true, { ipip: true }],
  ];
  const none = policyParameters(felixParameters("a", new Map(), new Map()));
  for (const [variable, field, value, want] of settings) {
    const environment = new Map([[variable.toLowerCase(), String(value)]]);
    const configurations = new Map([["default", configuration({ [field]: value })]]);
    for (
      const felix of [
        felixParameters("a", environment, new Map()),
        felixParameters("a", new Map(), configurations),
      ]
    ) {
      assert.deepEqual(policyParameters(felix), { ...none, ...want }, field);
      assert.deepEqual([felix.problems, felix.unfollowed], [[], []], field);
    }
  }
  // Ours are nftables' rules.
  const both = { nftablesFilterDenyAction: "Drop", iptablesFilterDenyAction: "Reject" };
  const felix = felixParameters("a", new Map(), new Map([["default", configuration(both)]]));
  assert.equal(felix.denyAction, "drop");
  const bad = { natPortRange: "9:8", externalNodesList: ["here"], logPrefix: "%k" };
  const { problems } = felixParameters("a", new Map(), new Map([["default", configuration(bad)]]));
  assert.deepEqual(problems.length, 3, problems.join());
});

Deno.test("what is set and not followed is named, each source in one sentence", () => {
  const told = (spec: object, environment: Record<string, string> = {}, name = "default") =>
    felixParameters(
      "a",
      new Map(Object.entries(environment)),
      new Map([[name, configuration(spec)]]),
    ).unfollowed;
  assert.deepEqual(told({ natOutgoingAddress: "192.0.2.1", chainInsertMode: "Append" }), [
    "FelixConfiguration default: chainInsertMode, natOutgoingAddress are set and not followed: " +
    "they have no effect here",
  ]);
  assert.deepEqual(told({ wireguardEnabled: true, wireguardMTU: 1300 }, {}, "node.a"), [
    "FelixConfiguration node.a: wireguardEnabled is set and not followed: it has no effect here",
  ]);
  assert.deepEqual(told({ wireguardEnabled: true }, {}, "node.b"), []);
  assert.deepEqual(told({}, { natoutgoingaddress: "192.0.2.1", misspelt: "1" }), [
    "FELIX_MISSPELT, FELIX_NATOUTGOINGADDRESS are set and not followed: they have no effect here",
  ]);
  assert.deepEqual(told({ nodeSelector: "all()", vxlanMTU: 1300 }, {}, "some"), [
    "FelixConfiguration some: nodeSelector is set and not followed: it has no effect here",
  ]);
  // Felix's own defaults, what Calico's manifests set and what its node writes by itself.
  const usual = {
    ...{ logSeverityScreen: "Info", reportingInterval: "0s", floatingIPs: "Disabled" },
    ...{ bpfConnectTimeLoadBalancing: "TCP", bpfHostNetworkedNATWithoutCTLB: "Enabled" },
    ...{ bpfLogLevel: "", nftablesMode: "Auto", iptablesRefreshInterval: "3m", bpfEnabled: false },
    ...{ healthPort: 9099, vxlanEnabled: true, iptablesMarkMask: 0xffff0000, routeTableRanges: [] },
  };
  const manifest = {
    ...{ wireguardmtu: "0", typhak8sservicename: "none", logseverityscreen: "info" },
    ...{ healthenabled: "true", datastoretype: "kubernetes", ipinipmtu: "0", ipv6support: "false" },
    ...{ interfacerefreshinterval: "90", etcdendpoints: "http://127.0.0.1:2379" },
  };
  assert.deepEqual(told(usual, manifest), []);
});

Deno.test("durations are Go's", () => {
  for (
    const [text, want] of [["1m30s", 90], ["1h", 3600], ["250ms", 0.25], ["15", 15], [
      "0s",
      0,
    ]] as const
  ) assert.equal(parseDuration(text), want);
  for (const text of ["", "s", "1x", "1 s", "-1s"]) assert.equal(parseDuration(text), undefined);
});
