/** What is to run, from the object and the environment; labels that are copied from Kubernetes' nodes. */
import assert from "node:assert/strict";
import { kubeControllersConfigurationKind } from "../model/kube_controllers_configuration.ts";
import type { Node } from "../model/node.ts";
import { parseObject } from "../model/validate.ts";
import { COPIED_ANNOTATION, nodeActions } from "./label_sync.ts";
import { DEFAULT_SPEC, settingsOf } from "./settings.ts";

const none = () => undefined;

Deno.test("the defaults are Calico's", () => {
  const settings = settingsOf(undefined, none);
  assert.deepEqual(
    [settings.node, settings.leakGrace, settings.syncLabels, settings.health, settings.metricsPort],
    [true, 900_000, true, true, 9094],
  );
  assert.equal(settings.hostEndpoints.autoCreate, false);
  parseObject(kubeControllersConfigurationKind, {
    kind: "KubeControllersConfiguration",
    apiVersion: "projectcalico.org/v3",
    metadata: { name: "default" },
    spec: structuredClone(DEFAULT_SPEC) as any,
    status: { runningConfig: settings.running as any },
  });
});

Deno.test("the object's settings, the environment's over them, and what of it is told", () => {
  const spec = {
    controllers: { node: { leakGracePeriod: "30s", hostEndpoint: { autoCreate: "Disabled" } } },
    prometheusMetricsPort: 0,
  } as any;
  const env = (name: string) => ({ AUTO_HOST_ENDPOINTS: "enabled", LOG_LEVEL: "debug" })[name];
  const settings = settingsOf(spec, env);
  assert.deepEqual([settings.leakGrace, settings.metricsPort], [30_000, 0]);
  assert.equal(settings.hostEndpoints.autoCreate, true);
  assert.deepEqual(settings.environment, { AUTO_HOST_ENDPOINTS: "enabled", LOG_LEVEL: "debug" });
  assert.equal(settings.running.logSeverityScreen, "Debug");
  assert.equal(settings.running.controllers?.node?.hostEndpoint?.autoCreate, "Enabled");
  assert.equal(settings.running.controllers?.node?.leakGracePeriod, "30s");
});

Deno.test("controllers that are not listed do not run; 0 leaves leaks alone", () => {
  assert.equal(settingsOf({ controllers: { policy: {} } } as any, none).node, false);
  const env = (name: string) => name === "ENABLED_CONTROLLERS" ? "policy, namespace" : undefined;
  assert.equal(settingsOf(undefined, env).node, false);
  assert.equal(
    settingsOf({ controllers: { node: { leakGracePeriod: "0s" } } } as any, none).leakGrace,
    0,
  );
});

Deno.test("what cannot be understood is named, and the default taken", () => {
  const env = (name: string) => name === "SYNC_NODE_LABELS" ? "perhaps" : undefined;
  const { faults, syncLabels, leakGrace } = settingsOf(
    { controllers: { node: { leakGracePeriod: "soon" } } } as any,
    env,
  );
  assert.deepEqual([syncLabels, leakGrace], [true, 900_000]);
  assert.equal(faults.length, 2);
  assert.match(faults[0], /SYNC_NODE_LABELS="perhaps" is not understood/);
});

const calico = (name: string, labels = {}, annotations = {}, orchestrator = "k8s"): Node =>
  ({
    metadata: { name, labels, annotations },
    spec: { orchRefs: [{ nodeName: `${name}.k8s`, orchestrator }] },
  }) as unknown as Node;

function applied(node: Node, kubernetes: Record<string, string>): Node {
  const [action] = nodeActions([node], new Map([[`${node.metadata.name}.k8s`, kubernetes]]), true);
  return action?.do === "label" ? action.change(node) : node;
}

Deno.test("labels come and go with those of Kubernetes' node; others stay", () => {
  const first = applied(calico("n1", { own: "1" }), { rack: "r1", zone: "a" });
  assert.deepEqual(first.metadata.labels, { own: "1", rack: "r1", zone: "a" });
  assert.equal(first.metadata.annotations?.[COPIED_ANNOTATION], '{"rack":"r1","zone":"a"}');
  assert.deepEqual(applied(first, { rack: "r1", zone: "a" }), first, "nothing is written twice");
  const second = applied(first, { rack: "r2" });
  assert.deepEqual(second.metadata.labels, { own: "1", rack: "r2" });
  const changed = {
    ...second,
    metadata: { ...second.metadata, labels: { ...second.metadata.labels, rack: "mine" } },
  };
  assert.deepEqual(applied(changed, {}).metadata.labels, { own: "1", rack: "mine" });
  const named = applied(first, { constructor: "x" });
  assert.deepEqual(named.metadata.labels, { own: "1", constructor: "x" });
  assert.deepEqual(applied(named, {}).metadata.labels, { own: "1" });
});

Deno.test("nodes that have left Kubernetes go; those that it never knew stay", () => {
  const nodes = [calico("n1"), calico("n2"), calico("router", {}, {}, "openstack")];
  const there = new Map([["n1.k8s", {}]]);
  assert.deepEqual(
    nodeActions(nodes, there, false).map((a) => `${a.do} ${a.name}`),
    ["delete n2"],
  );
});
