import assert from "node:assert/strict";
import { AnnotationSource } from "./annotation_source.ts";
import { CniError } from "./errors.ts";
import { parseQuantity, readQos } from "./qos.ts";

const Q = "qos.projectcalico.org/";
const read = (annotations: Record<string, string>) =>
  readQos(new AnnotationSource(annotations, "Pod blue/p"));

Deno.test("qos: Kubernetes' quantities", () => {
  const cases: [string, number | undefined][] = [
    ["10M", 10_000_000],
    ["1.5k", 1500],
    ["1Ki", 1024],
    ["2e3", 2000],
    ["2E3", 2000],
    ["1E", 1e18],
    ["100m", 1],
    [".5k", 500],
    ["7", 7],
    ["", undefined],
    ["M", undefined],
    ["10 M", undefined],
    ["10MB", undefined],
    ["0x10", undefined],
  ];
  for (const [text, value] of cases) assert.equal(parseQuantity(text), value, text);
});

Deno.test("qos: bandwidth, Calico's before Kubernetes', with Calico's defaults", () => {
  assert.equal(read({}), undefined);
  assert.deepEqual(
    read({
      "kubernetes.io/ingress-bandwidth": "1M",
      "kubernetes.io/egress-bandwidth": "2M",
      [Q + "ingressBandwidth"]: "10M",
      [Q + "ingressBurst"]: "1M",
      [Q + "egressPacketRate"]: "100",
      [Q + "ingressMaxConnections"]: "5",
    }),
    {
      ingressBandwidth: 10_000_000,
      egressBandwidth: 2_000_000,
      ingressBurst: 1_000_000,
      egressBurst: 4_294_967_296,
      egressPacketRate: 100,
      egressPacketBurst: 5,
      ingressMaxConnections: 5,
    },
  );
});

Deno.test("qos: what cannot be followed is refused, never passed over", () => {
  const wrong: [string, string, RegExp][] = [
    [Q + "ingressBandwidth", "10", /"10" is not from 1000 to/],
    [Q + "ingressBandwidth", "1E", /is not from 1000 to/],
    [Q + "ingressBandwidth", "fast", /not a quantity of Kubernetes/],
    ["kubernetes.io/egress-bandwidth", "x", /not a quantity of Kubernetes/],
    [Q + "egressBurst", "10k", /needs qos\.projectcalico\.org\/egressBandwidth/],
    [Q + "egressPacketBurst", "10", /needs qos\.projectcalico\.org\/egressPacketRate/],
    [Q + "egressPacketRate", "20k", /not from 1 to 10000 packets a second/],
    [Q + "ingressMaxConnections", "0", /not from 1 to/],
    [Q + "ingressPeakrate", "20M", /is not supported here/],
    [Q + "egressMinburst", "2000", /is not supported here/],
    [Q + "dscp", "AF11", /is not supported here/],
  ];
  for (const [name, value, words] of wrong) {
    assert.throws(
      () => read({ [name]: value }),
      (e) =>
        e instanceof CniError && e.code === 102 && words.test(e.message) &&
        e.message.startsWith(`Pod blue/p: annotation ${name} `),
      `${name}=${value}`,
    );
  }
});
