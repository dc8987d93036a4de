/**
 * Complaints about Calico's data in Kubernetes: two API groups for one thing, an API server of its own
 * that must run for it, and a client that refuses clusters of another version. The API here serves
 * Kubernetes' kinds and Calico's CRDs, and nothing else.
 */
import assert from "node:assert/strict";
import { command } from "../cli/harness.ts";
import type { Kube } from "../kube/kube.ts";
import { startCalico } from "../store/kubernetes_harness.ts";

const GROUP = "crd.projectcalico.org";
const CRD = `/apis/${GROUP}/v1`;

async function on(run: (kube: Kube, env: Record<string, string>) => Promise<void>): Promise<void> {
  const kube = await startCalico({ bookmarks: 0 });
  const folder = await Deno.makeTempDir({ prefix: "tortie-complaints-" });
  try {
    const KUBECONFIG = `${folder}/kubeconfig`;
    await Deno.writeTextFile(KUBECONFIG, kube.kubeconfig());
    await run(kube, { DATASTORE_TYPE: "kubernetes", KUBECONFIG });
  } finally {
    await kube.close();
    await Deno.remove(folder, { recursive: true });
  }
}

Deno.test("38: one client for both groups, no API server of its own, and kubectl may touch both", () =>
  // calico#6412, #2923: "do not touch crd.projectcalico.org/v1", and an aggregated API server to be run.
  on(async (kube, env) => {
    const groups = await kube.call("GET", "/apis/projectcalico.org/v3");
    assert.equal(groups.status, 404, "nobody serves the v3 group");
    const must = async (words: string[], stdin = "") => {
      const answer = await command(words, { env, stdin });
      assert.equal(answer.exit, 0, `${words.join(" ")}: ${answer.err}`);
      return answer.out;
    };
    // Calico's documentation's YAML, as it is.
    await must(
      ["apply", "-f", "-"],
      `apiVersion: projectcalico.org/v3
kind: GlobalNetworkPolicy
metadata: {name: allow-tcp-6379}
spec:
  selector: role == 'database'
  types: [Ingress, Egress]
  ingress:
  - action: Allow
    metadata: {annotations: {from: frontend, to: database}}
    protocol: TCP
    source: {selector: role == 'frontend'}
    destination: {ports: [6379]}
  egress:
  - action: Allow
---
apiVersion: projectcalico.org/v3
kind: NetworkSet
metadata: {name: partners, namespace: default}
spec: {nets: [198.51.100.0/28]}
`,
    );
    const policy = () => kube.all(GROUP, "globalnetworkpolicies")[0];
    assert.equal(policy().spec.ingress[0].destination.ports[0], 6379);

    // kubectl edits the stored form: what it did is seen, and outlives a change by us.
    const patch = (path: string, body: object) =>
      kube.call("PATCH", `${CRD}/${path}`, body, {
        "content-type": "application/merge-patch+json",
      });
    const edited = await patch(`globalnetworkpolicies/${policy().metadata.name}`, {
      spec: { order: 17 },
    });
    assert.equal(edited.status, 200, JSON.stringify(edited.body));
    assert.equal(
      JSON.parse(await must(["get", "gnp", "allow-tcp-6379", "-o", "json"])).spec.order,
      17,
    );
    await must(["patch", "gnp", "allow-tcp-6379", "-p", '{"spec":{"selector":"role == \'db\'"}}']);
    assert.deepEqual([policy().spec.order, policy().spec.selector], [17, "role == 'db'"]);

    // kubectl makes objects of its own, and its own output can be given to us.
    const made = await kube.call("POST", `${CRD}/namespaces/default/networksets`, {
      apiVersion: `${GROUP}/v1`,
      kind: "NetworkSet",
      metadata: { name: "by-kubectl", namespace: "default" },
      spec: { nets: ["203.0.113.0/24"] },
    });
    assert.equal(made.status, 201, JSON.stringify(made.body));
    const list = await must(["get", "networksets", "-o", "name"]);
    assert.match(list, /by-kubectl/);
    assert.match(list, /partners/);
    const { body } = await kube.call("GET", `${CRD}/namespaces/default/networksets/by-kubectl`);
    body.spec.nets.push("203.0.114.0/24");
    delete body.metadata.resourceVersion;
    await must(["apply", "-f", "-"], JSON.stringify(body));
    const stored = kube.get(GROUP, "networksets", "default", "by-kubectl")!;
    assert.deepEqual(stored.spec.nets, ["203.0.113.0/24", "203.0.114.0/24"]);
    assert.equal(stored.metadata.uid, body.metadata.uid, "it is the same object");

    // What no API server checks is checked before it is written, and told where kubectl wrote it.
    const wrong = await command(["apply", "-f", "-"], {
      env,
      stdin:
        "{apiVersion: projectcalico.org/v3, kind: GlobalNetworkPolicy, metadata: {name: wrong}, " +
        "spec: {selector: 'role == ='}}",
    });
    assert.equal(wrong.exit, 1);
    assert.match(wrong.err, /spec\.selector/);
    assert.equal(kube.all(GROUP, "globalnetworkpolicies").length, 1);
    await patch(`globalnetworkpolicies/${policy().metadata.name}`, {
      spec: { selector: "role == =" },
    });
    const text = await must(["get", "gnp", "-o", "yaml"]);
    const said = await command(["validate", "-f", "-"], { stdin: text });
    assert.equal(said.exit, 1);
    assert.match(said.err + said.out, /spec\.selector/);
  }));

Deno.test("37: whatever version the cluster says it has, commands work on Kubernetes too", () =>
  // calico#7673, kubespray#7873: "Version mismatch", of a client that could have done what it was asked.
  on(async (kube, env) => {
    const stdin = "{apiVersion: projectcalico.org/v3, kind: GlobalNetworkSet, metadata: {name: s}}";
    assert.equal((await command(["apply", "-f", "-"], { env, stdin })).exit, 0);
    for (const calicoVersion of ["v3.22.2", "3.22.2", "v99.0.0", ""]) {
      const answer = await kube.call(
        "PATCH",
        `${CRD}/clusterinformations/default`,
        { spec: { calicoVersion } },
        { "content-type": "application/merge-patch+json" },
      );
      assert.equal(answer.status, 200);
      for (const words of [["get", "gnetsets"], ["apply", "-f", "-"], ["version"]]) {
        for (const name of ["tortie", "calicoctl"]) {
          const { exit, err } = await command(words, { env, stdin, name });
          assert.equal(exit, 0, `${name} ${words.join(" ")} at ${calicoVersion}: ${err}`);
        }
      }
    }
  }));
