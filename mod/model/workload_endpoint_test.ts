import assert from "node:assert/strict";
import fc from "fast-check";
import {
  expectedEndpointName,
  parseWorkloadEndpointName,
  workloadEndpointKind,
  workloadEndpointName,
  workloadEndpointNamePrefix,
} from "./workload_endpoint.ts";
import { ModelError, parseObject } from "./validate.ts";

Deno.test("names are Calico's", () => {
  const name = workloadEndpointName({
    node: "node-1",
    orchestrator: "k8s",
    id: "web-0",
    endpoint: "eth0",
  });
  assert.equal(name, "node--1-k8s-web--0-eth0");
  assert.equal(
    expectedEndpointName({
      orchestrator: "cni",
      node: "cal1",
      containerID: "ctr0",
      endpoint: "eth0",
    }),
    "cal1-cni-ctr0-eth0",
  );
});

const part = fc.string({ unit: fc.constantFrom(..."ab-.1"), minLength: 1, maxLength: 8 })
  .filter((s) => !s.startsWith("-") && !s.endsWith("-"));

Deno.test("a name is taken apart into its parts, and only its own prefix fits", () => {
  fc.assert(fc.property(part, part, part, part, part, (node, orchestrator, id, endpoint, other) => {
    const parts = { node, orchestrator, id, endpoint };
    const name = workloadEndpointName(parts)!;
    assert.deepEqual(parseWorkloadEndpointName(name), parts);
    assert.ok(name.startsWith(workloadEndpointNamePrefix(parts)));
    if (other !== id) assert.notEqual(workloadEndpointName({ ...parts, id: other }), name);
  }));
});

Deno.test("parts that cannot be told apart again give no name", () => {
  for (const bad of ["", "-a", "a-"]) {
    assert.equal(
      workloadEndpointName({ node: bad, orchestrator: "k8s", id: "p", endpoint: "e" }),
      undefined,
    );
  }
  for (const bad of ["a-b-c", "a-b-c-d-e", "a-b--c-d", "-a-b-c-d", ""]) {
    assert.equal(parseWorkloadEndpointName(bad), undefined, bad);
  }
});

function refusal(more: Record<string, unknown>, name?: string): string {
  const spec = { node: "n1", orchestrator: "k8s", pod: "p", endpoint: "eth0", ...more };
  try {
    parseObject(workloadEndpointKind, { metadata: { name, namespace: "n" }, spec }, {
      write: true,
    });
    return "";
  } catch (error) {
    assert.ok(error instanceof ModelError);
    return error.message;
  }
}

Deno.test("an endpoint has single addresses, NATs of its own, and named or mapped ports", () => {
  const interfaceName = "cali0";
  assert.equal(refusal({ interfaceName, ipNetworks: ["10.0.0.1/32", "fd00::1/128"] }), "");
  assert.match(refusal({ interfaceName, ipNetworks: ["10.0.0.0/31"] }), /ipNetworks\[0\].*\/32/);
  assert.match(
    refusal({
      interfaceName,
      ipNetworks: ["10.0.0.1/32"],
      ipNATs: [{ internalIP: "10.0.0.2", externalIP: "192.0.2.1" }],
    }),
    /ipNATs\[0\]\.internalIP: 10\.0\.0\.2 is none of/,
  );
  assert.match(
    refusal({ interfaceName, ports: [{ protocol: "TCP", port: 80 }] }),
    /ports\[0\]\.name: is missing/,
  );
  assert.match(refusal({}), /interfaceName: is missing/);
});

Deno.test("an endpoint's name is the one that its spec says", () => {
  const interfaceName = "cali0";
  assert.equal(refusal({ interfaceName }), "");
  assert.equal(refusal({ interfaceName }, "n1-k8s-p-eth0"), "");
  assert.match(refusal({ interfaceName }, "e"), /"e" is not allowed: want n1-k8s-p-eth0, as the/);
  assert.match(refusal({ interfaceName, pod: "" }, "e"), /"e" names no endpoint: want node, orch/);
});

Deno.test("each limit of an endpoint is in Calico's range, or 0", () => {
  const ranges: [field: string, least: number, most: number][] = [
    ["Bandwidth", 1e3, 1e15],
    ["Burst", 1e3, 34_359_738_360],
    ["Peakrate", 1010, 1.01e15],
    ["Minburst", 1e3, 1e8],
    ["PacketRate", 1, 10_000],
    ["PacketBurst", 1, 10_000],
    ["MaxConnections", 1, 4_294_967_295],
  ];
  for (const direction of ["ingress", "egress"]) {
    for (const [what, least, most] of ranges) {
      const field = direction + what;
      const told = (n: number) => refusal({ interfaceName: "c", qosControls: { [field]: n } });
      for (const good of [0, least, most]) assert.equal(told(good), "", `${field} ${good}`);
      for (const bad of [least === 1 ? -1 : least - 1, most + 1, 1.5]) {
        assert.match(told(bad), new RegExp(`${field}: ${bad} is not allowed: want a whole`));
      }
    }
  }
});
