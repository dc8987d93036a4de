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
  const values = ["drop", "7", "true", "Enabled", "any", "tap"];
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

Deno.test("durations are Go's", () => {
  for (
    const [text, want] of [["1m30s", 90], ["1h", 3600], ["250ms", 0.25], ["15", 15], [
      "0s",
      0,
    ]] as const
  ) assert.equal(parseDuration(text), want);
  for (const text of ["", "s", "1x", "1 s", "-1s"]) assert.equal(parseDuration(text), undefined);
});
