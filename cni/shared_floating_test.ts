/** A floating address that others have too is followed, as in Calico, and told to the log. */
import assert from "node:assert/strict";
import { World } from "./testing/world.ts";

const FLOATING = "cni.projectcalico.org/floatingIPs";

Deno.test("a floating address that other pods have is told, wherever they are", async () => {
  const w = await World.make();
  try {
    const conf = World.conf({ feature_control: { floating_ips: true } });
    const far = await w.otherNode("n2");
    const add = async (at: World, pod: string, floating: string[], container = pod) => {
      await at.addPod(pod, { annotations: { [FLOATING]: JSON.stringify(floating) } });
      at.log.length = 0;
      const args = `K8S_POD_NAMESPACE=blue;K8S_POD_NAME=${pod}`;
      const { exit, body } = await at.call({ conf, container, args });
      assert.equal(exit, 0, body);
      return at.log.filter((line) => line.startsWith("warn")).map((line) =>
        JSON.parse(line.slice(line.indexOf("{"))).reason
      );
    };
    const by = `Pod blue/%: annotation ${FLOATING} names 192.0.2.9, as `;
    assert.deepEqual(await add(w, "f1", ["192.0.2.9"]), []);
    assert.deepEqual(await add(far, "f2", ["192.0.2.9", "192.0.2.10"]), [
      `${by.replace("%", "f2")}blue/n1-k8s-f1-eth0 already: one of them gets what goes there`,
    ]);
    assert.deepEqual(await add(w, "f3", ["192.0.2.9"]), [
      `${
        by.replace("%", "f3")
      }blue/n1-k8s-f1-eth0 and blue/n2-k8s-f2-eth0 already: one of them gets ` +
      "what goes there",
    ]);
    assert.deepEqual(await add(w, "f4", ["192.0.2.12"]), []);
    // The pod's own next sandbox shares it with nobody.
    assert.deepEqual(await add(w, "f4", ["192.0.2.12"], "again"), []);
  } finally {
    await w.store.close();
  }
});
