/**
 * Our own cases with real packets in a lab of the built executable: pods on two nodes, dual stack,
 * every pair of six pods and a host outside, two ports of TCP, UDP and SCTP, both families, in every
 * step. Then the same cases in the evaluator, which thereby is held to the same sentences. Needs root.
 */
import assert from "node:assert/strict";
import { engineOf } from "../../policy/matrix.ts";
import { PolicyView } from "../../policy/explain.ts";
import { late, momentOf, type OwnCase, readSentence, wantedOf, worldPods } from "./cases/case.ts";
import { changeCases } from "./cases/changes.ts";
import { directionCases } from "./cases/directions.ts";
import { peerCases } from "./cases/peers.ts";
import { portCases } from "./cases/ports.ts";
import { FEATURES, featuresOf, tableOf } from "./features.ts";
import { keyOf, type PolicyLab, withPolicyLab } from "./policy_lab.ts";

const cases: readonly OwnCase[] = [...peerCases, ...portCases, ...directionCases, ...changeCases];

Deno.test("our cases are forty and more, and of every feature there is one", () => {
  assert(cases.length >= 40, `${cases.length} cases`);
  assert.equal(new Set(cases.map((c) => c.name)).size, cases.length);
  const table = tableOf(
    cases.map(({ name, steps }) => ({ name, features: featuresOf(steps.map(momentOf)) })),
  );
  assert.deepEqual(FEATURES.filter((feature) => table.get(feature)!.length === 0), []);
  for (const step of cases.flatMap((c) => c.steps)) step.expect.forEach(readSentence);
});

Deno.test("our cases hold in the evaluator", async (t) => {
  const pods = new Map([...worldPods, late].map((pod) => [keyOf(pod), pod]));
  for (const { name, steps } of cases) {
    await t.step(name, () => {
      for (const [index, step] of steps.entries()) {
        const moment = momentOf(step);
        const { engine } = engineOf([
          ...Object.entries(moment.namespaces).map(([name, labels]) => ({
            apiVersion: "v1",
            kind: "Namespace",
            metadata: { name, labels },
          })),
          ...Object.entries(moment.pods).map(([key, labels]) => ({
            apiVersion: "v1",
            kind: "Pod",
            metadata: { namespace: key.split("/")[0], name: key.split("/")[1], labels },
            spec: { containers: [{ ports: pods.get(key)!.ports }] },
            status: { podIPs: pods.get(key)!.addresses.map((ip) => ({ ip })) },
          })),
          ...step.policies,
        ]);
        assert.deepEqual(engine.problems(), []);
        const view = new PolicyView(engine);
        for (const [p, want] of wantedOf(step, (key) => pods.get(key)!.addresses, 40_000)) {
          const got = view.allows({
            from: { ip: p.source },
            to: { ip: p.destination },
            protocol: p.protocol,
            port: p.port,
          });
          assert.equal(got, want, `step ${index + 1}: ${JSON.stringify(p)}`);
        }
      }
    });
  }
});

Deno.test({
  name: `our ${cases.length} cases hold with real packets`,
  sanitizeOps: false,
  sanitizeResources: false,
}, async (t) => {
  await withPolicyLab(async (lab) => {
    for (const pod of worldPods) await lab.start(pod);
    await t.step("one wrong expectation is noticed, of either verdict, anywhere", async () => {
      const step = cases.find((c) => c.name.startsWith("podSelector means"))!.steps[0];
      const moment = momentOf(step);
      await lab.update({ ...moment, labels: moment.pods });
      const seen = new Set<string>();
      const all = [...wantedOf(step, (key) => lab.addressesOf(key), lab.nextSourcePort())];
      for (const [p, allowed] of all) {
        const kind = `${p.protocol} ${p.source.includes(":") ? 6 : 4} ${allowed}`;
        if (seen.has(kind)) continue;
        seen.add(kind);
        const wrong = await lab.judge(new Map([[p, !allowed]]), { limit: 200 });
        assert.match(wrong ?? "", allowed ? /got through/ : /got no answer/, kind);
      }
      assert.equal(seen.size, 12);
    });
    let [tried, refused] = [0, 0];
    for (const { name, steps } of cases) {
      await t.step(name, async () => {
        for (const [index, step] of steps.entries()) {
          const fresh = await bringLate(lab, step.late ?? false);
          const moment = momentOf(step);
          await lab.update({ ...moment, labels: moment.pods });
          const wanted = new Map(
            wantedOf(step, (key) => lab.addressesOf(key), lab.nextSourcePort()),
          );
          const wrong = await lab.judge(wanted, { patient: fresh });
          assert.equal(wrong, undefined, `step ${index + 1}`);
          tried += wanted.size;
          refused += [...wanted.values()].filter((allowed) => !allowed).length;
        }
      });
    }
    console.log(`${cases.length} cases, ${tried} connections, ${refused} of them refused`);
  });
});

/** Starts or removes the seventh pod; whether it is new. */
async function bringLate(lab: PolicyLab, wanted: boolean): Promise<boolean> {
  const there = lab.has(keyOf(late));
  if (wanted && !there) await lab.start(late);
  if (!wanted && there) await lab.remove(keyOf(late));
  return wanted && !there;
}
