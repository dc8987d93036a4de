import assert from "node:assert/strict";
import { objectsOf } from "./documents.ts";

const read = (text: string) => objectsOf(text, "f").map(({ value }) => value as any);

Deno.test("a number or boolean where a text belongs is that text, as for calicoctl", () => {
  const [set] = read(
    "{apiVersion: projectcalico.org/v3, kind: NetworkSet, metadata: {name: 12, namespace: 7, " +
      "labels: {rack: 1, gpu: true, out: no, part: 0.50, oct: 010, q: '1', none: null, far: 1e-7, " +
      "small: 0.00001, low: 0.0001, large: 1234567.5, middle: 123456.5, e1: e12, " +
      "commit: 12e4567, none_at_all: .nan, most: .inf, over: 1.5e98, third: 0.3333333333333333, " +
      "minus: -0.0, beyond: 18446744073709551616}}}",
  );
  assert.deepEqual(set.metadata, {
    name: "12",
    namespace: "7",
    labels: {
      rack: "1",
      gpu: "true",
      out: "false",
      part: "0.5",
      oct: "8",
      q: "1",
      none: null,
      far: "1e-07",
      small: "1e-05",
      low: "0.0001",
      large: "1.2345675e+06",
      middle: "123456.5",
      e1: "e12",
      commit: "12e4567",
      none_at_all: "NaN",
      most: "+Inf",
      over: "+Inf",
      third: "0.33333334",
      minus: "-0",
      beyond: "1.8446744e+19",
    },
  });
});

Deno.test("what is no text, or may be one, is what it was", () => {
  const [policy] = read(`
apiVersion: projectcalico.org/v3
kind: GlobalNetworkPolicy
metadata: {name: p}
spec:
  order: 5
  applyOnForward: true
  selector: true
  unknown: 3
  ingress:
  - {action: Allow, protocol: 6, destination: {ports: [80, "90:100"]}}
`);
  const [felix] = read(
    "{apiVersion: projectcalico.org/v3, kind: FelixConfiguration, metadata: {name: default}, " +
      "spec: {routeRefreshInterval: 0}}",
  );
  assert.equal(felix.spec.routeRefreshInterval, 0);
  assert.equal(policy.spec.order, 5);
  assert.equal(policy.spec.applyOnForward, true);
  assert.equal(policy.spec.selector, "true");
  assert.equal(policy.spec.unknown, 3);
  assert.deepEqual(policy.spec.ingress[0].protocol, 6);
  assert.deepEqual(policy.spec.ingress[0].destination.ports, [80, "90:100"]);
  assert.deepEqual(read("{kind: Strange, metadata: {name: 1}}"), [
    { kind: "Strange", metadata: { name: 1 } },
  ]);
});
