import assert from "node:assert/strict";
import { handleId, hostInterfaceName, identify, otherHostInterfaceName } from "./identity.ts";
import { formatMark, parseMark } from "./mark.ts";

const pod = (name: string, namespace = "blue", ifname = "eth0") =>
  identify(
    {
      containerId: "k8sctr-a",
      ifname,
      netns: "/x",
      args: { pod: { namespace, name }, addresses: [] },
    },
    "k8s-pod-network",
    "cal1",
  );
const plain = (containerId: string, ifname = "eth0") =>
  identify({ containerId, ifname, netns: "/x", args: { addresses: [] } }, "calnet", "cal1");

// What Calico 3.32.1 wrote for the same input.
Deno.test("identity: names of pods and containers are Calico's", () => {
  const a = pod("p-a");
  assert.equal(a.name, "cal1-k8s-p--a-eth0");
  assert.equal(
    a.key,
    "/calico/resources/v3/projectcalico.org/workloadendpoints/blue/cal1-k8s-p--a-eth0",
  );
  assert.equal(a.handle, "k8s-pod-network.k8sctr-a");
  assert.equal(hostInterfaceName(a, "cali"), "cali6e43fc92791");
  assert.equal(hostInterfaceName(pod("p-dual"), "cali"), "calic4eced77295");
  const ctr = plain("ctr0");
  assert.equal(ctr.name, "cal1-cni-ctr0-eth0");
  assert.equal(ctr.namespace, "default");
  assert.equal(ctr.handle, "calnet.ctr0");
  assert.equal(hostInterfaceName(ctr, "cali"), "calictr0");
  assert.equal(hostInterfaceName(plain("0123456789abcdef"), "cali"), "cali0123456789a");
});

Deno.test("identity: a second interface has a handle and a host name of its own", () => {
  assert.equal(handleId("n", "c", "eth0"), "n.c");
  assert.equal(handleId("n", "c", "net1"), "n.c.net1");
  const [first, second] = [plain("ctr0"), plain("ctr0", "net1")];
  assert.notEqual(first.name, second.name);
  assert.notEqual(otherHostInterfaceName(first, "cali"), otherHostInterfaceName(second, "cali"));
  assert.ok(otherHostInterfaceName(second, "cali").length <= 15);
});

Deno.test("mark: read back as written; another's alias is none", () => {
  for (const state of ["adding", "in use"] as const) {
    const mark = { state, containerId: "c-1", ifname: "eth0" };
    assert.deepEqual(parseMark(formatMark(mark)), mark);
  }
  for (const alias of [undefined, "", "tortie", "tortie pod x", "uplink to rack 3"]) {
    assert.equal(parseMark(alias), undefined);
  }
});
