import assert from "node:assert/strict";
import { test } from "./harness.ts";
import { type NetworkPolicy, networkPolicyKind } from "../../mod/model/network_policy.ts";
import { networkSetKind } from "../../mod/model/network_set.ts";
import { parseYaml } from "../../mod/cli/yaml.ts";
import { readAll } from "../../mod/cli/io.ts";

const POOLS = `apiVersion: projectcalico.org/v3
kind: IPPool
metadata: {name: pool-a}
spec: {cidr: 10.1.0.0/16, natOutgoing: true}
---
apiVersion: projectcalico.org/v3
kind: IPPool
metadata: {name: pool-b}
spec: {cidr: 10.2.0.0/16, nodeSelector: "rack == 'r1'"}
`;

test("create, get, replace, delete: a resource's whole life", async (cluster) => {
  const created = await cluster.run("create -f -", { stdin: POOLS });
  assert.deepEqual(created, {
    exit: 0,
    out: "Successfully created 2 'IPPool' resource(s)\n",
    err: "",
  });
  assert.deepEqual(await cluster.run("get ippools"), {
    exit: 0,
    out: "NAME     CIDR          SELECTOR       \n" +
      "pool-a   10.1.0.0/16   all()          \n" +
      "pool-b   10.2.0.0/16   rack == 'r1'   \n\n",
    err: "",
  });
  const again = await cluster.run("create -f -", { stdin: POOLS });
  assert.equal(again.exit, 1);
  assert.match(again.err, /standard input:1: document 1: IPPool "pool-a" already exists/);
  assert.equal((await cluster.run("create --skip-exists -f -", { stdin: POOLS })).exit, 0);

  const yaml = (await cluster.run("get ippool pool-a -o yaml")).out;
  const replaced = await cluster.run("replace -f -", {
    stdin: yaml.replace("natOutgoing: true", "natOutgoing: false"),
  });
  assert.equal(replaced.out, "Successfully replaced 1 'IPPool' resource(s)\n");
  const stale = await cluster.run("replace -f -", { stdin: yaml });
  assert.equal(stale.exit, 1);
  assert.match(stale.err, /changed by someone else/);

  assert.equal(
    (await cluster.run("delete ippool pool-a pool-b")).out,
    "Successfully deleted 2 'IPPool' resource(s)\n",
  );
  const gone = await cluster.run("delete ippool pool-a");
  assert.deepEqual([gone.exit, gone.err], [1, 'error: IPPool "pool-a" does not exist\n']);
  assert.equal((await cluster.run("delete -s -f -", { stdin: POOLS })).exit, 0);
  assert.equal((await cluster.run("get ippools")).out, "NAME   CIDR   SELECTOR   \n\n");
});

test("a broken document in the middle leaves nothing written, and is named with its line", async (cluster) => {
  const path = await cluster.file(
    "all.yaml",
    `${POOLS}---
apiVersion: projectcalico.org/v3
kind: IPPool
metadata: {name: pool-c}
spec:
  cidr: 10.3.0.0/16
  ipipMode: Sometimes
---
apiVersion: projectcalico.org/v3
kind: IPPool
metadata: {name: pool-d}
spec: {cidr: 10.4.0.0/16}
`,
  );
  const answer = await cluster.run(["apply", "-f", path]);
  assert.equal(answer.exit, 1);
  assert.equal(
    answer.err,
    `error: ${path}:16: document 3: IPPool "pool-c": spec.ipipMode: "Sometimes" is not allowed: ` +
      "want one of Never, Always, CrossSubnet\n",
  );
  const { entries } = await cluster.store.list("/");
  assert.deepEqual(entries, []);
});

test("a text that is no YAML leaves nothing written", async (cluster) => {
  const answer = await cluster.run("apply -f -", { stdin: `${POOLS}---\nkind: [\n` });
  assert.equal(answer.exit, 1);
  assert.match(answer.err, /^error: standard input:\d+: document 3 is not YAML/);
  assert.deepEqual((await cluster.store.list("/")).entries, []);
});

test("what the datastore refuses ends it, and what was written before is counted", async (cluster) => {
  const overlap = POOLS.replace("10.2.0.0/16", "10.1.128.0/17");
  const answer = await cluster.run("apply -f -", { stdin: overlap });
  assert.equal(answer.exit, 1);
  assert.equal(
    answer.out,
    "Partial success: applied the first 1 out of 2 'IPPool' resources:\n",
  );
  assert.match(answer.err, /document 2: .*overlaps with 10\.1\.0\.0\/16 of pool pool-a/);
});

test("pools of crd.projectcalico.org/v1 are taken with host bits and overlap, those of v3 are not", async (cluster) => {
  const manifest = (apiVersion: string) =>
    `apiVersion: ${apiVersion}
kind: IPPool
metadata: {name: new-pool1}
spec: {cidr: 10.244.3.220/24, blockSize: 31, ipipMode: Never, natOutgoing: true}
`;
  await cluster.run("apply -f -", { stdin: POOLS.replace("10.1.0.0/16", "10.244.0.0/16") });
  const v3 = await cluster.run("apply -f -", { stdin: manifest("projectcalico.org/v3") });
  assert.equal(v3.exit, 1);
  assert.match(v3.err, /10\.244\.3\.220\/24 has host bits set; want 10\.244\.3\.0\/24/);
  const masked = manifest("projectcalico.org/v3").replace("3.220", "3.0");
  assert.match(
    (await cluster.run("apply -f -", { stdin: masked })).err,
    /overlaps with 10\.244\.0\.0\/16/,
  );
  for (let i = 0; i < 2; i++) { // the second time an update
    const crd = await cluster.run("apply -f -", { stdin: manifest("crd.projectcalico.org/v1") });
    assert.equal(crd.exit, 0, crd.err);
    assert.match(
      crd.err,
      /^warning: .*10\.244\.3\.220\/24 has host bits set; want 10\.244\.3\.0\/24/,
    );
    assert.equal(crd.out, "Successfully applied 1 'IPPool' resource(s)\n");
  }
  assert.match((await cluster.run("get ippool")).out, /new-pool1 +10\.244\.3\.0\/24/);
});

test("networkpolicy are Calico's, knp Kubernetes' own; a file's apiVersion decides", async (cluster) => {
  const manifest = (apiVersion: string) =>
    `{apiVersion: ${apiVersion}, kind: NetworkPolicy, metadata: {name: web}, spec: {}}`;
  const stdin = `${manifest("projectcalico.org/v3")}\n---\n${manifest("networking.k8s.io/v1")}\n`;
  const applied = await cluster.run("apply -n shop -f -", { stdin });
  assert.equal(applied.out, "Successfully applied 2 'NetworkPolicy' resource(s)\n");
  assert.equal(
    (await cluster.run("get networkpolicy -A")).out,
    "NAMESPACE   NAME   TIER      \nshop        web    default   \n\n",
  );
  assert.equal(
    (await cluster.run("get knp -n shop")).out,
    "NAMESPACE   NAME   POD-SELECTOR   \nshop        web    <none>         \n\n",
  );
  assert.equal((await cluster.run("delete knp web -n shop")).exit, 0);
  assert.match((await cluster.run("get np -n shop")).out, /web/);
});

test("a policy that is made of Kubernetes' own is not written here", async (cluster) => {
  const named = (name: string) =>
    `{apiVersion: projectcalico.org/v3, kind: NetworkPolicy, metadata: {name: ${name}, namespace: a}}`;
  const stdin = `${named("mine")}\n---\n${named("knp.default.theirs")}`;
  const key = (name: string) => `/calico/resources/v3/projectcalico.org/networkpolicies/a/${name}`;
  const words = /managed through the kubernetes API/;
  for (const verb of ["create", "apply"]) {
    const { exit, err } = await cluster.run(`${verb} -f -`, { stdin });
    assert.deepEqual([exit, words.test(err)], [1, true], err);
    assert.equal(await cluster.store.get(key("mine")), undefined, "nothing is written before");
    // calicoctl writes the others.
    const other = await cluster.run(`${verb} -f -`, { stdin, name: "calicoctl" });
    assert.equal(other.exit, 1);
    assert.match(
      other.err,
      /operation is not supported on NetworkPolicy\(a\/knp\.default\.theirs\): .*managed through/,
    );
    assert.equal(await cluster.store.get(key("knp.default.theirs")), undefined);
    assert.equal((await cluster.run("delete np mine -n a")).exit, 0);
  }
  // A controller's.
  await cluster.resources.create(networkPolicyKind, {
    metadata: { name: "knp.default.theirs", namespace: "a" },
  } as NetworkPolicy);
  for (
    const line of [
      ["replace", "-f", "-"],
      ["patch", "np", "knp.default.theirs", "-n", "a", "-p", "{spec: {order: 1}}"],
      ["label", "np", "knp.default.theirs", "-n", "a", "b=c"],
    ]
  ) {
    for (const name of ["tortie", "calicoctl"]) {
      const { exit, err } = await cluster.run(line, { stdin: named("knp.default.theirs"), name });
      assert.deepEqual([exit, words.test(err)], [1, true], `${name} ${line}: ${err}`);
    }
  }
  const remove = "delete np knp.default.theirs -n a";
  assert.equal((await cluster.run(remove, { name: "calicoctl" })).exit, 1);
  assert.equal((await cluster.run("validate -f -", { stdin })).exit, 0);
  // Where there is no Kubernetes any more, somebody has to.
  assert.equal((await cluster.run(remove)).exit, 0);
});

test("namespaces: default, -n, that of the file, and none where there is none", async (cluster) => {
  const policy = "{apiVersion: projectcalico.org/v3, kind: NetworkPolicy, metadata: {name: p";
  await cluster.run("apply -f -", { stdin: `${policy}}}` });
  assert.match((await cluster.run("get np")).out, /^NAME +TIER +\np /);
  const other = await cluster.run("apply -n a -f -", { stdin: `${policy}, namespace: b}}` });
  assert.equal(other.exit, 1);
  assert.match(other.err, /resource namespace does not match client namespace\. b != a/);
  const none = await cluster.run("get ippools -n shop");
  assert.deepEqual([none.exit, /IPPool is not namespaced/.test(none.err)], [2, true]);
  assert.equal((await cluster.run("get np -A -n shop")).exit, 2);
  // Of files too, before anything is written.
  const stdin = `${policy}q}}\n---\n` +
    "{apiVersion: projectcalico.org/v3, kind: GlobalNetworkSet, metadata: {name: s}}";
  for (const word of ["create", "apply", "replace", "validate", "get", "delete"]) {
    const { exit, out, err } = await cluster.run(`${word} -n a -f -`, { stdin });
    assert.deepEqual([exit, out], [1, ""], word);
    assert.match(err, /:3: document 2: GlobalNetworkSet is not namespaced: -n a has no meaning/);
  }
  assert.equal((await cluster.run("get np q -n a")).exit, 1);
});

test("lists of all forms are taken apart", async (cluster) => {
  const item = (name: string) =>
    `{"apiVersion":"projectcalico.org/v3","kind":"GlobalNetworkSet","metadata":{"name":"${name}"}}`;
  const stdin = `{"apiVersion":"v1","kind":"List","items":[${item("a")},${item("b")}]}`;
  assert.match((await cluster.run("apply -f -", { stdin })).out, /applied 2 'GlobalNetworkSet'/);
  // What get prints of a whole kind is a list too.
  const printed = (await cluster.run("get gnetsets -o json")).out;
  assert.equal(JSON.parse(printed).kind, "GlobalNetworkSetList");
  assert.match((await cluster.run("apply -f -", { stdin: printed })).out, /applied 2/);
  const yaml = (await cluster.run("get gnetsets -o yaml")).out;
  assert.match((await cluster.run("apply -f -", { stdin: yaml })).out, /applied 2/);
  const array = (await cluster.run("get gnetset a b -o json")).out;
  assert.ok(array === "" || Array.isArray(JSON.parse(array)));
  const bad = `{"kind":"List","items":[${item("c")},{"kind":"Nonsense"}]}`;
  const refused = await cluster.run("apply -f -", { stdin: bad });
  assert.equal(refused.exit, 1);
  assert.equal((await cluster.run("get gnetsets c".split(" "))).exit, 1);
});

test("a directory is read in order, with -R those below it", async (cluster) => {
  const set = (name: string) =>
    `{apiVersion: projectcalico.org/v3, kind: GlobalNetworkSet, metadata: {name: ${name}}}\n`;
  await cluster.file("dir/1.yaml", set("one"));
  await cluster.file(
    "dir/2.json",
    JSON.stringify({
      apiVersion: "projectcalico.org/v3",
      kind: "GlobalNetworkSet",
      metadata: { name: "two" },
    }),
  );
  await cluster.file("dir/readme.txt", "not a manifest");
  await cluster.file("dir/sub/3.yml", set("three"));
  const dir = `${cluster.folder}/dir`;
  assert.match((await cluster.run(["apply", "-f", dir])).out, /applied 2/);
  assert.match((await cluster.run(["apply", "-R", "-f", dir])).out, /applied 3/);
  assert.match((await cluster.run(["get", "-f", dir])).out, /^NAME +\none +\ntwo +\n/);
});

test("several files at once, JSON and YAML, one of them standard input", async (cluster) => {
  const set = (name: string) => ({
    apiVersion: "projectcalico.org/v3",
    kind: "GlobalNetworkSet",
    metadata: { name },
  });
  const json = await cluster.file("a.json", JSON.stringify([set("a"), set("b")]));
  const yaml = await cluster.file("c.yaml", `--- \n${JSON.stringify(set("c"))}\n---\n---\n`);
  const words = ["apply", "-f", json, "-f", yaml, "--filename=-"];
  const answer = await cluster.run(words, { stdin: JSON.stringify(set("d")) });
  assert.equal(answer.out, "Successfully applied 4 'GlobalNetworkSet' resource(s)\n");
  const names = (await cluster.run("get gnetsets -o name")).out;
  assert.equal(names, ["a", "b", "c", "d"].map((n) => `globalnetworkset/${n}\n`).join(""));
});

test("delete of what was printed and changed since is a conflict", async (cluster) => {
  await cluster.run("apply -f -", { stdin: POOLS });
  const printed = (await cluster.run("get ippool pool-a -o yaml")).out;
  await cluster.run("label ippool pool-a a=b");
  for (const name of ["tortie", "calicoctl"]) {
    const stale = await cluster.run("delete -f -", { stdin: printed, name });
    assert.equal(stale.exit, 1);
    assert.match(stale.err, /changed by someone else/);
  }
  const latest = (await cluster.run("get ippool pool-a -o yaml")).out;
  assert.equal((await cluster.run("delete -f -", { stdin: latest })).exit, 0);
});

test("get -f and delete -f refuse a namespace where the kind has none, as apply does", async (cluster) => {
  const set = (namespace = "") =>
    `apiVersion: projectcalico.org/v3\nkind: GlobalNetworkSet\nmetadata: {name: a${namespace}}\n` +
    "spec: {nets: [10.0.0.0/8]}\n";
  assert.equal((await cluster.run("apply -f -", { stdin: set() })).exit, 0);
  for (const name of ["tortie", "calicoctl"]) {
    for (const line of ["get -f -", "delete -f -", "apply -f -"]) {
      const { exit, err } = await cluster.run(line, { stdin: set(", namespace: x"), name });
      assert.equal(exit, 1, line);
      assert.match(
        err,
        /metadata\.namespace: "x" is not allowed: globalnetworksets are not namespaced/,
      );
    }
  }
  assert.match((await cluster.run("get globalnetworksets -o name")).out, /globalnetworkset.*a/);
});

test("slips in values of fields are told with the nearest that is allowed", async (cluster) => {
  const stdin = POOLS.replace("natOutgoing: true", "ipipMode: allways, vxlanMode: Sometimes");
  const { exit, err } = await cluster.run("validate -f -", { stdin });
  assert.equal(exit, 1);
  assert.match(
    err,
    /spec\.ipipMode: "allways" .*want one of Never, Always, CrossSubnet \(did you mean Always\?\)/,
  );
  assert.match(err, /spec\.vxlanMode: "Sometimes" .*CrossSubnet\n/);
});

test("files that are not there, empty, URLs: each is said", async (cluster) => {
  const empty = await cluster.file("empty.yaml", "# nothing\n");
  const cases: [words: string[], exit: number, message: RegExp][] = [
    [["apply", "-f", "/nowhere.yaml"], 1, /\/nowhere\.yaml is not there/],
    [["apply", "-f", empty], 1, /empty\.yaml holds no object/],
    [["apply", "-f", "https://example.com/x.yaml"], 2, /addresses are not fetched; download/],
    [["apply"], 2, /apply needs -f/],
    [["apply", "-f", "-"], 1, /standard input holds no object/],
    [["apply", "-f", "-", "-f", "/dev/stdin"], 2, /standard input is named twice with -f/],
    [["apply", "-f", `${empty}/`], 1, /empty\.yaml\/.* [Nn]ot a directory/],
    [["delete"], 2, /delete needs a kind/],
    [["delete", "ippool"], 2, /needs the names/],
    [["get"], 2, /get needs a kind/],
    [["get", "ippol"], 2, /did you mean ippool\?/],
    [["get", "ippool", "-o", "jsn"], 2, /did you mean json\?/],
    [
      ["get", "ippool", "-o", "custom-columns=NAME,COLOUR"],
      2,
      /has no column COLOUR; want some of NAME/,
    ],
  ];
  for (const [words, exit, message] of cases) {
    const answer = await cluster.run(words);
    assert.equal(answer.exit, exit, words.join(" "));
    assert.match(answer.err, message);
    assert.equal(answer.out, "", words.join(" "));
  }
  const skipped = await cluster.run(["apply", "--skip-empty", "-f", empty]);
  assert.deepEqual([skipped.exit, skipped.out], [0, "No resources specified\n"]);
});

test("a link in a folder that leads nowhere is no file that is not there", async (cluster) => {
  const good = await cluster.file("linked/a.yaml", POOLS);
  const folder = good.replace(/\/a\.yaml$/, "");
  await Deno.symlink("/nowhere", `${folder}/notes`);
  for (const name of ["tortie", "calicoctl"]) {
    const whole = await cluster.run(["validate", "-f", folder], { name });
    assert.equal(whole.exit, 0, whole.err);
  }
  await Deno.symlink("/nowhere", `${folder}/b.yaml`);
  for (const name of ["tortie", "calicoctl"]) {
    const { exit, out, err } = await cluster.run(["apply", "-f", folder], { name });
    assert.deepEqual([exit, out], [1, ""]);
    assert.match(err, /linked\/b\.yaml is not there: it is a link to \/nowhere/);
  }
  assert.doesNotMatch((await cluster.run("get ippools -o name")).out, /./);
});

test("validate needs no datastore and tells every fault", async (cluster) => {
  const env = { TORTIE_RUN_DIR: "/nowhere", TORTIE_STATE_DIR: "/nowhere" };
  const good = await cluster.run("validate --config=x.yaml --context=test -f -", {
    stdin: POOLS,
    env,
  });
  assert.deepEqual([good.exit, good.out], [0, "Successfully validated 2 'IPPool' resource(s)\n"]);
  const bad = POOLS.replace("natOutgoing: true", "natOutgoing: perhaps, cdir: x")
    .replace("10.2.0.0/16", "10.2.0.0/33");
  const answer = await cluster.run("validate -f -", { stdin: bad, env });
  assert.equal(answer.exit, 1);
  const lines = answer.err.trimEnd().split("\n");
  assert.equal(lines.length, 3);
  assert.ok(lines.some((line) => /document 1: .*spec\.cdir: unknown field/.test(line)));
  assert.ok(
    lines.some((line) => /document 1: .*spec\.natOutgoing: "perhaps" is not true/.test(line)),
  );
  assert.ok(lines.some((line) => /document 2: .*spec\.cidr: "10\.2\.0\.0\/33"/.test(line)));
});

test("outputs: names, columns of choice, export, several kinds from a file", async (cluster) => {
  await cluster.run("apply -f -", { stdin: POOLS });
  assert.equal((await cluster.run("get pools -o name")).out, "ippool/pool-a\nippool/pool-b\n");
  assert.equal(
    (await cluster.run("get ippool/pool-a -o custom-columns=name,nat")).out,
    "NAME     NAT    \npool-a   true   \n\n",
  );
  const exported = JSON.parse((await cluster.run("get ippool pool-a --export -o json")).out);
  assert.deepEqual(exported.metadata, { name: "pool-a" });
  const [document] = parseYaml((await cluster.run("get ippool pool-a -o yaml")).out, "out");
  assert.equal((document.value as any).spec.cidr, "10.1.0.0/16");
  const mixed = `${POOLS}---
{apiVersion: projectcalico.org/v3, kind: Tier, metadata: {name: default}}`;
  const { out } = await cluster.run("get -f -", { stdin: mixed });
  assert.match(
    out,
    /^NAME +CIDR.*\npool-a.*\npool-b.*\n\nNAME +ORDER +\ndefault +1e\+06 +\n\n$/,
  );
});

test("some found and some not: both are told, and it counts as failed", async (cluster) => {
  await cluster.run("apply -f -", { stdin: POOLS });
  const answer = await cluster.run("get ippool pool-a nope pool-b");
  assert.equal(answer.exit, 1);
  assert.match(answer.out, /pool-a[^]*pool-b/);
  assert.equal(answer.err, 'error: IPPool "nope" does not exist\n');
});

test("nodes show the cluster's AS number where they have none of their own", async (cluster) => {
  const node = (name: string, bgp: string) =>
    `{apiVersion: projectcalico.org/v3, kind: Node, metadata: {name: ${name}}, spec: {bgp: {${bgp}}}}\n---\n`;
  await cluster.run("apply -f -", {
    stdin: node("n1", "ipv4Address: 192.0.2.1/24") +
      node("n2", "ipv4Address: 192.0.2.2/24, asNumber: 65001") +
      "{apiVersion: projectcalico.org/v3, kind: BGPConfiguration, metadata: {name: default}, spec: {asNumber: '1.10'}}",
  });
  assert.equal(
    (await cluster.run("get nodes -o wide")).out,
    "NAME   ASN       IPV4           IPV6   \n" +
      "n1     (65546)   192.0.2.1/24          \n" +
      "n2     65001     192.0.2.2/24          \n\n",
  );
});

test("read-only kinds are shown and not written", async (cluster) => {
  await cluster.run("apply -f -", { stdin: POOLS });
  assert.match(
    (await cluster.run("get clusterinfo")).out,
    /^NAME +CLUSTERGUID.*\ndefault +[0-9a-f]{32}/,
  );
  const stdin = (await cluster.run("get clusterinfo default -o yaml")).out;
  for (const line of ["apply -f -", "delete -f -", "delete clusterinfo default"]) {
    const answer = await cluster.run(line, { stdin });
    assert.equal(answer.exit, 1, line);
    assert.match(answer.err, /cannot be (written|deleted) by users/);
  }
});

test("a tier without an order gets that of the default tier; lists are in the order of tiers", async (cluster) => {
  const tier = (name: string, spec: string) =>
    `{apiVersion: projectcalico.org/v3, kind: Tier, metadata: {name: ${name}}, spec: ${spec}}`;
  const stdin = [
    tier("zz", "{order: 10}"),
    tier("aaa", "{}"),
    tier("default", "{}"),
    tier("last", "{order: 20000000}"),
  ].join("\n---\n");
  const key = (name: string) => `/calico/resources/v3/projectcalico.org/tiers/${name}`;
  const stored = async (name: string) => (await cluster.store.get<any>(key(name)))?.value.spec;
  assert.equal((await cluster.run("apply -f -", { stdin })).exit, 0);
  assert.deepEqual(await stored("aaa"), { order: 1_000_000, defaultAction: "Deny" });
  await cluster.run(["patch", "tier", "last", "-p", "{spec: {order: null}}"]);
  assert.deepEqual(await stored("last"), { order: 1_000_000, defaultAction: "Deny" });
  // By other means: shown so in a list, and left as it stands.
  const raw = { kind: "Tier", apiVersion: "projectcalico.org/v3", metadata: { name: "bare" } };
  await cluster.store.create(key("bare"), { ...raw, spec: {} });
  const { out } = await cluster.run("get tiers");
  assert.deepEqual(out.trim().split("\n").map((line) => line.trim().split(/ +/)), [
    ["NAME", "ORDER"],
    ["zz", "10"],
    ["kube-admin", "1000"],
    ["aaa", "1e+06"],
    ["bare", "1e+06"],
    ["default", "1e+06"],
    ["last", "1e+06"],
    ["kube-baseline", "1e+07"],
  ]);
  assert.deepEqual(await stored("bare"), {});
});

test("a patch that names a resourceVersion is for that one", async (cluster) => {
  await cluster.run("apply -f -", { stdin: POOLS });
  const stored = async () => JSON.parse((await cluster.run("get ippool pool-a -o json")).out);
  const patch = async (change: unknown, type = "strategic", name?: string) =>
    await cluster.run(
      ["patch", "ippool", "pool-a", "-t", type, "-p", JSON.stringify(change)],
      { name },
    );
  const merge = (resourceVersion: unknown) => ({
    metadata: { resourceVersion },
    spec: { disabled: true },
  });
  const tested = (value: unknown) => [
    { op: "test", path: "/metadata/resourceVersion", value },
    { op: "add", path: "/spec/disabled", value: true },
  ];
  for (const type of ["strategic", "merge", "json"]) {
    const change = type === "json" ? tested : merge;
    const before = await stored();
    for (const stale of ["1", "abc", 1, null]) {
      const { exit, err } = await patch(change(stale), type);
      assert.equal(exit, 1, `${type} ${stale}`);
      assert.match(err, /resourceVersion/);
    }
    assert.deepEqual(await stored(), before);
    assert.equal((await patch(change(before.metadata.resourceVersion), type)).exit, 0, type);
    assert.equal((await stored()).spec.disabled, true);
    await patch({ spec: { disabled: false } });
  }
  const { err } = await patch(merge("1"), "merge", "calicoctl");
  assert.match(err, /^hit error: update conflict: IPPool\(pool-a\)/);
});

test("a patch that would make another object of it is refused", async (cluster) => {
  await cluster.run("apply -f -", { stdin: POOLS });
  const stored = async () => (await cluster.run("get ippool pool-a -o json")).out;
  const cases: [change: unknown, message: RegExp][] = [
    [{ kind: "NetworkPolicy" }, /kind is "IPPool" and cannot be changed to "NetworkPolicy"/],
    [{ kind: null }, /kind is "IPPool" and cannot be changed to null/],
    [{ apiVersion: "v9" }, /apiVersion is "projectcalico.org\/v3" and cannot be changed to "v9"/],
    [
      { metadata: { uid: "u" } },
      /metadata\.uid is ".*" and cannot be changed to "u"; leave it out/,
    ],
    [{ metadata: { uid: null } }, /metadata\.uid is ".*" and cannot be changed to null/],
    [{ metadata: { creationTimestamp: "2020-01-01T00:00:00Z" } }, /creationTimestamp is ".*" and/],
  ];
  for (const name of ["tortie", "calicoctl"]) {
    const patch = (change: unknown) =>
      cluster.run(["patch", "ippool", "pool-a", "-p", JSON.stringify(change)], { name });
    const before = await stored();
    for (const [change, message] of cases) {
      const { exit, out, err } = await patch(change);
      assert.deepEqual([exit, out], [1, ""], JSON.stringify(change));
      assert.match(err, message);
    }
    assert.equal(await stored(), before);
    // What says the same, and what Go's programs print of a time that they do not know, is no change.
    const { kind, apiVersion, metadata: { uid } } = JSON.parse(before);
    const same = await patch({ kind, apiVersion, metadata: { uid, creationTimestamp: null } });
    assert.equal(same.exit, 0, same.err);
  }
});

test("as calicoctl a patch is a strategic one, whatever its type is said to be", async (cluster) => {
  const patch = async (type: string, change: unknown, name = "calicoctl") =>
    await cluster.run(["patch", "tier", "t", "-p", JSON.stringify(change), "--type", type], {
      name,
    });
  const stored = async () => JSON.parse((await cluster.run("get tier t -o json")).out);
  for (const type of ["json", "merge", "strategic"]) {
    await cluster.run("apply -f -", {
      stdin:
        "apiVersion: projectcalico.org/v3\nkind: Tier\nmetadata: {name: t}\nspec: {order: 5}\n",
    });
    const changes = [
      { spec: { order: 8 } },
      { metadata: { finalizers: ["x.y/a"] } },
      { metadata: { finalizers: ["x.y/b"] } },
    ];
    for (const change of changes) {
      const { exit, out, err } = await patch(type, change);
      assert.deepEqual([exit, out], [0, "Successfully patched 1 'Tier' resource\n"], err);
    }
    const { spec, metadata: { finalizers } } = await stored();
    assert.deepEqual([spec.order, finalizers], [8, ["x.y/b", "x.y/a"]], type);
    await cluster.run("delete tier t");
  }
  await cluster.run("apply -f -", {
    stdin: "apiVersion: projectcalico.org/v3\nkind: Tier\nmetadata: {name: t}\nspec: {order: 5}\n",
  });
  const list = [{ op: "replace", path: "/spec/order", value: 9 }];
  assert.equal((await patch("json", list)).exit, 0);
  assert.equal((await stored()).spec.order, 9);
  assert.equal((await patch("merge", list)).exit, 1);
  const own = await patch("json", { spec: { order: 8 } }, "tortie");
  assert.equal(own.exit, 2);
  assert.match(own.err, /is not a list of operations, as --type json takes it/);
});

test("label and patch change one thing", async (cluster) => {
  await cluster.run("apply -f -", { stdin: POOLS });
  const label = (words: string) => cluster.run(`label ippool pool-a ${words}`);
  assert.equal((await label("color=blue")).exit, 0);
  const refused = await label("color=red");
  assert.equal(refused.exit, 1);
  assert.match(refused.err, /key color is already present.*--overwrite/);
  assert.equal((await label("color=red --overwrite")).exit, 0);
  const labels = async () =>
    JSON.parse((await cluster.run("get ippool pool-a -o json")).out).metadata.labels;
  assert.deepEqual(await labels(), { color: "red" });
  assert.equal((await label("color --remove")).exit, 0);
  assert.equal(await labels(), undefined);
  assert.match((await label("color --remove")).err, /cannot remove label/);
  assert.equal((await label("a=b=c")).exit, 2);

  const patch = (change: string, ...more: string[]) =>
    cluster.run(["patch", "ippool", "pool-a", "-p", change, ...more]);
  assert.deepEqual(await patch('{"spec":{"disabled":true}}'), {
    exit: 0,
    out: "Successfully patched 1 'IPPool' resource\n",
    err: "",
  });
  assert.match((await cluster.run("get pool pool-a -o custom-columns=DISABLED")).out, /true/);
  assert.equal((await patch("spec: {disabled: null}")).exit, 0);
  assert.equal(
    (await patch('[{"op":"replace","path":"/spec/natOutgoing","value":false}]', "-t", "json")).exit,
    0,
  );
  const bad: [change: string, more: string[], exit: number, message: RegExp][] = [
    [
      '{"spec":{"disabld":true}}',
      [],
      1,
      /spec\.disabld: unknown field \(did you mean disabled\?\)/,
    ],
    ['{"spec":{"cidr":"10.9.0.0/16"}}', [], 1, /CIDR cannot be changed/],
    ['{"metadata":{"name":"x"}}', [], 1, /would rename/],
    ["[", [], 2, /the patch/],
    ["{}", ["-t", "clever"], 2, /--type clever: want strategic, merge or json/],
    ['[{"op":"remove","path":"/spec/nope"}]', ["-t", "json"], 1, /operation 1 \(remove\)/],
  ];
  for (const [change, more, exit, message] of bad) {
    const answer = await patch(change, ...more);
    assert.equal(answer.exit, exit, change);
    assert.match(answer.err, message);
  }
});

test("fields of a newer version survive every rewrite, and slips are still slips", async (cluster) => {
  const stdin = "{apiVersion: projectcalico.org/v3, kind: GlobalNetworkPolicy, " +
    "metadata: {name: p}, spec: {order: 1, ingress: [{action: Allow}]}}";
  await cluster.run("apply -f -", { stdin });
  const { entries: [{ key, value, revision }] } = await cluster.store.list(
    "/calico/resources/v3/projectcalico.org/globalnetworkpolicies/",
  );
  const newer = structuredClone(value) as any;
  newer.spec.depth = { level: 3 };
  newer.spec.ingress[0].mirror = "eth9";
  newer.phase = "new";
  await cluster.store.update(key, newer, revision);
  const stored = async () => (await cluster.store.get(key))!.value as any;
  const survived = async (what: string, list = true) => {
    const { spec, phase } = await stored();
    assert.deepEqual([spec.depth, phase], [{ level: 3 }, "new"], what);
    if (list) assert.equal(spec.ingress[0].mirror, "eth9", what);
  };
  const ok = async (line: string, text?: string) => {
    const answer = await cluster.run(line, { stdin: text });
    assert.deepEqual([answer.exit, answer.err], [0, ""], line);
    return answer.out;
  };
  await ok("label gnp p a=b");
  await survived("label");
  await ok('patch gnp p -p {"spec":{"order":2}}');
  await survived("patch");
  for (const line of ["apply -f -", "replace -f -"]) {
    for (const name of ["tortie", "calicoctl"]) {
      const printed = await ok("get gnp p -o yaml");
      const { exit, err } = await cluster.run(line, { name, stdin: printed });
      assert.deepEqual([exit, err], [0, ""], `${name} ${line}`);
      await survived(`${name} ${line} of what get printed`);
      const slip = await cluster.run(line, { name, stdin: printed.replace("depth:", "dephts:") });
      assert.equal(slip.exit, 1);
      assert.match(slip.err, /spec\.dephts/);
      await survived(`${name} ${line} of a slip`);
    }
  }
  // Of a Pod we read a part alone; all of it is the file's.
  const pod = (more: string) =>
    `{apiVersion: v1, kind: Pod, metadata: {name: p}, spec: {containers: []${more}}}`;
  await ok("apply -f -", pod(", volumes: [{name: v}]"));
  assert.match(await ok("get pod p -o yaml"), /volumes/);
  await ok("apply -f -", pod(""));
  assert.doesNotMatch(await ok("get pod p -o yaml"), /volumes/);
  // A file of today's fields; a list is replaced whole.
  await ok("apply -f -", stdin);
  await survived("apply of an older file", false);
  assert.equal((await stored()).spec.order, 1);
});

const NETWORK_SETS = ["default", "shop"].map((namespace) =>
  `{apiVersion: projectcalico.org/v3, ` +
  `kind: NetworkSet, metadata: {name: s, namespace: ${namespace}, labels: {a: b}}}`
).join("\n---\n");

test("an empty -n, of a variable that is not set, is none", async (cluster) => {
  await cluster.run("apply -f -", { stdin: NETWORK_SETS });
  for (const name of ["tortie", "calicoctl"]) {
    const run = (...words: string[]) => cluster.run([...words, "-n", ""], { name });
    assert.equal((await run("get", "networksets", "-o", "name")).out, "networkset/s\n");
    const joined = await cluster.run(["get", "networksets", "-n=", "-o=name"], { name });
    assert.equal(joined.out, "networkset/s\n", joined.err);
    assert.equal((await run("get", "networkset", "s")).exit, 0);
    assert.equal((await run("label", "networkset", "s", `${name}=x`)).exit, 0);
    assert.equal(
      (await run("patch", "networkset", "s", "-p", "{spec: {nets: [10.0.0.1]}}")).exit,
      0,
    );
    const [there, shop] = await Promise.all(
      ["default", "shop"].map((n) => cluster.resources.get(networkSetKind, "s", n)),
    );
    assert.equal(there?.metadata.labels?.[name], "x");
    assert.equal(shop?.metadata.labels?.[name], undefined);
    assert.equal((await run("delete", "networkset", "s")).exit, 0);
    assert.equal((await run("apply", "-f", "-")).exit, 1);
    const back = await cluster.run(["apply", "-n", "", "-f", "-"], { stdin: NETWORK_SETS, name });
    assert.equal(back.exit, 0);
  }
});

test("--export: for whole lists and files too; calicoctl for objects by name alone", async (cluster) => {
  await cluster.run("apply -f -", { stdin: NETWORK_SETS });
  const metadata = async (line: string, name = "tortie") => {
    const { out } = await cluster.run(`get ${line} -o json --export`, { name });
    const value = JSON.parse(out);
    return (value.items ?? [value]).map((object: any) =>
      Object.keys(object.metadata).sort().join()
    );
  };
  assert.deepEqual(await metadata("networksets"), ["labels,name"]);
  assert.deepEqual(await metadata("networkset s"), ["labels,name"]);
  const file = await cluster.file("s.yaml", NETWORK_SETS.split("\n---")[0]);
  assert.deepEqual(await metadata(`-f ${file}`), ["labels,name"]);
  // Of all namespaces, each object keeps its own.
  assert.deepEqual(await metadata("networksets -A"), Array(2).fill("labels,name,namespace"));
  const whole = "creationTimestamp,labels,name,namespace,resourceVersion,uid";
  assert.deepEqual(await metadata("networksets", "calicoctl"), [whole]);
  assert.deepEqual(await metadata("networkset s", "calicoctl"), ["labels,name"]);
  assert.match(
    (await cluster.run("get --help", { name: "calicoctl" })).out,
    /ignored for whole kinds/,
  );
});

test("columns of the user's choice have no other among them", async (cluster) => {
  await cluster.run("apply -f -", { stdin: NETWORK_SETS });
  for (const name of ["tortie", "calicoctl"]) {
    const { out } = await cluster.run("get networksets -A -o custom-columns=NAME", { name });
    assert.match(out, /^NAME\s*\ns\s*\ns\s*\n/);
  }
});

test("a short option's value may follow a = as for kubectl", async (cluster) => {
  await cluster.run("apply -f -", { stdin: POOLS });
  for (const words of ["-o=name", "-oname", "-o name", "--output=name"]) {
    const { out, err } = await cluster.run(`get ippool pool-a ${words}`);
    assert.deepEqual([out, err], ["ippool/pool-a\n", ""]);
  }
});

test("a file is UTF-8, or UTF-16 that says so; another is refused, and nothing of it is written", async (cluster) => {
  const text = "apiVersion: projectcalico.org/v3\nkind: GlobalNetworkSet\nmetadata: {name: a, " +
    "annotations: {note: café}}\n";
  const path = await cluster.file("a.yaml", "");
  const wide = (isLittle: boolean) => {
    const bytes = new Uint8Array(2 * text.length + 2);
    const view = new DataView(bytes.buffer);
    [..."\ufeff" + text].forEach((c, i) => view.setUint16(2 * i, c.charCodeAt(0), isLittle));
    return bytes;
  };
  const utf8 = new TextEncoder();
  const latin = Uint8Array.from(text, (c) => c.charCodeAt(0));
  for (const command of ["validate -f", "apply -f", "delete -f"]) {
    await Deno.writeFile(path, latin);
    const { exit, err } = await cluster.run(`${command} ${path}`);
    assert.equal(exit, 1);
    assert.match(err, /line 3 of \S+a\.yaml is no UTF-8: write it as UTF-8/);
  }
  await Deno.writeFile(path, wide(true).subarray(0, -1));
  assert.match((await cluster.run(`apply -f ${path}`)).err, /a\.yaml is no UTF-16/);
  assert.deepEqual((await cluster.store.list("/")).entries, []);
  for (const bytes of [utf8.encode(text), utf8.encode("\ufeff" + text), wide(true), wide(false)]) {
    await Deno.writeFile(path, bytes);
    assert.equal((await cluster.run(`apply -f ${path}`)).err, "");
    assert.match((await cluster.run("get globalnetworkset a -o yaml")).out, /note: café\n/);
    assert.equal((await cluster.run(`delete -f ${path}`)).err, "");
  }
  const stream = (bytes: Uint8Array) =>
    readAll(ReadableStream.from([bytes.subarray(0, 60), bytes.subarray(60)]));
  assert.equal(await stream(utf8.encode(text)), text);
  await assert.rejects(stream(latin), /line 3 of standard input is no UTF-8/);
});

test("what get prints goes through apply: the built-in profile, and a list of many MiB", async (cluster) => {
  await cluster.run("apply -f -", {
    stdin: "{apiVersion: projectcalico.org/v3, kind: Profile, metadata: {name: mine}}",
  });
  const { out: profiles } = await cluster.run("get profiles -o yaml");
  assert.match(profiles, /projectcalico-default-allow/);
  const again = await cluster.run("apply -f -", { stdin: profiles });
  assert.deepEqual([again.exit, again.out], [0, "Successfully applied 1 'Profile' resource(s)\n"]);
  assert.match(again.err, /passed over: it is built in/);
  const { out: one } = await cluster.run("get profile projectcalico-default-allow -o yaml");
  const changed = one.replaceAll("action: Allow", "action: Deny");
  const refused = await cluster.run("apply -f -", { stdin: changed });
  assert.equal(refused.exit, 1);
  assert.match(refused.err, /"projectcalico-default-allow" is built in and cannot be written/);
  // More than was once taken; a list whose objects are large, so that the test is quick.
  const note = "x".repeat(200_000);
  const sets = Array.from({ length: 30 }, (_, i) => ({
    apiVersion: "projectcalico.org/v3",
    kind: "GlobalNetworkSet",
    metadata: { name: `s${i}`, annotations: { note } },
  }));
  assert.equal((await cluster.run("apply -f -", { stdin: JSON.stringify(sets) })).exit, 0);
  for (const format of ["yaml", "json"]) {
    for (const name of ["tortie", "calicoctl"]) {
      const { out } = await cluster.run(`get gnetsets -o ${format}`);
      assert(out.length > 5 * 1024 * 1024);
      const file = await cluster.file(`all.${format}`, out);
      const { exit, out: said } = await cluster.run(`apply -f ${file}`, { name });
      assert.deepEqual([exit, said], [
        0,
        "Successfully applied 30 'GlobalNetworkSet' resource(s)\n",
      ]);
    }
  }
});

test("unquoted numbers and booleans in labels and names are texts, under both names", async (cluster) => {
  for (const name of ["tortie", "calicoctl"]) {
    const stdin = "apiVersion: projectcalico.org/v3\nkind: GlobalNetworkSet\n" +
      "metadata: {name: 12, labels: {rack: 1, gpu: true}}\n";
    const { exit, err } = await cluster.run("apply -f -", { stdin, name });
    assert.deepEqual([exit, err], [0, ""]);
    const { out } = await cluster.run("get globalnetworkset 12 -o json");
    assert.deepEqual(JSON.parse(out).metadata.labels, { rack: "1", gpu: "true" });
    assert.equal((await cluster.run("get -f -", { stdin, name })).exit, 0);
    assert.equal((await cluster.run("delete -f -", { stdin, name })).exit, 0);
  }
});

test("a name out of the datastore cannot steer the terminal", async (cluster) => {
  const name = "x\x1b[2J\x07";
  await cluster.store.put("/calico/resources/v3/projectcalico.org/globalnetworksets/x", {
    metadata: { name, labels: { [name]: name } },
    spec: { nets: ["\x1b[31m"] },
  });
  await cluster.store.put(`/calico/resources/v3/projectcalico.org/globalnetworksets/${name}`, {
    metadata: { name },
    spec: { nets: ["10.0.0.0/8"] },
  });
  for (const format of ["ps", "wide", "name", "custom-columns=NAME,NETS", "json", "yaml"]) {
    for (const program of ["tortie", "calicoctl"]) {
      const { out, err } = await cluster.run(`get globalnetworksets -o ${format}`, {
        name: program,
      });
      // deno-lint-ignore no-control-regex
      assert.doesNotMatch(out + err, /[\x00-\x09\x0b-\x1f]/, format);
    }
  }
  const { out } = await cluster.run("get globalnetworksets -o name");
  assert.equal(out, "globalnetworkset/x\nglobalnetworkset/x\\x1b[2J\\x07\n");
});

test("labels that follow from the object itself: a warning, and all else is stored", async (cluster) => {
  const policy = "apiVersion: projectcalico.org/v3\nkind: NetworkPolicy\n" +
    "metadata: {name: web, namespace: blue}\nspec: {selector: all()}\n";
  const endpoint = "apiVersion: projectcalico.org/v3\nkind: WorkloadEndpoint\n" +
    "metadata: {name: node1-k8s-a-eth0, namespace: blue}\nspec: {orchestrator: k8s, node: node1, pod: a, " +
    "endpoint: eth0, interfaceName: calia, ipNetworks: [10.0.0.1/32]}\n";
  const made = await cluster.run("apply -f -", { stdin: `${policy}---\n${endpoint}` });
  assert.equal(made.exit, 0, made.err);
  const stored = async (what: string) =>
    JSON.parse((await cluster.run(`get ${what} -n blue -o json`)).out);
  for (const [order, name] of ["tortie", "calicoctl"].entries()) {
    const run = (...words: string[]) => cluster.run([...words, "-n", "blue"], { name });
    const add = (path: string, value: unknown) => ({ op: "add", path, value });
    const list = [add("/metadata/labels", { x: name }), add("/spec/order", order)];
    const patched = await run("patch", "np", "web", "-t", "json", "-p", JSON.stringify(list));
    assert.deepEqual([patched.exit, patched.out], [
      0,
      "Successfully patched 1 'NetworkPolicy' resource\n",
    ]);
    assert.match(
      patched.err,
      /^warning: NetworkPolicy "blue\/web": label projectcalico\.org\/tier: not changed, .*stored\n$/,
    );
    assert.doesNotMatch(patched.err, /kubectl/);
    const { metadata, spec } = await stored("np web");
    assert.deepEqual(metadata.labels, { x: name, "projectcalico.org/tier": "default" });
    assert.equal(spec.order ?? 0, order);
    for (const [key, value] of [["namespace", "blue"], ["orchestrator", "k8s"]]) {
      const label = `projectcalico.org/${key}`;
      const done = await run("label", "wep", "node1-k8s-a-eth0", `${label}=z`, "--overwrite");
      assert.equal(done.exit, 0);
      assert.match(
        done.err,
        /^warning: WorkloadEndpoint "blue\/node1-k8s-a-eth0": label \S+: not changed/,
      );
      assert.match(done.err, / since it follows from the object itself\n$/);
      // Its words are calicoctl's; ours say nothing that is not so.
      assert.equal(done.out.startsWith("Successfully updated label"), name === "calicoctl");
      assert.equal((await stored("wep node1-k8s-a-eth0")).metadata.labels[label], value);
    }
  }
});

test("a list as an item of a typed list is refused with its place, whatever is in it", async (cluster) => {
  const inner = "[{kind: Tier, apiVersion: projectcalico.org/v3, metadata: {name: b}, spec: {}}]";
  for (const item of [inner, "[]", `[${inner}]`]) {
    const list = "apiVersion: projectcalico.org/v3\nkind: IPPoolList\nitems:\n" +
      `- metadata: {name: a}\n  spec: {cidr: 10.1.0.0/16}\n- ${item}\n`;
    for (const name of ["tortie", "calicoctl"]) {
      const { exit, err } = await cluster.run("apply -f -", { stdin: list, name });
      assert.equal(exit, 1, item);
      assert.match(err, /input:6: .*items\[1\] of the IPPoolList is a list itself: want an object/);
    }
  }
  assert.equal((await cluster.run("get ippools")).out, "NAME   CIDR   SELECTOR   \n\n");
});

test("an item of a typed list that says another kind is refused with its place", async (cluster) => {
  const list = "apiVersion: projectcalico.org/v3\nkind: IPPoolList\nitems:\n" +
    "- metadata: {name: a}\n  spec: {cidr: 10.1.0.0/16}\n" +
    "- kind: Tier\n  apiVersion: projectcalico.org/v3\n  metadata: {name: b}\n";
  for (const verb of ["apply", "create", "replace", "validate"]) {
    for (const name of ["tortie", "calicoctl"]) {
      const { exit, err } = await cluster.run(`${verb} -f -`, { stdin: list, name });
      if (verb === "validate" && name === "calicoctl") continue;
      assert.equal(exit, 1, verb);
      assert.match(
        err,
        /input:6: .*items\[1\] of the IPPoolList says that its kind is "Tier"/,
        verb,
      );
    }
  }
  assert.equal((await cluster.run("get ippools")).out, "NAME   CIDR   SELECTOR   \n\n");
});
