import assert from "node:assert/strict";
import { CLAIMED_ADDRESSES } from "../model/workload_endpoint.ts";
import { ClaimedAddresses } from "./claimed_addresses.ts";
import { ClusterState } from "./state.ts";

const BLOCK = "/calico/ipam/v2/assignment/ipv4/block/10.244.1.0-26";
const BLOCK6 = "/calico/ipam/v2/assignment/ipv6/block/fd00::-122";
const KEY = "/calico/resources/v3/projectcalico.org/workloadendpoints/red/n1-k8s-web-eth0";

const entry = (nets: string[], claimed = true, pod = "web") => ({
  key: KEY,
  revision: "7",
  value: {
    kind: "WorkloadEndpoint",
    metadata: {
      name: `n1-k8s-${pod}-eth0`,
      namespace: "red",
      ...(claimed && { annotations: { [CLAIMED_ADDRESSES]: "claimed" } }),
    },
    spec: { orchestrator: "k8s", node: "n1", pod, ipNetworks: nets },
  },
});

const block = (cidr: string, ordinal: number, secondary?: Record<string, string>) => ({
  cidr,
  affinity: "host:n1",
  allocations: Array.from({ length: 64 }, (_, i) => i === ordinal ? 0 : null),
  attributes: [{ handle_id: "h", secondary }],
});

const netsOf = (taken: { value: any }) => taken.value.spec.ipNetworks;

Deno.test("an address that is only claimed counts where its block names the pod", () => {
  const state = new ClusterState("n1");
  const claims = new ClaimedAddresses(state);
  const claim = entry(["10.244.1.7/32", "fd00::9/128"]);
  assert.deepEqual(netsOf(claims.take(claim)), [], "no block has it");
  state.apply(BLOCK, block("10.244.1.0/26", 7, { pod: "web", namespace: "red" }), "8");
  const [reviewed, ...more] = claims.review(BLOCK);
  assert.deepEqual(netsOf(reviewed), ["10.244.1.7/32"]);
  assert.deepEqual(more, []);
  assert.deepEqual(claims.review(BLOCK), [], "nothing is new");
  state.apply(BLOCK6, block("fd00::/122", 9, { pod: "web", namespace: "red" }), "9");
  assert.deepEqual(netsOf(claims.review(BLOCK6)[0]), ["10.244.1.7/32", "fd00::9/128"]);
  // Given to somebody else, or free.
  for (const owner of [{ pod: "web", namespace: "blue" }, { pod: "db", namespace: "red" }, {}]) {
    state.apply(BLOCK, block("10.244.1.0/26", 7, owner as Record<string, string>), "10");
    assert.deepEqual(netsOf(claims.take(claim)), ["fd00::9/128"]);
  }
  state.apply(BLOCK, block("10.244.1.0/26", 8, { pod: "web", namespace: "red" }), "11");
  assert.deepEqual(netsOf(claims.take(claim)), ["fd00::9/128"]);
  state.apply(BLOCK6, { cidr: "fd00::/122" }, "12");
  assert.deepEqual(netsOf(claims.review(BLOCK6)[0]), [], "half-written");
  assert.deepEqual(netsOf(claims.take(entry(["nonsense", ""]))), []);
});

Deno.test("an address that is leased to the pod's ordinal counts while a container uses it", () => {
  const state = new ClusterState("n1");
  const claims = new ClaimedAddresses(state);
  const claim = entry(["10.244.1.7/32"], true, "web-1");
  const lease = (secondary: Record<string, string>) => {
    const value = block("10.244.1.0/26", 7, secondary);
    value.attributes[0].handle_id = "tortie-pin.red.web.1";
    state.apply(BLOCK, value, "8");
    return netsOf(claims.take(claim));
  };
  const used = { statefulset: "red/web", ordinal: "1", node: "n1", container: "net.c1" };
  assert.deepEqual(lease(used), ["10.244.1.7/32"]);
  const { container: _, ...kept } = used;
  const others = [kept, { ...used, ordinal: "2" }, { ...used, statefulset: "blue/web" }, {}];
  const halfWritten = [{ ...used, statefulset: 5 }, { ...used, container: null }, null];
  for (const other of [...others, ...halfWritten]) {
    assert.deepEqual(lease(other as Record<string, string>), []);
  }
});

Deno.test("what the status says is not asked about, and ends a claim", () => {
  const state = new ClusterState("n1");
  const claims = new ClaimedAddresses(state);
  const reported = entry(["10.9.9.9/32"], false);
  assert.equal(claims.take(reported), reported);
  claims.take(entry(["10.244.1.7/32"]));
  claims.take(reported);
  state.apply(BLOCK, block("10.244.1.0/26", 7, { pod: "web", namespace: "red" }), "8");
  assert.deepEqual(claims.review(BLOCK), []);
  claims.take(entry(["10.244.1.8/32"]));
  claims.forget(KEY);
  state.apply(BLOCK, block("10.244.1.0/26", 8, { pod: "web", namespace: "red" }), "9");
  assert.deepEqual(claims.review(BLOCK), []);
  for (const value of [null, 7, "x", { kind: "WorkloadEndpoint" }]) {
    const odd = { key: KEY, revision: "1", value };
    assert.equal(claims.take(odd), odd);
  }
});
