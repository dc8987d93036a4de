/** Calico's objects with the Kubernetes datastore, as the command line makes and shows them. */
import assert from "node:assert/strict";
import { startCalico } from "../store/kubernetes_harness.ts";
import { command } from "./harness.ts";

Deno.test("a namespace that is not there is told as that, and generation is not shown", async () => {
  const kube = await startCalico({ bookmarks: 0 });
  const folder = await Deno.makeTempDir({ prefix: "tortie-cli-" });
  const env = { KUBECONFIG: `${folder}/kubeconfig`, TORTIE_RUN_DIR: folder };
  await Deno.writeTextFile(env.KUBECONFIG, kube.kubeconfig());
  const run = (words: string, stdin?: string, name?: string) =>
    command(words.split(" "), { env: { ...env, TORTIE_STATE_DIR: folder }, stdin, name });
  const set = (namespace: string) =>
    `{apiVersion: projectcalico.org/v3, kind: NetworkSet, metadata: {name: q, namespace: ${namespace}}}`;
  try {
    for (const verb of ["create", "apply"]) {
      const { exit, err } = await run(`${verb} -f -`, set("blue"));
      assert.equal(exit, 1);
      assert.match(err, /NetworkSet "blue\/q" cannot be created: namespaces "blue" not found/);
      const calico = await run(`${verb} -f -`, set("blue"), "calicoctl");
      assert.equal(calico.exit, 1);
      assert.match(
        calico.err,
        /resource does not exist: NetworkSet\(blue\/q\) with error: namespaces "blue" not found/,
      );
    }
    const file = `${folder}/e.yaml`;
    await Deno.writeTextFile(
      file,
      `apiVersion: projectcalico.org/v3\nkind: NetworkSetList\nitems:\n- ${set("blue")}\n` +
        '===\n{"metadata": {"name": "default"}}\n===\n{}\n',
    );
    const imported = await run(`datastore import -f ${file}`);
    assert.equal(imported.exit, 1);
    assert.match(
      imported.err,
      /NetworkSet "blue\/q" cannot be created: namespaces "blue" not found/,
    );
    assert.equal((await run("create -f -", set("default"))).exit, 0);
    // The object that is asked for is what is missing.
    const absent = await run("get netsets nosuch", undefined, "calicoctl");
    assert.equal(absent.err, "resource does not exist: NetworkSet(default/nosuch)\n");
    const shown = await run("get netsets q -o json");
    const { metadata } = JSON.parse(shown.out);
    assert.equal(metadata.generation, undefined);
    assert.deepEqual(Object.keys(metadata).slice(0, 4), [
      "name",
      "namespace",
      "uid",
      "resourceVersion",
    ]);
  } finally {
    await kube.close();
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test("what the cluster's definition does not have is told, and the rest is kept", async () => {
  const kube = await startCalico({ bookmarks: 0 });
  const folder = await Deno.makeTempDir({ prefix: "tortie-cli-" });
  const env = { KUBECONFIG: `${folder}/kubeconfig`, TORTIE_RUN_DIR: folder };
  await Deno.writeTextFile(env.KUBECONFIG, kube.kubeconfig());
  const felix = (name: string, spec: string) =>
    `{apiVersion: projectcalico.org/v3, kind: FelixConfiguration, metadata: {name: ${name}}, spec: {${spec}}}\n`;
  // Of a later Calico than the definitions.
  const later = "nftablesFlowTableOffload: All, mtuIfacePattern: eth";
  try {
    for (const name of ["tortie", "calicoctl"]) {
      const apply = (stdin: string) =>
        command(["apply", "-f", "-"], { env: { ...env, TORTIE_STATE_DIR: folder }, stdin, name });
      const told = await apply(`${felix("node.a", later)}---\n${felix("node.b", later)}`);
      assert.equal(told.exit, 0, told.err);
      assert.equal(
        told.err,
        'warning: felixconfigurations: unknown field "spec.nftablesFlowTableOffload", which the ' +
          "cluster's definition does not have: it was not kept\n",
      );
      const kept = await kube.call(
        "GET",
        "/apis/crd.projectcalico.org/v1/felixconfigurations/node.a",
      );
      const { mtuIfacePattern, nftablesFlowTableOffload } = kept.body.spec;
      assert.deepEqual([mtuIfacePattern, nftablesFlowTableOffload], ["eth", undefined]);
      assert.equal((await apply(felix("node.c", "mtuIfacePattern: eth"))).err, "");
      // What is kept in another place too is no loss.
      const words = ["ipam", "configure", "--ip-cooldown-seconds=60"];
      const set = await command(words, { env: { ...env, TORTIE_STATE_DIR: folder } });
      assert.deepEqual([set.exit, set.err], [0, ""]);
    }
  } finally {
    await kube.close();
    await Deno.remove(folder, { recursive: true });
  }
});
