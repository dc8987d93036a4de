/** The way to a real API is tried on our own: a kubeconfig with a token, and one with a certificate. */
import assert from "node:assert/strict";
import { OBJECTS } from "./expectations/objects.ts";
import { Run } from "./expectations/all.ts";
import { clientFromKubeconfig } from "./kubeconfig.ts";
import { startKube } from "./kube.ts";

Deno.test("a kubeconfig leads to the API, and a run takes away what it made", async () => {
  await using kube = await startKube();
  const folder = await Deno.makeTempDir();
  try {
    const certificate = kube.certificate("admin", ["system:masters"]);
    for (const text of [kube.kubeconfig(), kube.kubeconfig({ certificate })]) {
      await Deno.writeTextFile(`${folder}/config`, text);
      using client = await clientFromKubeconfig(`${folder}/config`);
      const run = new Run(client);
      await run.begin();
      await run.check(OBJECTS[0]);
      await run.end();
    }
    const refused = kube.kubeconfig().replace(/ +token:.*\n/, "");
    await Deno.writeTextFile(`${folder}/config`, refused);
    await assert.rejects(clientFromKubeconfig(`${folder}/config`), /neither token nor client/);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
  for (let i = 0; kube.all("", "namespaces").length > 4; i++) {
    assert.ok(i < 500, "namespaces are left");
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  assert.equal(kube.all("apiextensions.k8s.io", "customresourcedefinitions").length, 0);
});
