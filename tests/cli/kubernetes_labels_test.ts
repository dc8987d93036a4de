/** Labels with the Kubernetes datastore: those that are Kubernetes' own are not ours to change, and that is said. */
import assert from "node:assert/strict";
import { startCalico } from "../store/kubernetes_harness.ts";
import { command } from "./harness.ts";

const NODE = { "beta.kubernetes.io/os": "linux", z: "kube" };

Deno.test("a label that stays as Kubernetes has it is an error, and any other is set", async () => {
  const kube = await startCalico({ bookmarks: 0 });
  const folder = await Deno.makeTempDir({ prefix: "tortie-cli-" });
  try {
    const made = await Promise.all([
      kube.call("POST", "/api/v1/nodes", {
        apiVersion: "v1",
        kind: "Node",
        metadata: { name: "n1", labels: NODE },
      }),
      kube.call("POST", "/api/v1/namespaces/default/pods", {
        apiVersion: "v1",
        kind: "Pod",
        metadata: {
          name: "web",
          namespace: "default",
          labels: { app: "web" },
          annotations: { "cni.projectcalico.org/podIP": "10.244.0.5/32" },
        },
        spec: { nodeName: "n1", containers: [{ name: "c", image: "i" }] },
      }),
    ]);
    for (const { status, body } of made) assert.equal(status, 201, JSON.stringify(body));
    // KUBECONFIG alone names the datastore.
    const env = {
      KUBECONFIG: `${folder}/kubeconfig`,
      TORTIE_RUN_DIR: folder,
      TORTIE_STATE_DIR: folder,
    };
    await Deno.writeTextFile(env.KUBECONFIG, kube.kubeconfig());
    const run = (...words: string[]) => command(words, { env });
    const refused = async (what: RegExp, ...words: string[]) => {
      const { exit, out, err } = await run(...words);
      assert.deepEqual([exit, out], [1, ""], err);
      assert.match(err, what);
      assert.match(
        err,
        /not changed, since the datastore makes it of something else; change Kubernetes' own/,
      );
    };
    const done = async (...words: string[]) => {
      const { exit, out, err } = await run(...words);
      assert.deepEqual([exit, err], [0, ""], words.join(" "));
      return out;
    };

    await refused(/Node "n1": label z: /, "label", "node", "n1", "z=w", "--overwrite");
    await refused(/Node "n1": label z: /, "label", "node", "n1", "z", "--remove");
    await refused(/label z: /, "patch", "node", "n1", "-p", '{"metadata":{"labels":{"z":"w"}}}');
    await done("label", "node", "n1", "a=b");
    await done("label", "node", "n1", "a=c", "--overwrite");
    await done("patch", "node", "n1", "-p", '{"metadata":{"labels":{"d":"e"}}}');
    const { metadata } = JSON.parse(await done("get", "node", "n1", "-o", "json"));
    assert.deepEqual(metadata.labels, { ...NODE, a: "c", d: "e" });
    await done("label", "node", "n1", "a", "--remove");

    const endpoint = "n1-k8s-web-eth0";
    await refused(/label tier: /, "label", "workloadendpoint", endpoint, "tier=x");
    await refused(/label app: /, "label", "workloadendpoint", endpoint, "app", "--remove");
    const change = '{"metadata":{"labels":{"app":"db"}}}';
    await refused(/label app: /, "patch", "workloadendpoint", endpoint, "-p", change);
    await done("label", "workloadendpoint", endpoint, "app=web", "--overwrite");
  } finally {
    await kube.close();
    await Deno.remove(folder, { recursive: true });
  }
});
