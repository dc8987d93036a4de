/**
 * What users of such networks have complained about for years, live connections that should end and
 * others that should not: each reproduced. The numbers are rows of our list of complaints; the threads
 * are the users' own.
 */
import assert from "node:assert/strict";
import { signal } from "../../ffi/process.ts";
import { startNode, waitReady } from "../../mod/lab/cluster.ts";
import { callPlugin } from "../../mod/lab/pods.ts";
import type { PodRecord } from "../../mod/lab/record.ts";
import { resourceKey } from "../../mod/model/keys.ts";
import { podKind } from "../../mod/model/pod.ts";
import { workloadEndpointKind } from "../../mod/model/workload_endpoint.ts";
import { pause, pod, podPings, until, withLab } from "../cluster/harness.ts";
import { asker, dns, ingress, stamp, Talk, tracked } from "./traffic.ts";

const options = { sanitizeResources: false, sanitizeOps: false };

Deno.test(
  "33: a change from allow to deny cuts live connections, and no others",
  options,
  async () => {
    // calico#6399, #2759: what was open before the policy stayed open.
    await withLab({ subnets: "2" }, async (lab) => {
      const { record } = lab;
      const node2 = lab.node("node2");
      const [a] = await lab.run(pod("a"), { node: "node1" });
      const [c] = await lab.run(pod("c"), { node: "node1" });
      const [b] = await lab.run(pod("b", { ports: [80] }), { node: "node2" });
      const opened = async (from: PodRecord) => {
        let talk: Talk | undefined;
        await until("b listens", 5000, async () => {
          talk = await Talk.open(from, b.addresses[0], 80);
          return true;
        });
        assert.ok(await talk!.answers(3000));
        return talk!;
      };
      const [fromA, fromC] = [await opened(a), await opened(c)];
      await lab.apply(ingress("b", "b", ["c"]));
      await until("a's connection is cut", 5000, async () => !await fromA.answers(300));
      assert.equal(await fromA.answers(2000), false, "nor does it come back");
      assert.ok(await fromC.answers(3000), "c's goes on");
      // What changes while the node's service is down is enforced when it is up again.
      signal(record.processes.node2, 9);
      await lab.apply(ingress("b", "b", ["nobody"]));
      assert.ok(await fromC.answers(3000), "nobody is there to cut");
      startNode(record, node2);
      await waitReady(record);
      await until("c's connection is cut", 5000, async () => !await fromC.answers(300));
      assert.equal(await fromC.answers(2000), false);
      fromA.stream.close();
      fromC.stream.close();
    });
  },
);

Deno.test(
  "34: an address that a pod lost leaves no tracked connection behind",
  options,
  async () => {
    // calico#4124, #4073, kubernetes#93143: UDP went on to a pod that was gone.
    await withLab({ subnets: "2" }, async (lab) => {
      const { record } = lab;
      const [a] = await lab.run(pod("a"), { node: "node1" });
      const [other] = await lab.run(dns("other"), { node: "node2" });
      const [old] = await lab.run(dns("old", "10.244.1.200"), { node: "node2" });
      const [address] = old.addresses;
      assert.equal(address, "10.244.1.200");
      const asking = asker(a), askingOther = asker(a);
      await until("old answers", 5000, () => asking.answered(address));
      await until("other answers", 5000, () => askingOther.answered(other.addresses[0]));
      const others = await stamp(lab, "node2", other.addresses[0]);
      await stamp(lab, "node2", address);
      await lab.remove(old);
      await until(
        "old's connections are forgotten",
        3000,
        async () => (await tracked(lab, "node2", address)).length === 0,
      );
      assert.deepEqual(await tracked(lab, "node2", other.addresses[0]), others, "others' stay");
      // The next holder of the address is asked from the very same port, and starts anew.
      const [next] = await lab.run(dns("next", address), { node: "node2" });
      await until("next answers", 5000, () => asking.answered(address));
      const [after] = await tracked(lab, "node2", address);
      assert.match(after, /dport=53 mark=0/);
      // Also what goes while the node's service is down.
      await pause(1500); // the last state is written a second after a change
      signal(record.processes.node2, 9);
      await callPlugin({ command: "DEL", node: lab.node("node2"), pod: next });
      assert.deepEqual(await tracked(lab, "node2", address), [after], "nobody is there to forget");
      startNode(record, lab.node("node2"));
      await waitReady(record);
      await until(
        "next's connections are forgotten",
        5000,
        async () => (await tracked(lab, "node2", address)).length === 0,
      );
      asking.close();
      askingOther.close();
    });
  },
);

Deno.test(
  "35: an endpoint that lives keeps its connections, whatever is written",
  options,
  async () => {
    // felix#1966: live flows were taken out of conntrack when an endpoint was updated.
    await withLab({ subnets: "2" }, async (lab) => {
      const { record, store } = lab;
      const [a] = await lab.run(pod("a"), { node: "node1" });
      const [b] = await lab.run(dns("b", "10.244.1.200"), { node: "node2" });
      const [address] = b.addresses;
      const asking = asker(a);
      await until("b answers", 5000, () => asking.answered(address));
      const before = await stamp(lab, "node2", address);
      const same = async (what: string) => {
        await pause(300);
        assert.ok(await asking.answered(address, 3000), what);
        assert.deepEqual(await tracked(lab, "node2", address), before, what);
      };
      await lab.resources.modify(podKind, "b", "default", (p) => ({
        ...p,
        metadata: { ...p.metadata, labels: { app: "b", more: "labels" } },
      }));
      await same("labels changed");
      const { items } = await lab.resources.list(workloadEndpointKind);
      const { metadata } = items.find((e) => e.spec.pod === "b")!;
      const key = resourceKey(workloadEndpointKind, metadata.name, metadata.namespace);
      const entry = (await store.get(key))!;
      await store.put(key, entry.value);
      await same("object written anew");
      // By hand: policy closes the pod meanwhile, and nothing is lost when it is back.
      await store.delete(key);
      await until("closed", 3000, async () => !await asking.answered(address));
      await store.create(key, entry.value);
      await until("open again", 3000, () => asking.answered(address));
      await same("object deleted and made again");
      signal(record.processes.node2, 9);
      startNode(record, lab.node("node2"));
      await waitReady(record);
      await same("service restarted");
      asking.close();
    });
  },
);

Deno.test(
  "36: a pod that terminates keeps network and policy until CNI takes it away",
  options,
  async () => {
    // calico#4518: a pod lost its network with its deletionTimestamp, while it still had work to do.
    await withLab({ subnets: "2" }, async (lab) => {
      const { store } = lab;
      const [friend] = await lab.run(pod("friend"), { node: "node1" });
      const [stranger] = await lab.run(pod("stranger"), { node: "node1" });
      const [b] = await lab.run(pod("b", { ports: [80] }), { node: "node2" });
      const [address] = b.addresses;
      await lab.apply(ingress("b", "b", ["friend"]));
      await until("stranger is out", 3000, async () => !await podPings(stranger, address));
      let talk: Talk | undefined;
      await until("b listens", 5000, async () => {
        talk = await Talk.open(friend, address, 80);
        return true;
      });
      const inForce = async (what: string) => {
        await pause(300);
        assert.ok(await talk!.answers(3000), `${what}: the connection lives`);
        assert.ok(await podPings(friend, address), `${what}: new ones come in`);
        assert.ok(await podPings(b, stranger.addresses[0]), `${what}: and go out`);
        assert.equal(await podPings(stranger, address), false, `${what}: policy holds`);
      };
      const key = resourceKey(podKind, "b", "default");
      for (const phase of ["Running", "Succeeded", "Failed"]) {
        const { value } = (await store.get<Record<string, any>>(key))!;
        await store.put(key, {
          ...value,
          metadata: { ...value.metadata, deletionTimestamp: "2026-01-01T00:00:00Z" },
          status: { ...value.status, phase },
        });
        await inForce(`terminating, ${phase}`);
      }
      await store.delete(key);
      await inForce("object gone, sandbox there");
      await callPlugin({ command: "DEL", node: lab.node("node2"), pod: b });
      assert.equal(await podPings(friend, address), false);
      talk!.stream.close();
    });
  },
);
