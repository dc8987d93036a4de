/**
 * Policies that somebody damaged in the store: whatever stands where something else belongs, nothing
 * is allowed that the policy did not allow before, and the node's rules and `explain` agree.
 *
 * A policy that the schema of files still takes is another policy, and no damage: then the reading of
 * the stored object must be that of the file.
 */
import fc from "fast-check";
import assert from "node:assert/strict";
import { parseManifest } from "../mod/model/manifest.ts";
import { ModelError } from "../mod/model/validate.ts";
import { PolicyEngine } from "./engine.ts";
import { ExplainError, PolicyView } from "./explain.ts";
import type { PolicyObject } from "./inputs.ts";
import { calico, calicoPolicy, kubernetesPolicy } from "./testing.ts";
import {
  calicoSpec,
  connections,
  k8sSpec,
  objectsOf,
  tier,
  type Tiers,
  type World,
  world,
} from "./testing/random_worlds.ts";

const runs = Number(Deno.env.get("POLICY_RUNS") ?? 60);

type Damage =
  /** Another value in its place. */
  | { readonly put: unknown }
  /** Another case of its name. */
  | { readonly rename: true };
const damage: fc.Arbitrary<Damage> = fc.oneof(
  {
    weight: 4,
    arbitrary: fc.constantFrom<unknown>(
      ...[5, 0, -1, 1.5, true, false, "x", "", "80", null, [], {}, [null], [5], [[]], [{}], ["x"]],
      ...[{ x: 1 }, { names: "x" }, { matchLabels: 5 }, "a ==", "10.0.0.0/99"],
    ).map((put) => ({ put })),
  },
  { weight: 1, arbitrary: fc.constant({ rename: true as const }) },
);

interface Place {
  readonly parent: any;
  readonly key: string | number;
}

/** Everything below a value. */
function places(value: any): Place[] {
  if (value === null || typeof value !== "object") return [];
  const keys = Array.isArray(value) ? value.map((_, i) => i) : Object.keys(value);
  return keys.flatMap((key) => [{ parent: value, key }, ...places(value[key])]);
}

/** A damaged copy, at one of the places that are of interest; undefined where there are none. */
function damaged(
  policy: PolicyObject,
  where: number,
  what: Damage,
  fits: (top: string) => boolean,
): PolicyObject | undefined {
  const copy = structuredClone(policy) as PolicyObject & { spec: Record<string, unknown> };
  const found = Object.keys(copy.spec).filter(fits)
    .flatMap((key): Place[] => [{ parent: copy.spec, key }, ...places(copy.spec[key])])
    // Labels are names of users' own.
    .filter(({ key }) => !("rename" in what) || /[a-z]{3}/.test(String(key)));
  if (found.length === 0) return undefined;
  const { parent, key } = found[where % found.length];
  if ("put" in what) parent[key] = what.put;
  else {
    const { [key]: value, ...rest } = parent;
    if (Array.isArray(parent)) return undefined;
    for (const name of Object.keys(parent)) delete parent[name];
    const text = String(key);
    Object.assign(parent, rest, { [text[0].toUpperCase() + text.slice(1)]: value });
  }
  return JSON.parse(JSON.stringify(copy));
}

function viewOf(objects: readonly PolicyObject[], nodeName?: string): PolicyView {
  const engine = new PolicyEngine({ nodeName });
  engine.update(objects.map((put) => ({ put })));
  return new PolicyView(engine);
}

/** For each connection whether it is allowed, by its text. */
function verdicts(view: PolicyView, w: World): Map<string, boolean> {
  const result = new Map<string, boolean>();
  for (const family of [4, 6] as const) {
    for (const { source, destination, protocol, port } of connections(w, family)) {
      const connection = {
        from: { ip: source },
        to: { ip: destination },
        protocol,
        port,
        family,
      };
      let allowed = false;
      try {
        allowed = view.allows(connection);
      } catch (error) {
        if (!(error instanceof ExplainError)) throw error;
      }
      result.set(`${source} -> ${destination} ${protocol}/${port}`, allowed);
    }
  }
  return result;
}

/**
 * The object as a file's is read; undefined where it is refused. Of a member of a list, or a label, that is
 * null a file says what Go makes of it: an empty rule, peer or port, which is everything; an empty text. Where
 * the store has one, something was lost, and it allows nothing.
 */
function asFile(object: PolicyObject): PolicyObject | undefined {
  const { spec } = object as PolicyObject & { spec: unknown };
  const isLost = ({ parent, key }: Place) => {
    const value = parent[key];
    const members = Array.isArray(value) || key === "matchLabels" ? Object.values(value ?? {}) : [];
    return members.includes(null);
  };
  if (places(spec).some(isLost)) return undefined;
  try {
    return parseManifest(object).object as PolicyObject;
  } catch (error) {
    if (error instanceof ModelError) return undefined;
    throw error;
  }
}

const counts = { refused: 0, taken: 0 };

/** That both have been tried; few damages are still a file's, and in few runs there may be none. */
function assertTried(): void {
  const { refused, taken } = counts;
  assert(refused > runs / 4 && (taken > 0 || runs < 500), JSON.stringify(counts));
}

/** What has become of the policy's own verdicts. */
function check(w: World, others: readonly PolicyObject[], whole: PolicyObject, bad: PolicyObject) {
  const base = [...objectsOf(w), ...others];
  const after = verdicts(viewOf([...base, bad]), w);
  // The node has all of these pods.
  const onNode = verdicts(viewOf([...base, bad], "node1"), w);
  assert.deepEqual(onNode, after);
  const file = asFile(bad);
  if (file) {
    counts.taken++;
    assert.deepEqual(after, verdicts(viewOf([...base, file]), w));
    return;
  }
  counts.refused++;
  const before = verdicts(viewOf([...base, whole]), w);
  for (const [connection, allowed] of after) {
    assert(
      !allowed || before.get(connection),
      `${connection} is allowed by ${JSON.stringify(bad)}`,
    );
  }
  const engine = new PolicyEngine();
  engine.update([{ put: bad }]);
  assert(engine.problems().length > 0, `nothing is told of ${JSON.stringify(bad)}`);
}

Deno.test("a damaged NetworkPolicy of Kubernetes allows nothing that it did not allow", () => {
  fc.assert(
    fc.property(world, k8sSpec, k8sSpec, fc.nat(), damage, (w, spec, second, where, what) => {
      const json = (s: unknown) => JSON.parse(JSON.stringify(s));
      const whole = kubernetesPolicy("n1", "whole", json(spec));
      const bad = damaged(whole, where, what, () => true);
      fc.pre(bad !== undefined && asFile(whole) !== undefined);
      check(w, [kubernetesPolicy("n1", "second", json(second))], whole, bad!);
    }),
    { numRuns: runs },
  );
  assertTried();
});

Deno.test("a damaged rule of Calico's allows nothing that it did not allow", () => {
  Object.assign(counts, { refused: 0, taken: 0 });
  const tiers = fc.record({ t1: tier, t2: tier }) as fc.Arbitrary<Tiers>;
  fc.assert(
    fc.property(
      world,
      calicoSpec,
      calicoSpec,
      tiers,
      fc.nat(),
      damage,
      (w, spec, second, t, at, d) => {
        const json = (s: unknown) => JSON.parse(JSON.stringify(s));
        const others = [
          ...Object.entries(t).map(([name, s]) => calico("Tier", name, json(s))),
          calicoPolicy("n1", "second", json(second)),
        ];
        const whole = calicoPolicy("", "whole", json(spec));
        const bad = damaged(whole, at, d, (top) => /^(in|e)gress$|^types$/.test(top));
        fc.pre(bad !== undefined && asFile(whole) !== undefined);
        check(w, others, whole, bad!);
      },
    ),
    { numRuns: runs },
  );
  assertTried();
});
