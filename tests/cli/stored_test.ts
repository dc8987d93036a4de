/** What may stand in the datastore, and must be read, changed and removed all the same. */
import assert from "node:assert/strict";
import { ippoolKind } from "../../mod/model/ippool.ts";
import { parseJson } from "../../mod/store/json.ts";
import { type Cluster, test } from "./harness.ts";

const CALICO = "/calico/resources/v3/projectcalico.org";

const policy = (name: string, order: string) =>
  `apiVersion: projectcalico.org/v3\nkind: GlobalNetworkPolicy\nmetadata: {name: ${name}}\n` +
  `spec: {order: ${order}, selector: all()}\n`;

async function succeeds(
  cluster: Cluster,
  line: string | readonly string[],
  stdin = "",
): Promise<string> {
  const { exit, out, err } = await cluster.run(line, { stdin });
  assert.deepEqual([exit, err], [0, ""], String(line));
  return out;
}

test("an order of any size is a number, to every command", async (cluster) => {
  for (const order of ["10000000000000000", "99999999999999999999", "1e300", "-1e16", "0.5"]) {
    for (const word of ["apply", "replace", "apply"]) {
      await succeeds(cluster, `${word} -f -`, policy("big", order));
    }
    const printed = await succeeds(cluster, "get gnp big -o json");
    assert.equal(Number((parseJson(printed) as any).spec.order), Number(order));
    for (const format of ["yaml", "json"]) {
      await succeeds(cluster, "apply -f -", await succeeds(cluster, `get gnp big -o ${format}`));
    }
    await succeeds(cluster, "label gnp big a=b");
    await succeeds(cluster, ["patch", "gnp", "big", "-p", '{"spec":{"selector":"a==\'b\'"}}']);
    const wide = await succeeds(cluster, "get gnp -o wide");
    assert.match(wide, /^big .* a=='b'/m);
    await succeeds(cluster, "delete gnp big");
  }
});

test("a number that is none is refused, not dropped", async (cluster) => {
  for (const order of [".inf", "-.inf", "1e400"]) {
    const { exit, err } = await cluster.run("apply -f -", { stdin: policy("p", order) });
    assert.equal(exit, 1, order);
    // As to Go, what no double holds is a text in YAML.
    assert.match(
      err,
      /:4: document 1: GlobalNetworkPolicy "p": spec\.order: (-?Infinity|"1e400") is not a/,
    );
  }
  await succeeds(cluster, "apply -f -", policy("p", "1"));
  const { exit, err } = await cluster.run(["patch", "gnp", "p", "-p", '{"spec":{"order":1e400}}']);
  assert.deepEqual([exit, /spec\.order: Infinity is not a finite/.test(err)], [1, true], err);
});

const EXACT = ["9007199254740993", "9223372036854775807", "-9007199254740995"];

test("integers beyond 2^53 in fields of a newer version go through every command unrounded", async (cluster) => {
  const key = `${CALICO}/globalnetworkpolicies/future`;
  await succeeds(cluster, "apply -f -", policy("first", "1"));
  const stored = `{"kind":"GlobalNetworkPolicy","apiVersion":"projectcalico.org/v3","metadata":{` +
    `"name":"future"},"spec":{"types":["Ingress"],"futureBig":${EXACT[0]},"more":[${EXACT}]}}`;
  await cluster.store.create(key, parseJson(stored));
  const check = async (text: string, what: string) => {
    for (const number of EXACT) assert.ok(text.includes(number), `${what}: ${text}`);
    const { spec } = (await cluster.store.get(key))!.value as any;
    assert.deepEqual([spec.futureBig, spec.more], [BigInt(EXACT[0]), EXACT.map(BigInt)], what);
  };
  for (const name of ["tortie", "calicoctl"]) {
    for (const what of ["gnp future", "gnp"]) {
      for (const format of ["json", "yaml"]) {
        const { exit, out } = await cluster.run(`get ${what} -o ${format}`, { name });
        assert.equal(exit, 0);
        await check(out, `${name} get ${what} -o ${format}`);
        if (what === "gnp") continue;
        for (const verb of ["apply", "replace"]) {
          const fresh = (await cluster.run(`get ${what} -o ${format}`, { name })).out;
          const written = await cluster.run(`${verb} -f -`, { stdin: fresh, name });
          assert.deepEqual([written.exit, written.err], [0, ""]);
          await check(fresh, `${name} ${verb}`);
        }
      }
    }
    for (const order of [5, 6]) {
      const change = `{"spec":{"order":${order},"more":[${EXACT}]}}`;
      const patched = await cluster.run(["patch", "gnp", "future", "-p", change], { name });
      assert.deepEqual([patched.exit, patched.err], [0, ""]);
      await check(change, `${name} patch`);
    }
    const label = await cluster.run(`label gnp future by=${name} --overwrite`, { name });
    assert.equal(label.exit, 0, label.err);
    await check(EXACT.join(), `${name} label`);
  }
});

for (const name of ["tortie", "calicoctl"]) {
  test(`${name}: what is damaged can be written anew, patched and deleted`, async (cluster) => {
    const key = `${CALICO}/ippools/half`;
    const run = (line: string | readonly string[], stdin = "") =>
      cluster.run(line, { stdin, name });
    const pool = (more = "") =>
      "apiVersion: projectcalico.org/v3\nkind: IPPool\nmetadata: {name: half}\n" +
      `spec: {cidr: 10.9.0.0/16${more}}\n`;
    const damage = () =>
      cluster.store.put(key, { kind: "IPPool", metadata: { name: "half" }, spec: { cidr: 5 } });
    for (const word of ["apply", "replace"]) {
      await damage();
      const refused = await run(`${word} -f -`, pool(", strange: 1"));
      assert.equal(refused.exit, 1);
      assert.match(refused.err, /spec\.strange/);
      assert.deepEqual(await run(`${word} -f -`, pool()), {
        exit: 0,
        out: `Successfully ${word === "apply" ? "applied" : "replaced"} 1 'IPPool' resource(s)\n`,
        err: "",
      });
      assert.equal((await cluster.resources.list(ippoolKind)).broken.length, 0);
    }
    await damage();
    const told = await run("get ippool half");
    assert.equal(told.exit, 1);
    assert.match(told.err, /spec\.cidr: 5 is not a text.*; delete it, or write it anew/);
    const still = await run(["patch", "ippool", "half", "-p", '{"spec":{"natOutgoing":true}}']);
    assert.equal(still.exit, 1);
    assert.match(still.err, /spec\.cidr: 5 is not a text/);
    const patch = '{"spec":{"cidr":"10.9.0.0/16","natOutgoing":true}}';
    const patched = await run(["patch", "ippool", "half", "-p", patch]);
    assert.deepEqual([patched.exit, patched.err], [0, ""]);
    assert.match((await run("get ippool half")).out, /10\.9\.0\.0\/16/);
    await damage();
    const deleted = await run("delete ippool half");
    assert.deepEqual([deleted.exit, deleted.err], [0, ""]);
    assert.equal(await cluster.store.get(key), undefined);
  });
}

test("what is damaged is named, with what mends it where users may not write", async (cluster) => {
  const bad = `${CALICO}/ippools/bad`, policy = `${CALICO}/networkpolicies/shop/web`;
  const information = `${CALICO}/clusterinformations/default`;
  await succeeds(
    cluster,
    "apply -f -",
    "apiVersion: v1\nkind: Namespace\nmetadata: {name: shop}\n",
  );
  for (const value of ["half", { spec: {} }, []]) {
    for (const key of [bad, policy]) await cluster.store.put(key, value);
    const pool = await cluster.run("get pool bad");
    assert.match(
      pool.err,
      /the stored IPPool "bad" cannot be read: .*; delete it, or write it anew$/m,
    );
    const web = await cluster.run("get networkpolicy web -n shop");
    if (!Array.isArray(value) && typeof value === "object") continue;
    assert.match(web.err, /the stored NetworkPolicy "shop\/web" cannot be read: is not an object/);
  }
  for (const word of ["unlock", "lock"]) {
    await cluster.store.put(information, { metadata: { name: "default" }, spec: "half" });
    for (const line of ["version", "get clusterinfo default"]) {
      const { exit, err } = await cluster.run(line);
      assert.equal(exit, 1, line);
      assert.match(
        err,
        /ClusterInformation "default" cannot be read: .*; `datastore migrate unlock`/,
      );
      assert.doesNotMatch(err, /delete it/);
    }
    await succeeds(cluster, `datastore migrate ${word}`);
    await succeeds(cluster, "get clusterinfo default");
  }
});

test("an object of a newer version with a value that is not known here can be labelled and patched", async (cluster) => {
  const key = `${CALICO}/bgpconfigurations/default`;
  const spec = {
    logSeverityScreen: "Chatty",
    asNumber: 64512,
    bindMode: "Sometimes",
    listenPort: 99999,
    serviceLoadBalancerAggregation: "Enabled",
  };
  await cluster.store.create(key, {
    kind: "BGPConfiguration",
    apiVersion: "projectcalico.org/v3",
    metadata: { name: "default" },
    spec,
  });
  const stored = async () => (await cluster.store.get(key))!.value as any;
  await succeeds(cluster, "label bgpconfig default a=b");
  assert.deepEqual([(await stored()).metadata.labels, (await stored()).spec], [{ a: "b" }, spec]);
  const patch = (change: unknown) =>
    cluster.run(["patch", "bgpconfig", "default", "-p", JSON.stringify({ spec: change })]);
  assert.equal((await patch({ asNumber: 64513 })).exit, 0);
  assert.deepEqual((await stored()).spec, { ...spec, asNumber: 64513 });
  for (const change of [{ bindMode: "Never" }, { listenPort: 100000 }, { asNumber: -1 }]) {
    const { exit, err } = await patch(change);
    assert.equal(exit, 1);
    const [[field, value]] = Object.entries(change);
    assert.match(err, new RegExp(`"default": spec\\.${field}: "?${value}"? is not allowed[^;]*$`));
  }
  await patch({ bindMode: null, logSeverityScreen: "Info", listenPort: 179 });
  const back = await patch({ bindMode: "Sometimes" });
  assert.equal(back.exit, 1, "a fault that was mended does not come back");
});

test("a patch that is no change of fields says what one is", async (cluster) => {
  await succeeds(cluster, "apply -f -", policy("p", "1"));
  for (const [type, text] of [["strategic", "garbage"], ["merge", "[]"], ["strategic", "5"]]) {
    const { exit, err } = await cluster.run(["patch", "gnp", "p", "--type", type, "-p", text]);
    assert.equal(exit, 2);
    assert.match(err, /the patch \S+ is not an object with the fields to change/);
  }
  const { exit, err } = await cluster.run(["patch", "gnp", "p", "--type", "json", "-p", "{}"]);
  assert.equal(exit, 2);
  assert.match(err, /the patch {} is not a list of operations/);
});

for (const name of ["tortie", "calicoctl"]) {
  test(`${name}: what is of another version is shown so, is not written over, and can be deleted`, async (cluster) => {
    const run = (line: string | readonly string[], stdin = "") =>
      cluster.run(line, { stdin, name });
    const version = "projectcalico.org/v4";
    const stand = async (kind: string, place: string, spec: unknown) => {
      const key = `${CALICO}/${place}`;
      await cluster.store.put(key, { kind, apiVersion: version, metadata: { name: "x" }, spec });
      return key;
    };
    const pool = { cidr: "10.9.0.0/16", newer: { a: 1 } };
    for (
      const [kind, place, spec, file] of [
        ["BGPPeer", "bgppeers/x", { asNumber: 1, newer: { a: 1 } }, "{asNumber: 2}"],
        ["IPPool", "ippools/x", pool, "{cidr: 10.9.0.0/16}"],
        // What cannot be read as ours at all.
        ["IPPool", "ippools/x", { cidr: { net: "10.9.0.0", bits: 16 } }, "{cidr: 10.9.0.0/16}"],
      ] as const
    ) {
      const key = await stand(kind, place, spec);
      const before = (await cluster.store.get(key))!;
      const what = typeof spec === "object" && "cidr" in spec && typeof spec.cidr === "object";
      const got = await run(`get ${kind} x -o yaml`);
      if (what) {
        assert.match(got.err, /cannot be read: .*; it is of projectcalico\.org\/v4: want a/);
      } else assert.match(got.out, /^apiVersion: projectcalico\.org\/v4$/m);
      const manifest =
        `apiVersion: projectcalico.org/v3\nkind: ${kind}\nmetadata: {name: x}\nspec: ${file}\n`;
      for (
        const answer of [
          await run(["patch", kind, "x", "-p", `{"spec":{"asNumber":2}}`]),
          await run(`label ${kind} x a=b`),
          await run("apply -f -", manifest),
          await run("replace -f -", manifest),
        ]
      ) {
        assert.equal(answer.exit, 1, answer.out);
        assert.match(
          answer.err,
          /of projectcalico\.org\/v4: want a newer|"projectcalico\.org\/v4", and .*newer client/,
        );
      }
      assert.deepEqual(await cluster.store.get(key), before);
      const exported = await cluster.run("datastore export");
      assert.equal(exported.exit, 1);
      assert.match(exported.err, /\/x: (it is of projectcalico\.org\/v4|.*cannot be read)/);
      assert.match(
        exported.err,
        what
          ? /nothing is exported, since 1 entries cannot be read; put them right or delete them:\n/
          : /nothing is exported, since 1 entries are of another version .* newer client, or delete them:\n/,
      );
      assert.equal(/cannot be read/.test(exported.err), what);
      const deleted = await run(`delete ${kind} x`);
      assert.deepEqual([deleted.exit, deleted.err], [0, ""]);
      assert.equal(await cluster.store.get(key), undefined);
    }
  });
}
