/** The command line under the name calicoctl: its words, its outputs, its exit codes. */
import assert from "node:assert/strict";
import { clusterInformationKind } from "../../mod/model/cluster_information.ts";
import { ippoolKind } from "../../mod/model/ippool.ts";
import { type Cluster, command, test as withCluster } from "./harness.ts";
import { CALICOCTL_COMMANDS } from "../../mod/cli/calicoctl/commands.ts";

const name = "calicoctl";
const v3 = (kind: string, name: string, spec: unknown) => ({
  apiVersion: "projectcalico.org/v3",
  kind,
  metadata: { name },
  spec,
});
const POOLS = [
  v3("IPPool", "pool-a", { cidr: "10.1.0.0/16" }),
  v3("IPPool", "pool-b", { cidr: "10.2.0.0/16" }),
];

type Run = (line: string, stdin?: unknown) => Promise<[exit: number, out: string, err: string]>;

const test = (what: string, body: (run: Run, cluster: Cluster) => Promise<void>) =>
  withCluster(what, async (cluster) => {
    const run: Run = async (line, stdin) => {
      const text = typeof stdin === "string" ? stdin : JSON.stringify(stdin);
      const { exit, out, err } = await cluster.run(line, { name, stdin: text });
      return [exit, out, err];
    };
    await body(run, cluster);
  });

Deno.test("help: of the program, of a group, of a command, and by help", async () => {
  const root = await command(["--help"], { name });
  assert.equal(root.exit, 0);
  assert.match(root.out, /^Usage:\n {2}calicoctl \[command\]\n\nAvailable Commands:\n {2}apply /m);
  assert.equal((await command(["help"], { name })).out, root.out);
  // A group does nothing by itself: that is no success.
  for (const words of [[], ["ipam"], ["node"], ["datastore"], ["datastore", "migrate"]]) {
    const help = await command([...words, "--help"], { name });
    assert.match(help.out, new RegExp(`${["calicoctl", ...words].join(" ")} \\[command\\]`));
    assert.deepEqual(await command(words, { name }), { exit: 1, out: "", err: help.out });
  }
  assert.deepEqual(await command(["--version"], { name }), {
    exit: 0,
    out: "Run 'calicoctl version' to see version information.\n",
    err: "",
  });
  for (const { name: words } of CALICOCTL_COMMANDS.filter(({ name }) => name !== "")) {
    const help = await command([...words.split(" "), "-h"], { name });
    assert.deepEqual([help.exit, help.err], [0, ""], words);
    assert.deepEqual(await command(["help", ...words.split(" ")], { name }), help);
  }
});

Deno.test("mistakes are on standard error, without an `error:`, and exit 1", async () => {
  for (const [line, err] of [["-m", "unknown shorthand flag: 'm' in -m\n"], ["get", undefined]]) {
    const answer = await command([line!], { name });
    assert.deepEqual([answer.exit, answer.out], [1, ""]);
    if (err) assert.equal(answer.err, err);
  }
  assert.match(
    (await command(["get", "no", "-l", "loud"], { name })).err,
    /^unknown log level: loud/,
  );
});

Deno.test("a flag that would do nothing is refused, with what to do instead", async () => {
  for (const flag of ["--dryrun", "--node-image=x", "--init-system", "--felix-config=x"]) {
    const { exit, err } = await command(["node", "run", flag], { name });
    assert.equal(exit, 1);
    assert.match(err, /^--[\w-]+ is not taken by calicoctl node run here: /);
  }
});

Deno.test("flags of node run stand for the variables of the node, and are judged as those", async () => {
  for (const [flag, variable] of [["as", "AS"], ["backend", "CALICO_NETWORKING_BACKEND"]]) {
    const said: string[] = [];
    const { error } = console;
    console.error = (text: string) => said.push(text);
    try {
      const { exit } = await command(["node", "run", `--${flag}=sideways`], { name });
      assert.equal(exit, 1);
    } finally {
      console.error = error;
    }
    assert.match(said.join(), new RegExp(`^error: ${variable}="sideways" is not `));
  }
});

test("a configuration without a name, and flags that say nothing, are refused", async (run) => {
  await run("create -f -", POOLS);
  for (
    const line of [
      "apply -f - --config=",
      "delete ippool pool-a -c=",
      "get ippools --config=",
      "label ippool pool-a a=b --config=",
      "ipam release --config=",
      "datastore migrate lock --config=",
    ]
  ) {
    const [exit, out, err] = await run(line, POOLS);
    assert.deepEqual([exit, out], [1, ""], line);
    assert.match(err, /^--config is empty; say which datastore is meant/, line);
  }
  assert.match(
    (await run("ipam release --config=/nosuch"))[2],
    /^the configuration \/nosuch cannot/,
  );
  const alone: [line: string, message: RegExp][] = [
    ["delete ippool pool-a --recursive", /^--recursive of calicoctl delete is about --filename/],
    ["delete ippool pool-a --skip-empty", /^--skip-empty of calicoctl delete is about --filename/],
    ["get ippools -R", /^--recursive of calicoctl get is about --filename/],
    ["ipam show --ip 10.1.0.1 --show-blocks", /^give one of --ip and --show-blocks/],
    ["ipam show --show-blocks --show-borrowed", /^give one of --show-blocks and --show-borrowed/],
  ];
  assert.doesNotMatch((await run("delete ippool none --recursive=false"))[2], /recursive/);
  for (const [line, message] of alone) {
    const [exit, out, err] = await run(line);
    assert.deepEqual([exit, out], [1, ""], line);
    assert.match(err, message);
  }
  assert.match((await run("get ippools -o name"))[1], /pool-a\n.*pool-b/);
  // An empty namespace or context is one that is not given, as with calicoctl.
  assert.equal((await run("get ippools --context="))[0], 0);
  assert.equal((await run("get networksets -n="))[0], 0);
});

test(
  "a cluster of another version is no hindrance, and no flag is said to compare versions",
  async (run, { resources }) => {
    await run("create -f -", POOLS);
    await resources.modify(clusterInformationKind, "default", undefined, (information) => {
      information.spec.calicoVersion = "v3.1.0";
      return information;
    });
    const [exit, out] = await run("--help");
    assert.equal(exit, 0);
    assert.match(out, /--allow-version-mismatch +Accepted; the versions .* are never compared/);
    const plain = await run("get ippools");
    assert.deepEqual([plain[0], plain[2]], [0, ""]);
    assert.deepEqual(plain, await run("get ippools --allow-version-mismatch"));
  },
);

test("create, get, apply, replace, delete say what calicoctl says", async (run) => {
  assert.deepEqual(await run("create -f -", POOLS), [
    0,
    "Successfully created 2 'IPPool' resource(s)\n",
    "",
  ]);
  assert.deepEqual(await run("create -f -", POOLS[0]), [
    1,
    "",
    "failed to create 'IPPool' resource: [resource already exists: IPPool(pool-a)]\n",
  ]);
  assert.deepEqual(await run("create --skip-exists -f -", POOLS), [
    0,
    "Successfully created 2 'IPPool' resource(s)\n",
    "",
  ]);
  const head = "NAME     CIDR          SELECTOR   \n";
  assert.deepEqual(await run("get ippools"), [
    0,
    `${head}pool-a   10.1.0.0/16   all()      \npool-b   10.2.0.0/16   all()      \n\n`,
    "",
  ]);
  // A table of its own for each name.
  assert.deepEqual(await run("get ippool pool-a pool-b nope"), [
    1,
    `${head}pool-a   10.1.0.0/16   all()      \n\n${head}pool-b   10.2.0.0/16   all()      \n\n`,
    "resource does not exist: IPPool(nope)\n",
  ]);
  assert.match((await run("apply -f -", [...POOLS, v3("Tier", "t", {})]))[1], /applied 3 resource/);
  const [, yaml] = await run("get ippool pool-a -o json");
  assert.equal((await run("replace -f -", yaml))[0], 0);
  const [exit, , err] = await run("replace -f -", yaml);
  assert.deepEqual(
    [exit, err.slice(0, 80)],
    [
      1,
      "failed to replace 'IPPool' resource: [update conflict: IPPool(pool-a) (was changed by",
    ].map((part) => typeof part === "string" ? part.slice(0, 80) : part),
  );
  assert.deepEqual(await run("delete ippool pool-a pool-b nope"), [
    1,
    "Successfully deleted 2 'IPPool' resource(s)\n",
    "Failed to delete 'IPPool' resource: resource does not exist: IPPool(nope)\n",
  ]);
});

test("one that is refused keeps none of the others from being written", async (run) => {
  const list = [POOLS[0], v3("IPPool", "bad", { cidr: "10.9.0.1/16" }), POOLS[1]];
  const [exit, out, err] = await run("apply -f -", list);
  assert.deepEqual([exit, out], [
    1,
    "Partial success: applied the first 2 out of 3 'IPPool' resources:\n",
  ]);
  assert.match(err, /^hit error: \[IPPool "bad": spec\.cidr: .*\]\n$/);
  assert.match((await run("get ippool"))[1], /pool-a[^]*pool-b/);
  assert.match((await run("create -f -", [list[1], list[1]]))[2], /^failed to create any 'IPPool'/);
});

test("a file that cannot be decoded ends it before anything is written", async (run) => {
  for (
    const [text, message] of [
      ["kind: [", /^failed to execute command: standard input:\d+/],
      [
        JSON.stringify([POOLS[0], v3("IPPool", "x", { cidr: "10.3.0.0/16", colour: 1 })]),
        /^failed to execute command: .*field in document is not recognized .*: spec\.colour/,
      ],
      [JSON.stringify([POOLS[0], { kind: "Nothing" }]), /^failed to execute command: .*Nothing/],
    ] as const
  ) {
    const [exit, out, err] = await run("apply -f -", text);
    assert.deepEqual([exit, out], [1, ""]);
    assert.match(err, message);
  }
  for (const verb of ["delete", "get"]) {
    const [exit, , err] = await run(`${verb} -f -`, v3("Nothing", "x", {}));
    assert.equal(exit, 1);
    assert.match(err, /^failed to execute command: .*kind "Nothing"/);
  }
  assert.equal((await run("get ippool"))[1], "NAME   CIDR   SELECTOR   \n\n");
});

test("so does a value that is not of its field's type, not one that breaks a rule", async (run) => {
  await run("create -f -", POOLS[0]);
  const fresh = v3("IPPool", "pool-c", { cidr: "10.3.0.0/16" });
  for (const verb of ["create", "apply", "replace", "validate", "delete", "get"]) {
    for (
      const [bad, path] of [
        [v3("NetworkPolicy", "p", { order: "abc" }), "spec\\.order"],
        [v3("IPPool", "p", { cidr: "10.4.0.0/16", blockSize: 26.5 }), "spec\\.blockSize"],
        [v3("FelixConfiguration", "default", { routeRefreshInterval: "5x" }), "spec\\.routeR"],
        [{ ...v3("GlobalNetworkSet", "s", {}), metadata: "s" }, "metadata"],
      ] as const
    ) {
      const file = [fresh, POOLS[0], bad].map((object) => JSON.stringify(object)).join("\n---\n");
      const [exit, out, err] = await run(`${verb} -f -`, file);
      assert.deepEqual([exit, out], [1, ""], verb);
      const said = "^failed to execute command: .*document 3: error unmarshaling JSON: ";
      assert.match(err, new RegExp(said + path));
    }
    assert.equal((await run("get ippool -o name"))[1], "ippool/pool-a\n", verb);
  }
  const broken = v3("IPPool", "p", { cidr: "10.4.0.0/16", blockSize: 1000 });
  assert.match(
    (await run("create -f -", [fresh, broken]))[1],
    /^Partial success: created the first 1/,
  );
});

test("what is read-only, and namespaces", async (run) => {
  await run("create -f -", POOLS);
  const [, info] = await run("get clusterinfo default -o json");
  assert.match(
    (await run("apply -f -", info))[2],
    /operation apply is not supported on ClusterInformation\(default\): resource is readonly/,
  );
  assert.match((await run("get pools -n shop"))[2], /^IPPool is not namespaced/);
  assert.match(
    (await run("get np -A -n shop"))[2],
    /^cannot use both --namespace and --all-namesp/,
  );
  const policy = { ...v3("NetworkPolicy", "p", {}), metadata: { name: "p", namespace: "a" } };
  assert.match(
    (await run("create -n b -f -", policy))[2],
    /does not match client namespace. a != b/,
  );
  assert.equal((await run("create -f -", policy))[0], 0);
  const table = "NAMESPACE   NAME   TIER      \na           p      default   \n\n";
  assert.equal((await run("get np -a"))[1], table);
  assert.equal((await run("get np -n a"))[1], table);
  assert.equal((await run("get np p"))[2], "resource does not exist: NetworkPolicy(default/p)\n");
  assert.match((await run("get foo"))[2], /^resource type 'foo' is not supported/);
  assert.match((await run("get np -o tree"))[2], /^unrecognized output format 'tree'/);
  assert.match((await run("get np -o go-template={{.}}"))[2], /go-template is not supported/);
});

test("patch and label", async (run) => {
  await run("create -f -", POOLS);
  assert.equal(
    (await run('patch ippool pool-a -p={"spec":{"disabled":true}}'))[1],
    "Successfully patched 1 'IPPool' resource\n",
  );
  assert.match((await run("get ippool pool-a -o yaml"))[1], /disabled: true/);
  assert.match(
    (await run('patch ippool pool-a -p={"spec":{"cidr":"x"}}'))[2],
    /^hit error: .*spec\.cidr/,
  );
  assert.deepEqual(await run("patch ippool pool-a -p null"), [
    0,
    "Successfully patched 1 'IPPool' resource\n",
    "",
  ]);
  assert.equal(
    (await run("label pools pool-a a=b"))[1],
    "Successfully set label a on pools pool-a\n",
  );
});

Deno.test("a datastore out of reach is exit 1 under this name", async () => {
  const env = { TORTIE_RUN_DIR: "/nowhere", TORTIE_STATE_DIR: "/nowhere" };
  const answer = await command(["get", "nodes"], { name, env });
  assert.equal(answer.exit, 1);
  assert.match(answer.err, /^the datastore cannot be reached/);
  const version = await command(["version"], { name, env });
  assert.equal(version.exit, 0);
  assert.match(version.out, /^Client Version: {4}\S+\nGit commit: {8}\S+\nUnable to detect/);
});

test("release without an address or a report releases nothing, and is no fault", async (run) => {
  const [exit, out, err] = await run("ipam release");
  assert.deepEqual([exit, out], [0, ""]);
  assert.match(err, /^nothing is released: give --ip/);
});

test("the names of policies are moved by either command", async (run) => {
  for (
    const words of ["datastore migrate-policy-names", "datastore migrate migrate-policy-names"]
  ) {
    assert.deepEqual((await run(words)).slice(0, 1), [0], words);
  }
});

test("a list without items holds nothing; what stands there instead is named", async (run) => {
  for (const more of ["", ", items: null", ", items: []"]) {
    for (const kind of ["v1, kind: List", "projectcalico.org/v3, kind: IPPoolList"]) {
      const [exit, , err] = await run("apply -f -", `{apiVersion: ${kind}${more}}`);
      assert.equal(exit, 1);
      assert.match(err, /standard input holds no object/);
    }
  }
  const [exit, , err] = await run("apply -f -", "apiVersion: v1\nkind: List\nitems: {a: b}\n");
  assert.equal(exit, 1);
  assert.match(err, /standard input:3: document 1: items of the List is \{"a":"b"\}: want a list/);
  const [, , named] = await run(
    "apply -f -",
    "{apiVersion: x/v1, kind: AllowList, metadata: {name: a}}",
  );
  assert.match(named, /kind "AllowList" of "x\/v1" is not known/);
});

test("get shows rules without empty sides, the revision behind uid, and no line end behind JSON", async (run) => {
  const rules = {
    ingress: [{ action: "Allow" }, { action: "Deny", source: { nets: ["10.0.0.0/8"] } }],
    egress: [{ action: "Deny", destination: { selector: "all()" } }],
  };
  await run("create -f -", [v3("GlobalNetworkPolicy", "p", rules), v3("Profile", "p", rules)]);
  for (const kind of ["gnp", "profile"]) {
    const json = (await run(`get ${kind} p -o json`))[1];
    const { metadata, spec } = JSON.parse(json);
    assert.deepEqual([spec.ingress, spec.egress], [rules.ingress, rules.egress]);
    assert.deepEqual(Object.keys(metadata).slice(0, 3), ["name", "uid", "resourceVersion"]);
    assert.equal(json.at(-1), "}");
    assert.equal((await run(`get ${kind} -o json`))[1].at(-1), "}");
    assert.doesNotMatch((await run(`get ${kind} p -o yaml`))[1], /(source|destination): \{\}/);
  }
});

test("what *.yaml became behind -f is refused, and nothing of it written", async (run, cluster) => {
  for (const file of ["1.yaml", "2.yaml"]) {
    await Deno.writeTextFile(`${cluster.folder}/${file}`, JSON.stringify(POOLS[0]));
  }
  const files = `-f ${cluster.folder}/1.yaml ${cluster.folder}/2.yaml`;
  for (const verb of ["validate", "create", "apply"]) {
    const [exit, out, err] = await run(`${verb} ${files}`);
    assert.deepEqual([exit, out], [1, ""], verb);
    assert.match(err, /takes no ".*2\.yaml"; -f takes one file or folder/);
  }
  assert.equal((await cluster.resources.list(ippoolKind)).items.length, 0);
});

test("JSON has Go's escapes, that of tortie the characters", async (run, cluster) => {
  const policy = v3("GlobalNetworkPolicy", "p", { selector: "a == 'b' && c == 'd'" });
  assert.equal((await run("create -f -", policy))[0], 0);
  const [, out] = await run("get gnp p -o json");
  assert.match(out, /"selector": "a == 'b' \\u0026\\u0026 c == 'd'"/);
  assert.equal(JSON.parse(out).spec.selector, "a == 'b' && c == 'd'");
  assert.match((await cluster.run("get gnp p -o json")).out, /a == 'b' && c == 'd'/);
});

test(
  "get -f with -n shows those of that namespace, and fails for the others",
  async (run, cluster) => {
    const policy = { ...v3("NetworkPolicy", "q", {}), metadata: { name: "q", namespace: "shop" } };
    const objects = [POOLS[0], policy];
    assert.equal((await run("create -f -", objects))[0], 0);
    for (const format of ["yaml", "json", "ps"]) {
      const [exit, out, err] = await run(`get -f - -n shop -o ${format}`, objects);
      assert.equal(exit, 1);
      assert.match(out, /shop/);
      assert.doesNotMatch(out, /pool-a/);
      assert.match(
        err,
        /^standard input:1: document 1: IPPool is not namespaced: -n shop has no mean/,
      );
    }
    const [exit, out, err] = await run("get -f - -n other", objects);
    assert.deepEqual([exit, out, err.split("\n").length], [1, "", 3]);
    // tortie's own command line says what is wrong before it shows anything.
    const own = await cluster.run("get -f - -n shop", { stdin: JSON.stringify(objects) });
    assert.deepEqual([own.exit, own.out], [1, ""]);
  },
);

test("delete and get of a document with an unknown field are refused", async (run, cluster) => {
  await run("create -f -", POOLS);
  const strange = v3("IPPool", "pool-a", { cidr: "10.1.0.0/16", blokSize: 26 });
  for (const word of ["delete", "get"]) {
    const [exit, out, err] = await run(`${word} -f -`, strange);
    assert.deepEqual([exit, out], [1, ""]);
    assert.match(
      err,
      /field in document is not recognized or is in the wrong location: spec\.blokSize/,
    );
  }
  assert.ok(await cluster.resources.get(ippoolKind, "pool-a"));
});

test("delete of a Node that is not there takes away what is of it, as of one that is", async (run) => {
  await run("create -f -", [
    v3("BGPPeer", "b", { node: "n1", peerIP: "192.0.2.1", asNumber: 1 }),
    v3("BGPPeer", "c", { node: "n2", peerIP: "192.0.2.1", asNumber: 1 }),
    v3("HostEndpoint", "h", { node: "n1", interfaceName: "eth0" }),
  ]);
  const [exit, , err] = await run("delete node n1");
  assert.equal(exit, 1);
  assert.match(err, /resource does not exist: Node\(n1\)/);
  assert.match((await run("get bgppeer"))[1], /^NAME.*\nc /);
  assert.doesNotMatch((await run("get hep"))[1], /\bh\b/);
});

test("numbers that are 0 and no pointer to Calico are not stored", async (run, cluster) => {
  const metadata = { name: "n1-k8s-p-eth0", namespace: "default" };
  const endpoint = {
    ...v3("WorkloadEndpoint", "", {}),
    metadata,
    spec: {
      node: "n1",
      orchestrator: "k8s",
      pod: "p",
      endpoint: "eth0",
      interfaceName: "cali1",
      ipNetworks: ["10.1.0.1/32"],
      qosControls: { ingressMaxConnections: 0, egressMaxConnections: 5 },
    },
  };
  const peer = v3("BGPPeer", "z", { peerIP: "192.0.2.1", asNumber: 0 });
  assert.equal((await run("create -f -", [endpoint, peer]))[0], 0);
  const spec = async (place: string) =>
    (await cluster.store.get<any>(`/calico/resources/v3/projectcalico.org/${place}`))?.value.spec;
  assert.deepEqual(await spec("bgppeers/z"), { peerIP: "192.0.2.1" });
  assert.deepEqual((await spec("workloadendpoints/default/n1-k8s-p-eth0")).qosControls, {
    egressMaxConnections: 5,
  });
});

test(
  "an empty file in a directory is refused, unless it is to be passed over",
  async (run, cluster) => {
    await cluster.file("a.yaml", JSON.stringify(POOLS[0]));
    await cluster.file("e.yaml", "");
    const [exit, , err] = await run(`validate -f ${cluster.folder}`);
    assert.equal(exit, 1);
    assert.match(err, /e\.yaml holds no object/);
    assert.equal((await run(`validate --skip-empty -f ${cluster.folder}`))[0], 0);
  },
);

test("version tells the cluster's", async (run) => {
  await run("create -f -", POOLS);
  const [exit, out] = await run("version");
  assert.equal(exit, 0);
  assert.match(out, /Cluster Version: +unknown\nCluster Type: +unknown\n$/);
  assert.doesNotMatch((await run("version --client"))[1], /Cluster/);
  assert.match((await run("version --poll soon"))[2], /^invalid poll duration specified: soon/);
});
