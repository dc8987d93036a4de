import assert from "node:assert/strict";
import { LabError, planWorkloads } from "./workloads.ts";

const options = { namespace: "default", random: () => 0, uid: () => "uid-1" };

const deployment = {
  apiVersion: "apps/v1",
  kind: "Deployment",
  metadata: { name: "web" },
  spec: {
    replicas: 2,
    selector: { matchLabels: { app: "web" } },
    template: {
      metadata: { labels: { app: "web" }, annotations: { a: "b" } },
      spec: { containers: [{ name: "c", ports: [{ containerPort: 80 }] }] },
    },
  },
};

Deno.test("a Deployment's pods carry its template, a hash and an owner", () => {
  const { pods, workloads } = planWorkloads([deployment], options);
  assert.equal(pods.length, 2);
  assert.match(pods[0].metadata.name, /^web-[0-9a-f]{10}-bbbbb$/);
  assert.equal(pods[0].metadata.labels?.app, "web");
  assert.equal(pods[0].metadata.annotations?.a, "b");
  assert.equal(pods[0].metadata.ownerReferences?.[0].name, "web");
  assert.equal(workloads[0].replicas, 2);
});

Deno.test("a StatefulSet's pods have ordinals, other objects are handed on", () => {
  const set = { ...deployment, kind: "StatefulSet" };
  const namespace = { apiVersion: "v1", kind: "Namespace", metadata: { name: "x" } };
  const { pods, others } = planWorkloads([namespace, set], { ...options, namespace: "x" });
  assert.deepEqual(pods.map((p) => `${p.metadata.namespace}/${p.metadata.name}`), [
    "x/web-0",
    "x/web-1",
  ]);
  assert.deepEqual(others, [namespace]);
});

Deno.test("what cannot be run is refused with its name", () => {
  const wrong = (change: object, message: RegExp) =>
    assert.throws(
      () => planWorkloads([{ ...deployment, ...change }], options),
      (error) => error instanceof LabError && message.test(error.message),
    );
  wrong({ metadata: {} }, /without metadata.name/);
  wrong({ spec: { ...deployment.spec, replicas: -1 } }, /"default\/web": spec.replicas -1/);
  wrong({ spec: { ...deployment.spec, template: {} } }, /selector does not match/);
  wrong({ spec: { replicas: 1 } }, /spec.containers is missing/);
});
