/**
 * `ipam check` and `ipam release` beside node services: by the documented procedure (lock, check with a
 * report, release from it) nothing is freed that a container has, whatever is lost of its records.
 */
import assert from "node:assert/strict";
import { Ipam } from "../../mod/ipam/ipam.ts";
import { goTimestamp } from "../../mod/ipam/time.ts";
import { resourceKey } from "../../mod/model/keys.ts";
import { podKind } from "../../mod/model/pod.ts";
import { workloadEndpointKind } from "../../mod/model/workload_endpoint.ts";
import { remoteStore } from "../../mod/store/remote.ts";
import { Resources } from "../../mod/store/resources.ts";
import { command } from "../cli/harness.ts";
import { isGone, pod, tool, until, withLab } from "./harness.ts";

const options = { sanitizeResources: false, sanitizeOps: false };

Deno.test("a release from a report takes nothing from containers that run", options, async () => {
  await withLab({ subnets: "1" }, async (lab) => {
    const [lost] = await lab.run(pod("lost"), { node: "node1" });
    const [broken] = await lab.run(pod("broken"), { node: "node1" });
    const [gone] = await lab.run(pod("gone"), { node: "node1" });
    const [address, half, leaked] = [lost, broken, gone].map((one) => one.addresses[0]);
    const { storeSocket, directory } = lab.record.layout;
    const store = remoteStore(storeSocket);
    try {
      const resources = new Resources(store);
      const ipam = new Ipam(store);
      const report = `${directory}/report.json`;
      const tortie = async (line: string, exit: number) => {
        const answer = await command(line.split(" "), { env: { TORTIE_STORE: storeSocket } });
        assert.equal(answer.exit, exit, `${line}: ${answer.out}${answer.err}`);
        return answer.out;
      };
      await tortie("ipam check", 0);
      const endpoint = (name: string) =>
        resourceKey(workloadEndpointKind, `node1-k8s-${name}-eth0`, "default");
      const { spec } = await resources.mustGet(
        workloadEndpointKind,
        "node1-k8s-gone-eth0",
        "default",
      );
      for (const name of ["lost", "broken", "gone"]) {
        if (name !== "broken") await store.delete(endpoint(name));
        await store.delete(resourceKey(podKind, name, "default"));
      }
      await store.put(endpoint("broken"), null);
      await tool(undefined, "ip", "netns", "del", gone.netns);
      await tool(lab.node("node1").namespace, "ip", "link", "del", spec.interfaceName!)
        .catch(isGone);

      // All of them were assigned just now: an ADD could be under way.
      await tortie("datastore migrate lock", 0);
      assert.match(await tortie(`ipam check -o ${report}`, 1), /^Found 0 IPs that are allocated/m);
      assert.match(
        await tortie(`ipam release --from-report ${report}`, 0),
        /didn't contain any leaked IPs/,
      );

      const hour = goTimestamp(Date.now() - 3_600_000);
      for (const ip of [address, half, leaked]) {
        const { handle } = (await ipam.assignment(ip))!;
        const change = (attributes: Record<string, string>) => ({ ...attributes, timestamp: hour });
        assert(await ipam.relabel({ address: ip, handle: handle!, change }));
      }
      await until("the node says that the interface is gone", 30_000, async () => {
        const { out } = await command(["ipam", "check", "--show-problem-ips", "-o", report], {
          env: { TORTIE_STORE: storeSocket },
        });
        return out.includes(`  ${leaked} leaked;`);
      });
      const { allocations } = JSON.parse(await Deno.readTextFile(report));
      assert.deepEqual(allocations[address][0].owners, ["Container(node1)"]);
      assert.match(allocations[half][0].unproven, /cannot be read, and may have it/);
      assert.match(await tortie(`ipam release --from-report ${report}`, 0), /^Released 1 IPs/m);
      assert.equal(await ipam.assignment(leaked), undefined);
      for (const ip of [address, half]) assert(await ipam.assignment(ip), `${ip} was released`);
      assert.match(
        (await command(["ipam", "release", "--ip", address], {
          env: { TORTIE_STORE: storeSocket },
        })).err,
        /is in use by Container\(node1\); delete that first/,
      );
      await tortie("datastore migrate unlock", 0);
    } finally {
      await store.close();
    }
  });
});
