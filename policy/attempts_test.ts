/** A fault with one object is that object's alone: the others go on, and it is made good afterwards. */
import assert from "node:assert/strict";
import { Attempts } from "./attempts.ts";
import { PolicyEngine } from "./engine.ts";
import { PolicyView } from "./explain.ts";
import type { Change, PolicyObject } from "./inputs.ts";
import { LocalEndpoints } from "./local_endpoints.ts";
import { Output } from "./output.ts";
import { PolicyClasses } from "./policy_classes.ts";
import { RuleChains } from "./rule_chains.ts";
import { SetRegistry } from "./set_registry.ts";
import { StaticOutput } from "./static_chains.ts";
import { Subjects } from "./subjects.ts";
import {
  calico,
  calicoPolicy,
  comparable,
  endpoint,
  kubernetesPolicy,
  namespace,
  pod,
} from "./testing.ts";
import { Workloads } from "./workloads.ts";

const allow = [{ action: "Allow" }];

/** In `after` labels, policies and sets are all others, in an order in which nothing is last. */
function world(after: boolean): PolicyObject[] {
  const role = after ? "server" : "client";
  const pods = ["aa", "bad", "zz"].flatMap((name, i) => [
    pod("n", name, { role, name }, { ips: [`10.0.0.${i + 1}`] }),
    endpoint("n", name, [`10.0.0.${i + 1}`]),
  ]);
  const set = (name: string) => ({
    apiVersion: "projectcalico.org/v3",
    kind: "GlobalNetworkSet",
    metadata: { name, labels: { set: name } },
    spec: { nets: [after ? "192.0.2.0/25" : "192.0.2.128/25"] },
  });
  return [
    namespace("n", { team: role }),
    ...pods,
    ...["aa", "bad", "zz"].flatMap((name) => [
      set(name),
      // To each pod from its set, and from pods that are servers.
      calicoPolicy("n", name, {
        selector: `name == '${name}'`,
        ...(after ? { order: 5 } : {}),
        ingress: [
          {
            action: "Allow",
            source: { selector: `set == '${name}'`, namespaceSelector: "global()" },
          },
          { action: "Allow", source: { selector: "role == 'server'" } },
        ],
        egress: allow,
        types: ["Ingress", "Egress"],
      }),
    ]),
    {
      apiVersion: "projectcalico.org/v3",
      kind: "Profile",
      metadata: { name: "kns.n" },
      spec: { ingress: allow, egress: allow },
    } as PolicyObject,
  ];
}

const changes = (objects: PolicyObject[]): Change[] => objects.map((put) => ({ put }));

/** Which of the pods is reached from the others and from outside. */
function reach(engine: PolicyEngine): Record<string, boolean> {
  const view = new PolicyView(engine);
  const result: Record<string, boolean> = {};
  for (const to of ["aa", "bad", "zz"]) {
    for (const from of ["aa", "bad", "zz", "192.0.2.1", "192.0.2.129", "198.51.100.1"]) {
      if (from === to) continue;
      // One that could not be taken in is closed: its interface leads to no chain.
      const known = [from, to].every((name) => name.includes(".") || view.find(`n/${name}`));
      result[`${from} -> ${to}`] = known && view.allows({
        from: from.includes(".") ? { ip: from } : { endpoint: `n/${from}` },
        to: { endpoint: `n/${to}` },
        protocol: "TCP",
        port: 80,
      });
    }
  }
  return result;
}

type Method = (...args: never[]) => unknown;
interface Fault {
  readonly of: { prototype: object };
  readonly method: string;
  when(args: readonly unknown[]): boolean;
  /** Whose problem it is. */
  readonly object: RegExp;
  /** What is not as it should be while it lasts: connections to or from a pod. */
  readonly touches?: RegExp;
  /** Of these, nothing is allowed. */
  readonly closes?: RegExp;
  /** A change of policy does not come here. */
  readonly startsOnly?: boolean;
}
const isText = (wanted: string) => (args: readonly unknown[]) =>
  args.some((arg) => typeof arg === "string" && arg.includes(wanted));
const ofBad = /bad/;
const faults: Fault[] = [
  {
    of: Workloads,
    method: "setPod",
    when: isText("n/bad"),
    object: /^Pod n\/bad$/,
    touches: ofBad,
  },
  {
    of: Workloads,
    method: "rejoin",
    when: isText("k8s-bad"),
    object: /^WorkloadEndpoint n\/n-k8s-bad-eth0$/,
    touches: ofBad,
    closes: /bad$/,
  },
  {
    of: SetRegistry,
    method: "setItem",
    when: isText("endpoint n/n-k8s-bad"),
    object: /^WorkloadEndpoint n\/n-k8s-bad-eth0$/,
    touches: ofBad,
    closes: /bad$/,
  },
  {
    of: LocalEndpoints,
    method: "set",
    when: ([key, value]) => `${key}`.includes("k8s-bad") && value !== undefined,
    object: /^WorkloadEndpoint n\/n-k8s-bad-eth0$/,
    touches: ofBad,
    closes: /bad$/,
  },
  {
    of: Workloads,
    method: "networkSet",
    when: isText("/bad"),
    object: /^GlobalNetworkSet bad$/,
    touches: /^192.* bad$/,
  },
  {
    of: Subjects,
    method: "add",
    when: isText("NetworkPolicy/n/bad"),
    object: /^NetworkPolicy n\/bad$/,
    touches: / bad$/,
  },
  {
    of: RuleChains,
    method: "set",
    when: isText("pi-np/n/bad"),
    object: /^NetworkPolicy n\/bad$/,
    touches: ofBad,
    closes: / bad$/,
  },
  {
    of: Output,
    method: "setVerdict",
    when: isText("calinbad"),
    object: /^interface calinbad$/,
    touches: ofBad,
    startsOnly: true,
  },
  {
    of: PolicyClasses,
    method: "after",
    when: () => true,
    object: /^WorkloadEndpoint /,
    touches: /./,
  },
  {
    of: Subjects,
    method: "callsOf",
    when: () => true,
    object: /^interfaces /,
    touches: /./,
    closes: /./,
  },
  {
    of: StaticOutput,
    method: "render",
    when: () => true,
    object: /^chains that hang on no policy$/,
  },
];

for (const fault of faults) {
  for (const fromNothing of fault.startsOnly ? [true] : [false, true]) {
    const start = fromNothing ? "at the start" : "with a change";
    Deno.test(`what fails in ${fault.of.prototype.constructor.name}.${fault.method} ${start} is contained`, () => {
      const engine = new PolicyEngine({ nodeName: "node1" });
      if (!fromNothing) engine.update(changes(world(false)));
      const sound = new PolicyEngine({ nodeName: "node1" });
      sound.update(changes(world(true)));
      const right = reach(sound);

      const place = fault.of.prototype as Record<string, Method>;
      const method = place[fault.method];
      let failed = 0;
      place[fault.method] = function (this: unknown, ...args: never[]) {
        if (fault.when(args) && ++failed) throw new Error("boom");
        return method.apply(this, args);
      };
      try {
        engine.update(changes(world(true)));
        assert(failed > 0);
        const [problem, ...more] = engine.problems().filter(({ message }) => /boom/.test(message));
        assert.match(problem.object, fault.object);
        assert(more.every(({ object }) => fault.object.test(object)), JSON.stringify(more));
        for (const [pair, allowed] of Object.entries(reach(engine))) {
          if (fault.closes?.test(pair)) assert.equal(allowed, false, pair);
          if (!fault.touches?.test(pair)) assert.equal(allowed, right[pair], pair);
        }
        // As often as one likes.
        engine.update([]);
      } finally {
        place[fault.method] = method;
      }
      engine.update([]);
      assert.deepEqual(engine.problems(), []);
      assert.deepEqual(reach(engine), right);
      for (const family of [4, 6] as const) {
        assert.deepEqual(comparable(engine.ruleset(family)), comparable(sound.ruleset(family)));
      }
    });
  }
}

Deno.test("a policy whose reader fails allows nothing, whatever it said before", () => {
  const engine = new PolicyEngine({ nodeName: "node1" });
  const hostile = (object: PolicyObject) =>
    Object.defineProperty(object, "spec", {
      value: {
        get ingress() {
          throw new Error("boom");
        },
        podSelector: {},
      },
      enumerable: true,
    });
  const policy = (name: string) => kubernetesPolicy("n", name, { podSelector: {}, ingress: [{}] });
  engine.update(changes([
    ...world(true),
    ...["aa", "bad", "zz"].map((name) => calicoPolicy("n", name, { selector: "has(nobody)" })),
    policy("p"),
  ]));
  assert.equal(reach(engine)["198.51.100.1 -> aa"], true);
  engine.update([{ put: hostile(policy("p")) }]);
  assert(Object.values(reach(engine)).every((allowed) => !allowed));
  assert.match(engine.problems()[0].message, /reading it failed: boom/);
  engine.update([
    {
      remove: {
        apiVersion: "networking.k8s.io/v1",
        kind: "NetworkPolicy",
        namespace: "n",
        name: "p",
      },
    },
  ]);
  assert.equal(reach(engine)["198.51.100.1 -> aa"], true);
  // A profile denies then.
  const profile = (spec: object) => calico("Profile", "open", spec);
  const pod = endpoint("n", "aa", ["10.0.0.1"], { profiles: ["open"] });
  engine.update(changes([pod, profile({ ingress: allow })]));
  assert.equal(reach(engine)["198.51.100.1 -> aa"], true);
  engine.update([{ put: hostile(profile({})) }]);
  assert.equal(reach(engine)["198.51.100.1 -> aa"], false);
});

Deno.test("limits of any size are read, and hold up nobody", () => {
  const engine = new PolicyEngine({ nodeName: "node1" });
  const qos = (value: unknown) => ({
    ...endpoint("n", "bad", ["10.0.0.2"]),
    spec: {
      ...(endpoint("n", "bad", ["10.0.0.2"]) as { spec?: object }).spec,
      qosControls: { ingressBandwidth: value, egressMaxConnections: value },
    },
  } as PolicyObject);
  engine.update(changes(world(false)));
  for (const value of [10n ** 24n, 10n ** 400n, -(10n ** 24n), 2n ** 53n]) {
    engine.update(changes([...world(false), qos(value)]));
    engine.update(changes([...world(true), qos(value + 1n)]));
    assert.deepEqual(engine.problems(), []);
    const sound = new PolicyEngine({ nodeName: "node1" });
    sound.update(changes([...world(true), qos(value + 1n)]));
    assert.deepEqual(reach(engine), reach(sound));
  }
  const rules = engine.ruleset(4).chains.get("filter-cali-fl-calinbad")!.rules;
  assert.match(JSON.stringify(rules), /"count":4294967295/);
});

Deno.test("a failure is over when the same is done, whatever it is called by then", () => {
  const attempts = new Attempts();
  const fail = () => {
    throw new Error("no");
  };
  const body = {};
  attempts.run("making it", () => "interfaces cali1", "", fail, body);
  attempts.run("closing it", "x", "", fail);
  assert.deepEqual([...attempts.problems()].map(({ object }) => object), ["interfaces cali1", "x"]);
  attempts.run("making it", () => "interfaces cali1, cali2", "", () => {}, body);
  attempts.forget("closing it", "x");
  assert.deepEqual([...attempts.problems()], []);
});
