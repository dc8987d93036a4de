/**
 * What users of such networks have complained about where much policy, or another program beside, was
 * in play, each reproduced: a naive design fails here. The numbers are rows of our list of complaints;
 * the threads are the users' own.
 */
import assert from "node:assert/strict";
import { FileLock } from "../../ffi/file.ts";
import { startNode } from "../../mod/lab/cluster.ts";
import { signal } from "../../ffi/process.ts";
import { remoteStore } from "../../mod/store/remote.ts";
import { keyOf, PolicyWorld, putAll } from "../bench/policy_world.ts";
import { httpGet, pause, pod, podPings, tool, until, withLab } from "../cluster/harness.ts";

const options = { sanitizeResources: false, sanitizeOps: false };

Deno.test(
  "29: a full resync of much policy is short, and no probe waits for it",
  options,
  async () => {
    // kube-router#945, #702, #585: 675,056 rules were written anew for hours, until the liveness probe
    // killed the agent, which then began again.
    const size = { endpoints: 300, policies: 500, addresses: 200 };
    const env = { FELIX_ROUTEREFRESHINTERVAL: "1" };
    await withLab({ subnets: "1", mesh: false, env }, async (lab) => {
      const node = lab.node("node1");
      const { namespace } = node;
      const world = new PolicyWorld(size);
      const store = remoteStore(lab.record.layout.storeSocket);
      await putAll(store, world.objects());
      const marker = world.member(99_999, world.setOf(0));
      await store.put(keyOf(marker), marker);
      const listing = () => tool(namespace, "nft", "-s", "list", "table", "ip", "calico");
      const whole = () =>
        until(
          "all is in the kernel",
          90_000,
          async () => (await listing()).includes(world.addressOf(99_999)),
        );
      await whole();
      const text = await listing();
      const elements = text.match(/\b10\.1\d\d\.\d+\.\d+\b/g)!.length;
      const rules = text.split("\n").filter((line) => /counter|jump|accept|drop/.test(line)).length;
      // A rule for each address and port is what it would be without sets.
      assert.ok(elements > 100_000, `${elements}`);
      assert.ok(rules < elements / 10, `${rules} rules`);

      // Every probe is asked while the service reads and compares all of it, again and again.
      let slowest = 0, probes = 0, over = false;
      const failed: string[] = [];
      const probing = (async () => {
        while (!over) {
          const began = performance.now();
          try {
            const { status, body } = await httpGet(namespace, 9099, "/liveness");
            probes++;
            if (status !== 200) failed.push(body);
          } catch {
            // No process listens yet: kubelet would count it only after the initial delay.
          }
          slowest = Math.max(slowest, performance.now() - began);
          await pause(50);
        }
      })();
      await pause(4000);
      // From nothing: no process, no table.
      signal(lab.record.processes.node1, 9);
      await tool(namespace, "nft", "flush", "ruleset");
      const began = performance.now();
      startNode(lab.record, node);
      await until(
        "ready",
        60_000,
        async () => (await httpGet(namespace, 9099, "/readiness")).status === 200,
      );
      const took = performance.now() - began;
      assert.ok((await listing()).includes(world.addressOf(99_999)), "ready means all of it");
      await pause(2000);
      over = true;
      await probing;
      assert.deepEqual(failed, []);
      assert.ok(probes > 20, `${probes} probes`);
      assert.ok(slowest < 2000, `a probe took ${slowest} ms`);
      console.log(
        `  ${elements} addresses in ${rules} rules: from nothing in ${took.toFixed(0)} ms; ` +
          `the slowest of ${probes} probes took ${slowest.toFixed(0)} ms`,
      );
      await store.close();
    });
  },
);

/** Nine of ten are not longer. */
function p90(times: readonly number[]): number {
  return times.toSorted((a, b) => a - b)[Math.ceil(times.length * 0.9) - 1];
}

Deno.test(
  "30: changes go in while others hold the lock of iptables and commit all the time",
  options,
  async () => {
    // flannel#933, vpc-cni#2948, calico#2179: who waits for /run/xtables.lock waits for everybody.
    await withLab({ subnets: "1", mesh: false }, async (lab) => {
      const { namespace } = lab.node("node1");
      const [a] = await lab.run(pod("a"));
      const [b] = await lab.run(pod("b"));
      const admit = (...roles: string[]) =>
        lab.apply(JSON.stringify({
          apiVersion: "networking.k8s.io/v1",
          kind: "NetworkPolicy",
          metadata: { name: "b", namespace: "default" },
          spec: {
            podSelector: { matchLabels: { app: "b" } },
            ingress: roles.map((app) => ({ from: [{ podSelector: { matchLabels: { app } } }] })),
          },
        }));
      /** How long each change took from the store to the packets, in milliseconds. */
      const changes = async (rounds: number) => {
        const times: number[] = [];
        for (let round = 0; round < rounds; round++) {
          for (const allowed of [false, true]) {
            const began = performance.now();
            await admit(...(allowed ? ["a"] : ["nobody"]));
            await until(
              `a ${allowed ? "reaches" : "does not reach"} b`,
              15_000,
              async () => await podPings(a, b.addresses[0]) === allowed,
            );
            times.push(performance.now() - began);
          }
        }
        return times;
      };
      const quiet = await changes(5);
      const lock = FileLock.tryAcquire("/run/xtables.lock");
      assert.ok(lock, "somebody else holds /run/xtables.lock");
      // As kube-proxy and its like: whole tables, one process a change, as fast as they can.
      const hammer = new Deno.Command("ip", {
        args: [
          ...["netns", "exec", namespace, "sh", "-c"],
          "n=0; while :; do n=$((n+1)); " +
          "printf '*filter\\n:KUBE-X - [0:0]\\n-A KUBE-X -j ACCEPT\\nCOMMIT\\n' | iptables-nft-restore -n; " +
          "nft add table ip storm; nft add chain ip storm c$n; nft delete table ip storm; done",
        ],
        stdout: "null",
        stderr: "null",
      }).spawn();
      try {
        const generation = async () =>
          /generation (\d+)|\b(\d+)\b/.exec(
            await tool(
              namespace,
              "sh",
              "-c",
              "timeout 1 nft monitor 2>/dev/null | grep -m 1 generation || true",
            ),
          )?.slice(1).find(Boolean);
        const first = Number(await generation());
        const times = await changes(10);
        const others = Number(await generation()) - first - 2 * times.length;
        assert.ok(others > 50, `only ${others} commits of others`);
        console.log(
          `  p90 of changes: ${p90(times).toFixed(0)} ms among ${others} commits of others, ` +
            `${p90(quiet).toFixed(0)} ms in quiet`,
        );
        assert.ok(p90(times) < 3 * p90(quiet), `${times} ms; in quiet ${quiet} ms`);
        assert.equal(
          FileLock.tryAcquire("/run/xtables.lock"),
          undefined,
          "it is held all the time",
        );
        const chains = await tool(namespace, "nft", "list", "table", "ip", "filter");
        assert.match(chains, /KUBE-X/, "theirs is theirs");
      } finally {
        hammer.kill("SIGKILL");
        await hammer.status;
        lock.release();
      }
    });
  },
);
