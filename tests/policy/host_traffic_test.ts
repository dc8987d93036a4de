/**
 * What nodes and pods say to each other: `policy explain` of the running cluster against real
 * connections, from and to a pod's own node and another one, by settings of one node and of all.
 */
import assert from "node:assert/strict";
import { isKernelError } from "../../ffi/errors.ts";
import { connectTcp } from "../../ffi/tcp.ts";
import { netnsPath } from "../../mod/lab/cluster.ts";
import { mustIp } from "../../mod/net/mod.ts";
import { Netns, pod, until, withLab } from "../cluster/harness.ts";

const options = { sanitizeResources: false, sanitizeOps: false };
const PORT = 8080;

/** Whether the first packet arrives and is answered: by a listener, or by a refusal. */
async function reaches(from: string, to: string): Promise<boolean> {
  const netns = Netns.open(netnsPath(from));
  try {
    const stream = await connectTcp({
      remote: { ip: mustIp(to), port: PORT },
      netns,
      timeout: 700,
    });
    stream.close();
    return true;
  } catch (error) {
    if (isKernelError(error, "ECONNREFUSED")) return true;
    assert.ok(isKernelError(error, "ETIMEDOUT"), `${error}`);
    return false;
  } finally {
    netns.close();
  }
}

Deno.test("explain says of nodes' traffic what the kernel does", options, async (t) => {
  await withLab({ subnets: "2" }, async (lab) => {
    const placed = (name: string, nodeName: string) => {
      const object = JSON.parse(pod(name, { ports: [PORT] }));
      return JSON.stringify({ ...object, spec: { ...object.spec, nodeName } });
    };
    const [one] = await lab.run(placed("one", "node1"));
    const [two] = await lab.run(placed("two", "node2"));
    const hosts = ["node1", "node2"].map((name) => lab.node(name));
    const explained = async (from: string, to: string) => {
      const said = await lab.tortie(
        ["policy", "explain", "--from", from, "--to", to, "--port", `${PORT}/tcp`, "-o", "json"],
      );
      assert.equal(said.exit, 0, said.stderr);
      return JSON.parse(said.stdout).allowed as boolean;
    };
    const sides = [
      ...[one, two].map((p) => ({
        netns: p.netns,
        address: p.addresses[0],
        name: p === one ? "one" : "two",
      })),
      ...hosts.map((h) => ({
        netns: h.namespace,
        address: h.addresses[0].split("/")[0],
        name: h.name,
      })),
    ];
    /** All pairs with a pod among them: what is expected, what is explained, what happens. */
    const check = async (expected: Record<string, boolean>) => {
      let denied = 0;
      for (const from of sides) {
        for (const to of sides) {
          if (from === to || (hosts.some((h) => h.name === from.name) && /^node/.test(to.name))) {
            continue;
          }
          const pair = `${from.name} -> ${to.name}`;
          const allowed = expected[pair] ?? true;
          if (!allowed) denied++;
          assert.equal(await explained(from.address, to.address), allowed, `explain: ${pair}`);
          await until(
            `${pair}: ${allowed ? "reaches" : "is denied"}`,
            20_000,
            async () => await reaches(from.netns, to.address) === allowed,
          );
        }
      }
      assert.equal(denied, Object.keys(expected).length);
    };
    const felix = (name: string, spec: unknown) =>
      lab.apply(JSON.stringify({
        apiVersion: "projectcalico.org/v3",
        kind: "FelixConfiguration",
        metadata: { name },
        spec,
      }));

    await t.step("no policy: everybody reaches everybody", () => check({}));
    await lab.apply(JSON.stringify({
      apiVersion: "networking.k8s.io/v1",
      kind: "NetworkPolicy",
      metadata: { name: "closed", namespace: "default" },
      spec: { podSelector: {}, policyTypes: ["Ingress"] },
    }));
    const closed = {
      "one -> two": false,
      "two -> one": false,
      "node1 -> two": false,
      "node2 -> one": false,
    };
    await t.step("pods closed: only their own node reaches them", () => check(closed));
    await felix("node.node1", { defaultEndpointToHostAction: "Drop" });
    await t.step("one node denies its pods", () => check({ ...closed, "one -> node1": false }));
    await felix("default", { defaultEndpointToHostAction: "Drop" });
    await felix("node.node1", { defaultEndpointToHostAction: "Accept" });
    await t.step(
      "all but one deny their pods",
      () => check({ ...closed, "two -> node2": false }),
    );
  });
});

Deno.test("explain knows what a node's environment sets", options, async () => {
  const env = { FELIX_DEFAULTENDPOINTTOHOSTACTION: "Drop" };
  await withLab({ subnets: "1", env }, async (lab) => {
    const [one] = await lab.run(pod("one", { ports: [PORT] }));
    const address = lab.node("node1").addresses[0].split("/")[0];
    await until("denied", 20_000, async () => !await reaches(one.netns, address));
    const said = await lab.tortie(
      ["policy", "explain", "--from", "one", "--to", address, "--port", `${PORT}/tcp`],
    );
    assert.equal(said.exit, 0, said.stderr);
    assert.match(said.stdout, /: denied\n[^]*DefaultEndpointToHostAction denies it/);
    assert.doesNotMatch(said.stdout, /FELIX_/);
  });
});
