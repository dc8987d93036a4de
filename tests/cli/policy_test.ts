/** `policy matrix` and `policy explain` of files: what may be given, what comes out, what is refused. */
import assert from "node:assert/strict";
import { felixVariablesKey, tellFelixVariables } from "../../mod/node/felix_variables.ts";
import { type Answer, command, test } from "./harness.ts";

const yaml = (...documents: unknown[]) => documents.map((d) => JSON.stringify(d)).join("\n---\n");
const pod = (key: string, labels: Record<string, string>, ips: string[], more: {
  ports?: unknown[];
  spec?: Record<string, unknown>;
  status?: Record<string, unknown>;
} = {}) => ({
  apiVersion: "v1",
  kind: "Pod",
  metadata: { namespace: key.split("/")[0], name: key.split("/")[1], labels },
  spec: { containers: [{ name: "c", image: "x", ports: more.ports ?? [] }], ...more.spec },
  status: { podIPs: ips.map((ip) => ({ ip })), ...more.status },
});
const policy = (namespace: string, name: string, spec: unknown) => ({
  apiVersion: "networking.k8s.io/v1",
  kind: "NetworkPolicy",
  metadata: { namespace, name },
  spec,
});

const web = pod("shop/web", { app: "web" }, ["10.0.0.1", "fd00::1"], {
  ports: [{ name: "http", containerPort: 8080 }, {
    name: "ask",
    containerPort: 53,
    protocol: "UDP",
  }],
});
const db = pod("shop/db", { app: "db" }, ["10.0.0.2", "fd00::2"]);
const job = pod("back/job", {}, ["10.0.0.3", "fd00::3"]);
const six = pod("back/six", {}, ["fd00::4"]);
const nowhere = pod("back/new", {}, []);
/** Only namespace back, which has no Namespace object, and only some ports. */
const guard = policy("shop", "guard", {
  podSelector: { matchLabels: { app: "web" } },
  ingress: [{
    from: [{ namespaceSelector: { matchLabels: { "kubernetes.io/metadata.name": "back" } } }],
    ports: [{ port: "http" }, { port: 132, protocol: "SCTP" }],
  }],
});

const env = { TORTIE_RUN_DIR: "/nowhere", TORTIE_STATE_DIR: "/nowhere" };
const run = (line: string, stdin = "") => command(line.split(" "), { stdin, env });
const matrix = async (line: string, ...objects: unknown[]) => {
  const answer = await run(`policy matrix -f - -o json ${line}`, yaml(...objects));
  assert.equal(answer.exit, 0, answer.err);
  return JSON.parse(answer.out);
};

/** Refused with these words, and nothing on standard output. */
function refused(answer: Answer, exit: number, words: RegExp): void {
  assert.deepEqual([answer.exit, answer.out], [exit, ""], answer.err);
  assert.match(answer.err, words);
}

Deno.test("matrix: the JSON is endpoints, and per port three tables of rows", async () => {
  const got = await matrix("--port http --port 8080/tcp --port sctp/132", web, db, job, guard);
  assert.deepEqual(Object.keys(got), ["endpoints", "ports"]);
  assert.deepEqual(got.endpoints, ["shop/web", "shop/db", "back/job"]);
  const table = { ingress: ["X..", "X..", "..."], egress: ["...", "...", "..."] };
  const open = { ...table, combined: ["X..", "X..", "..."] };
  // A server without the named port has none to reach.
  const named = { ingress: ["XXX", "XXX", ".XX"], egress: [".XX", ".XX", ".XX"] };
  assert.deepEqual(got.ports, {
    "TCP/http": { ...named, combined: ["XXX", "XXX", ".XX"] },
    "TCP/8080": open,
    "SCTP/132": open,
  });
});

Deno.test("matrix: a port that no container lists is judged by policy alone", async () => {
  const got = await matrix("--port 9999 --port 53/sctp", web, db, guard);
  assert.deepEqual(got.ports["TCP/9999"].combined, ["X.", "X."]);
  assert.deepEqual(got.ports["SCTP/53"].combined, ["X.", "X."]);
});

Deno.test("matrix: either family where both sides have both, and pods of one family", async () => {
  const four = policy("shop", "four", {
    podSelector: {},
    ingress: [{ from: [{ ipBlock: { cidr: "0.0.0.0/0" } }] }],
  });
  const objects = [web, db, six, nowhere, four];
  const v4 = await matrix("--port 80", ...objects);
  // A pod without an address is asked as if it had one of each.
  assert.deepEqual(v4.ports["TCP/80"].combined, ["....", "....", "XX..", "...."]);
  const v6 = await matrix("--port 80 --family 6", ...objects);
  assert.deepEqual(v6.ports["TCP/80"].combined, ["XX..", "XX..", "XX..", "XX.."]);
});

Deno.test("matrix: of two pods of one name the last counts; ended ones are gone", async () => {
  const moved = pod("shop/db", { app: "web" }, ["10.0.0.2"]);
  const done = pod("shop/done", {}, ["10.0.0.1"], { status: { phase: "Succeeded" } });
  const got = await matrix("--port 80", db, done, job, moved, guard);
  assert.deepEqual(got.endpoints, ["shop/db", "back/job"]);
  assert.deepEqual(got.ports["TCP/80"].combined, ["X.", "X."]);
});

Deno.test("a pod on its node's network: no policy is its own, rules see the node", async () => {
  const host = pod("back/host", { app: "web" }, ["192.168.0.5"], { spec: { hostNetwork: true } });
  const all = policy("back", "all", { podSelector: {}, policyTypes: ["Ingress", "Egress"] });
  const node = policy("shop", "node", {
    podSelector: { matchLabels: { app: "db" } },
    ingress: [{ from: [{ ipBlock: { cidr: "192.168.0.0/24" } }] }],
  });
  const got = await matrix("--port 8080", web, db, host, guard, all, node);
  assert.deepEqual(got.ports["TCP/8080"].combined, ["XX.", "XX.", "X.."]);
  const { exit, out } = await run(
    "policy explain -f - --from back/host --to shop/web --port 8080/tcp",
    yaml(web, host, guard),
  );
  assert.equal(exit, 0);
  assert.match(out, /^192\.168\.0\.5 -> shop\/web \(10\.0\.0\.1\), TCP port 8080: denied/);
  assert.match(out, /note: back\/host is on its node's network/);
});

test("files: several, directories, lists, JSON, many documents, standard input", async (cluster) => {
  const dir = await cluster.file("all/a.yaml", `${yaml(web, db)}\n---\n`);
  await cluster.file("all/notes.txt", "not read");
  await cluster.file("all/more/deep.yaml", yaml(six));
  const list = await cluster.file(
    "list.json",
    JSON.stringify({ apiVersion: "v1", kind: "List", items: [job, guard] }),
  );
  const folder = dir.replace("/a.yaml", "");
  const rows = async (line: string, stdin = "") => {
    const answer = await run(`policy matrix ${line} --port 8080 -o json`, stdin);
    assert.equal(answer.exit, 0, answer.err);
    const { endpoints, ports } = JSON.parse(answer.out);
    return [endpoints.join(" "), ports["TCP/8080"].combined.join(" ")];
  };
  const expected = ["shop/web shop/db back/job", "X.. X.. ..."];
  assert.deepEqual(await rows(`-f ${folder} -f ${list}`), expected);
  assert.deepEqual(await rows(`-f ${dir} -f -`, yaml(job, guard)), expected);
  assert.deepEqual(await rows(`-f -`, JSON.stringify([web, db, job, guard])), expected);
  assert.deepEqual((await rows(`-R -f ${folder}`))[0], "shop/web shop/db back/six");
  const table = await run(`policy matrix -f ${folder} -f ${list} --port 8080/tcp -o table`);
  assert.match(table.out, /^TCP\/8080: .*\n {12,}1 2 3\n1 {2}shop\/web X \. \.\n/);
});

Deno.test("Calico's kinds decide with Kubernetes': tiers, global policies, sets", async () => {
  const calico = (
    kind: string,
    name: string,
    spec: unknown,
    more: Record<string, unknown> = {},
  ) => ({
    apiVersion: "projectcalico.org/v3",
    kind,
    metadata: { name, ...more },
    spec,
  });
  const objects = [
    web,
    db,
    job,
    calico("Tier", "first", { order: 10, defaultAction: "Pass" }),
    calico("GlobalNetworkPolicy", "first.block", {
      tier: "first",
      selector: "app == 'db'",
      types: ["Ingress"],
      ingress: [{ action: "Deny", source: { selector: "role == 'bad'", namespaceSelector: "" } }],
    }),
    calico("NetworkSet", "bad", { nets: ["10.0.0.3/32"] }, {
      namespace: "shop",
      labels: { role: "bad" },
    }),
    calico("NetworkPolicy", "default.web", {
      selector: "app == 'web'",
      types: ["Ingress"],
      ingress: [{ action: "Allow", protocol: "TCP", source: { selector: "app == 'db'" } }],
    }, { namespace: "shop" }),
    // Kinds that policy does not hang on.
    { apiVersion: "v1", kind: "Service", metadata: { name: "s" }, spec: {} },
    { apiVersion: "apps/v1", kind: "Deployment", metadata: { name: "d" }, spec: {} },
  ];
  const answer = await run("policy matrix -f - --port 80 -o json", yaml(...objects));
  assert.equal(answer.err, "");
  assert.deepEqual(JSON.parse(answer.out).ports["TCP/80"].combined, ["X..", "...", "XX."]);
});

Deno.test("what would be refused by the cluster ends the command, every fault told", async () => {
  const bad = policy("shop", "bad", {
    podSelector: {},
    ingress: [{ ports: [{ port: 80, endPort: 70 }] }],
  });
  const worse = policy("shop", "worse", {
    podSelector: { matchExpressions: [{ key: "a", operator: "Like" }] },
  });
  for (const line of ["matrix --port 80", "explain --from shop/web --to shop/db --port 80"]) {
    const answer = await run(`policy ${line} -f -`, yaml(web, db, bad, worse));
    refused(answer, 1, /document 3: .*endPort: 70 is less than port 80[^]*document 4: .*Like/);
  }
  const old = { ...guard, apiVersion: "extensions/v1beta1" };
  refused(
    await run("policy matrix --port 80 -f -", yaml(web, old)),
    1,
    /NetworkPolicy: apiVersion "extensions\/v1beta1" is not known: want .*networking\.k8s\.io\/v1/,
  );
  for (const text of ["hello", "a: b", "[1, 2]", "kind: Pod"]) {
    refused(await run("policy matrix --port 80 -f -", text), 1, /needs apiVersion and kind/);
  }
  refused(await run("policy matrix --port 80 -f -", "a: {"), 1, /standard input:\d+: .* not YAML/);
  refused(await run("policy matrix --port 80 -f -", ""), 1, /holds no object/);
  refused(await run("policy matrix --port 80 -f /none.yaml"), 1, /\/none\.yaml is not there/);
  refused(await run("policy matrix --port 80 -f -", yaml(guard)), 1, /no Pod that runs/);
});

Deno.test("ports: what is one, and what is not", async () => {
  for (const port of ["0/tcp", "65536", "80/icmp", "80-90/tcp", "tcp", "-1", "80/tcp/x", "80 "]) {
    const answer = await command(["policy", "matrix", "-f", "-", `--port=${port}`], {
      stdin: yaml(web),
      env,
    });
    refused(answer, 2, /is not understood; want PORT\/PROTOCOL such as 80\/tcp/);
  }
  refused(await run("policy matrix -f -", yaml(web)), 2, /needs --port/);
  refused(await run("policy matrix -f - --port 80 -o wide", yaml(web)), 2, /want table or json/);
  refused(await run("policy matrix -f - --port 80 --family 5", yaml(web)), 2, /want 4 or 6/);
});

Deno.test("explain: both walks, to the rule that decides; families, protocols, addresses", async () => {
  const out = policy("back", "out", {
    podSelector: {},
    policyTypes: ["Egress"],
    egress: [{ to: [{ ipBlock: { cidr: "10.0.0.0/8", except: ["10.0.0.2/32"] } }] }],
  });
  const stdin = yaml(web, db, job, six, guard, out);
  const explain = async (line: string) => {
    const answer = await run(`policy explain -f - ${line}`, stdin);
    assert.equal(answer.exit, 0, answer.err);
    return answer.out;
  };
  const allowed = await explain("--from back/job --to shop/web --port http/tcp");
  assert.match(
    allowed,
    /^back\/job \(10\.0\.0\.3\) -> shop\/web \(10\.0\.0\.1\), TCP port 8080: allowed/,
  );
  assert.match(allowed, /egress of back\/job: allowed[^]*policy knp back\/out[^]*rule 1 allows it/);
  assert.match(
    allowed,
    /ingress of shop\/web: allowed[^]*policy knp shop\/guard[^]*rule 1 allows it/,
  );

  const except = await explain("--from back/job --to shop/db --port 80");
  assert.match(
    except,
    /egress of back\/job: denied[^]*does not match: destination is in 10\.0\.0\.2/,
  );
  assert.match(except, /denied at the end of the tier[^]*ingress of shop\/db: allowed/);

  const overSix = await explain("--from back/job --to shop/web --port 132/sctp --family 6");
  assert.match(overSix, /^back\/job \(fd00::3\) -> shop\/web \(fd00::1\), SCTP port 132: denied/);
  assert.match(overSix, /egress of back\/job: denied[^]*ingress of shop\/web: allowed/);

  assert.match(
    await explain("--from shop/db --to shop/web --port icmp"),
    /10\.0\.0\.1\), ICMP: denied/,
  );
  assert.match(
    await explain("--from shop/db --to shop/web --port icmpv6"),
    /fd00::1\), ICMPv6: denied/,
  );
  assert.match(
    await explain("--from shop/db --to back/job --port 47/ip"),
    /, protocol 47: allowed/,
  );
  const outside = await explain("--from 192.0.2.9 --to shop/web --port 8080");
  assert.match(outside, /^192\.0\.2\.9 -> shop\/web .*: denied\ningress of shop\/web/);
  assert.match(
    await explain("--from shop/db --to 10.0.0.1 --port 8080"),
    /-> shop\/web \(10\.0\.0\.1\), TCP port 8080: denied/,
    "a pod by its address",
  );
  assert.match(
    await explain("--from 192.0.2.9 --to 192.0.2.8 --port 80"),
    /neither side is an endpoint/,
  );
  assert.match(
    await explain("--from shop/web --to shop/web --port 80"),
    /note: .*does not leave it/,
  );

  const json = JSON.parse(await explain("--from back/job --to shop/db --port 80 -o json"));
  assert.equal(json.allowed, false);
  assert.deepEqual([json.egress.allowed, json.ingress.allowed], [false, true]);
  assert.deepEqual(json.egress.walk.at(-1).outcome, "deny");
});

Deno.test("explain: what cannot be answered is told, with what would do", async () => {
  const stdin = yaml(web, db, six, guard);
  const refusals: [line: string, exit: number, words: RegExp][] = [
    ["--from shop/web --port 80", 2, /needs --to with NAMESPACE\/POD or an address/],
    ["--from shop/web --to shop/db", 2, /needs --port, such as 80\/tcp/],
    ["--from shop/web --to shop/db --port 80/tpc", 2, /--port 80\/tpc is not understood/],
    ["--from shop/web --to shop/db --port 300/ip", 2, /--port 300\/ip is not understood/],
    ["--from shop/web --to shop/db --port 80 --source-port 0", 2, /--source-port 0 is not a port/],
    ["--from shop/web --to shop/db --port 80 --family x", 2, /--family x: want 4 or 6/],
    ["--from shop/web --to shop/db --port 80 -o yaml", 2, /want text or json/],
    ["--from shop/web --to shop/no --port 80", 1, /no endpoint shop\/no: name a pod as/],
    ["--from 10.0.0.0/24 --to shop/web --port 80", 1, /no endpoint 10\.0\.0\.0\/24/],
    ["--from shop/web --to shop/db --port nix/tcp", 1, /no TCP port named "nix"/],
    ["--from shop/web --to shop/db --port ask/tcp", 1, /no TCP port named "ask"/],
    ["--from back/six --to 192.0.2.1 --port 80", 1, /no address of the same family .*fd00::4/],
    ["--from back/six --to shop/web --port icmp", 1, /no IPv4 address both/],
  ];
  for (const [line, exit, words] of refusals) {
    refused(await run(`policy explain -f - ${line}`, stdin), exit, words);
  }
});

const node = (name: string, address: string, more: Record<string, unknown> = {}) => ({
  apiVersion: "projectcalico.org/v3",
  kind: "Node",
  metadata: { name },
  spec: { bgp: { ipv4Address: `${address}/24` }, ...more },
});
const felix = (name: string, spec: unknown) => ({
  apiVersion: "projectcalico.org/v3",
  kind: "FelixConfiguration",
  metadata: { name },
  spec,
});
const on = (nodeName: string) => ({ spec: { nodeName } });
const closed = policy("shop", "closed", { podSelector: {}, policyTypes: ["Ingress"] });
const onOne = pod("shop/one", {}, ["10.0.0.1"], on("node1"));
const onTwo = pod("shop/two", {}, ["10.0.0.2"], on("node2"));
const nodes = [
  node("node1", "192.168.0.1", { ipv4VXLANTunnelAddr: "10.0.7.1" }),
  node("node2", "192.168.0.2"),
];
const explained = async (line: string, ...objects: unknown[]) => {
  const answer = await run(`policy explain -f - ${line}`, yaml(...objects));
  assert.equal(answer.exit, 0, answer.err);
  return answer.out;
};

Deno.test("what a node sends to its own pods is not policed; what others send is", async () => {
  for (const from of ["192.168.0.1", "10.0.7.1"]) {
    const own = await explained(`--from ${from} --to shop/one --port 80`, ...nodes, onOne, closed);
    assert.match(
      own,
      /TCP port 80: allowed\n.*allowed\n +not policed: it comes from the pod's own/,
    );
  }
  const other = await explained(
    "--from 192.168.0.2 --to shop/one --port 80",
    ...[...nodes, onOne, closed],
  );
  assert.match(other, /TCP port 80: denied[^]*denied at the end of the tier/);

  // As kubectl gives a node; and a pod that says itself where it is.
  const kubernetesNode = {
    apiVersion: "v1",
    kind: "Node",
    metadata: { name: "node1" },
    status: { addresses: [{ type: "InternalIP", address: "192.168.0.1" }] },
  };
  assert.match(
    await explained("--from 192.168.0.1 --to shop/one --port 80", kubernetesNode, onOne, closed),
    /: allowed/,
  );
  const host = pod("kube/host", {}, ["192.168.0.1"], {
    spec: { nodeName: "node1", hostNetwork: true },
  });
  const got = await matrix("--port 80", onOne, onTwo, host, closed);
  assert.deepEqual(got.endpoints, ["shop/one", "shop/two", "kube/host"]);
  // Its own node's pod takes all that the host pod sends, the other asks policy.
  assert.deepEqual(got.ports["TCP/80"].ingress, ["XX.", "XX.", ".X."]);
});

Deno.test("settings of all nodes and of one decide as they do there", async () => {
  const toHost = "--from shop/one --to 192.168.0.1 --port 80";
  const all = (...more: unknown[]) => [...nodes, onOne, onTwo, ...more];
  const drop = { defaultEndpointToHostAction: "Drop" };
  assert.match(
    await explained(toHost, ...all()),
    /: allowed[^]*own node: DefaultEndpointToHostAction allows it/,
  );
  const denied = await explained(toHost, ...all(felix("default", drop)));
  assert.match(denied, /: denied[^]*profile kns\.shop[^]*DefaultEndpointToHostAction denies it/);
  // The other node is reached by forwarding, and its own answer is not asked.
  assert.match(
    await explained("--from shop/one --to 192.168.0.2 --port 80", ...all(felix("default", drop))),
    /: allowed/,
  );
  const override = [
    felix("default", drop),
    felix("node.node1", { defaultEndpointToHostAction: "Accept" }),
  ];
  assert.match(await explained(toHost, ...all(...override)), /: allowed/);
  assert.match(
    await explained("--from shop/two --to 192.168.0.2 --port 80", ...all(...override)),
    /: denied/,
  );
  const host = pod("kube/host", {}, ["192.168.0.1"], {
    spec: { nodeName: "node1", hostNetwork: true },
  });
  const got = await matrix("--port 80", onOne, onTwo, host, felix("default", drop));
  assert.deepEqual(got.ports["TCP/80"].combined, ["..X", "...", "..."]);

  // A pod must not tunnel around policy, on whichever port the tunnels are.
  const tunnel = (port: number) => `--from shop/one --to shop/two --port ${port}/udp`;
  const moved = felix("default", { vxlanPort: 8472 });
  assert.match(await explained(tunnel(4789), ...all()), /: denied[^]*before any policy: .*VXLAN/);
  assert.match(await explained(tunnel(4789), ...all(moved)), /: allowed/);
  assert.match(await explained(tunnel(8472), ...all(moved)), /: denied[^]*VXLAN/);
  const named = felix("default", { interfacePrefix: "tap" });
  const both = await explained("--from shop/one --to shop/two --port 80", ...all(named, closed));
  assert.match(both, /: denied[^]*denied at the end of the tier/);

  const bad = felix("default", { defaultEndpointToHostAction: "Perhaps" });
  refused(
    await run(`policy explain -f - ${toHost}`, yaml(...all(bad))),
    1,
    /defaultEndpointToHostAction: .*Perhaps/,
  );
});

Deno.test("lists as the API answers with: items that leave out what they are", async () => {
  const bare = ({ apiVersion: _, kind: __, ...rest }: typeof web) => rest;
  const pods = { apiVersion: "v1", kind: "PodList", items: [web, db, job].map(bare) };
  const policies = {
    apiVersion: "networking.k8s.io/v1",
    kind: "NetworkPolicyList",
    items: [bare(guard as unknown as typeof web)],
  };
  const got = await matrix("--port 8080", pods, policies);
  assert.deepEqual(got, await matrix("--port 8080", web, db, job, guard));
  assert.deepEqual(got.ports["TCP/8080"].combined, ["X..", "X..", "..."]);
});

test("fields are read with their case in Kubernetes' kinds, in any case in Calico's", async (cluster) => {
  const [a, b] = [
    pod("shop/a", { app: "a" }, ["10.0.0.1"]),
    pod("shop/b", { app: "b" }, ["10.0.0.2"]),
  ];
  const select = { podSelector: { matchLabels: { app: "b" } } };
  const zz = { matchLabels: { app: "zz" } };
  const peer = (one: unknown) => policy("shop", "p", { ...select, ingress: [{ from: [one] }] });
  const cases: [object, RegExp][] = [
    [
      peer({ podselector: zz }),
      /spec\.ingress\[0\]\.from\[0\]\.podselector: unknown field \(did you mean podSelector\?\)/,
    ],
    [policy("shop", "p", { ...select, Ingress: [{}] }), /spec\.Ingress: .* mean ingress\?/],
    [{ ...policy("shop", "p", undefined), Spec: select }, /Spec: unknown field .* mean spec\?/],
    [
      policy("shop", "p", { podSelector: { matchlabels: { app: "b" } } }),
      /spec\.podSelector\.matchlabels: .* mean matchLabels\?/,
    ],
    [peer({ ipBlock: { cidr: "10.0.0.0/8", Except: [] } }), /ipBlock\.Except: .* mean except\?/],
    [
      policy("shop", "p", { ...select, ingress: [{ ports: [{ port: 80, endport: 90 }] }] }),
      /ports\[0\]\.endport: .* mean endPort\?/,
    ],
    [{ ...a, metadata: { ...a.metadata, Labels: {} } }, /metadata\.Labels: .* mean labels\?/],
    [{ ...a, Status: {} }, /Status: unknown field \(did you mean status\?\)/],
    [
      { apiVersion: "v1", kind: "Namespace", metadata: { name: "shop", Labels: {} } },
      /metadata\.Labels: .* mean labels\?/,
    ],
    // What kubectl's check does not know either.
    [
      peer({ podSelectr: zz, podSelector: {} }),
      /podSelectr: unknown field \(did you mean podSelector\?\)/,
    ],
  ];
  for (const [i, [object, words]] of cases.entries()) {
    const file = await cluster.file(`${i}.json`, JSON.stringify(object));
    for (const line of [`apply -f ${file}`, `validate -f ${file}`]) {
      const answer = await cluster.run(line);
      refused(answer, 1, words);
    }
    const objects = yaml(a, b, object);
    refused(await run("policy matrix -f - --port 80", objects), 1, words);
    refused(
      await run("policy explain -f - --port 80 --from shop/a --to shop/b", objects),
      1,
      words,
    );
  }
  // Of a Pod we know a part: what else there is may be there.
  const more = { ...a, spec: { ...a.spec, tolerations: [], dnsPolicy: "None" } };
  assert.deepEqual((await matrix("--port 80", more, b)).ports["TCP/80"].combined, ["..", ".."]);
  const calico = {
    apiVersion: "projectcalico.org/v3",
    kind: "GlobalNetworkPolicy",
    metadata: { name: "g" },
    spec: { Selector: "app == 'b'", types: ["Ingress"] },
  };
  assert.deepEqual((await matrix("--port 80", a, b, calico)).ports["TCP/80"].combined, [
    ".X",
    ".X",
  ]);
});

Deno.test("a policy type twice is as in Kubernetes; three are refused", async () => {
  const types = (...policyTypes: string[]) =>
    policy("shop", "p", { podSelector: { matchLabels: { app: "db" } }, policyTypes });
  const got = await matrix("--port 80", web, db, types("Ingress", "Ingress"));
  assert.deepEqual(got.ports["TCP/80"].combined, [".X", ".X"]);
  refused(
    await run("validate -f -", yaml(types("Ingress", "Ingress", "Egress"))),
    1,
    /spec\.policyTypes: .* are more than two/,
  );
});

Deno.test("an address of a Pod that is none is refused", async () => {
  const statuses = [{ podIP: "10.0.0.300" }, { podIPs: [{ ip: "10.0.0.300" }] }, {
    hostIPs: [{ ip: "node1" }],
  }];
  for (const status of statuses) {
    const bad = pod("shop/bad", {}, [], { status });
    for (const line of ["validate -f -", "policy matrix -f - --port 80"]) {
      refused(await run(line, yaml(web, bad)), 1, /status\..*is not allowed: want an IPv4 or IPv6/);
    }
  }
});

Deno.test("a Profile for a Namespace that is not there leaves it its name", async () => {
  const profile = {
    apiVersion: "projectcalico.org/v3",
    kind: "Profile",
    metadata: { name: "kns.back" },
    spec: {
      labelsToApply: { "pcns.team": "x" },
      ingress: [{ action: "Allow" }],
      egress: [{ action: "Allow" }],
    },
  };
  const got = await matrix("--port 8080", web, job, guard, profile);
  assert.deepEqual(got.ports["TCP/8080"].combined, ["X.", ".."]);
  const team = policy("shop", "guard", {
    podSelector: {},
    ingress: [{ from: [{ namespaceSelector: { matchLabels: { team: "x" } } }] }],
  });
  const labelled = await matrix("--port 8080", web, job, team, profile);
  assert.deepEqual(labelled.ports["TCP/8080"].combined, ["X.", ".."]);
});

test("of files and of the datastore the verdict is one", async (cluster) => {
  const objects = [
    pod("shop/a", { app: "a" }, ["10.0.0.1"]),
    pod("shop/b", { app: "b" }, ["10.0.0.2"]),
    policy("shop", "p", {
      podSelector: { matchLabels: { app: "b" } },
      ingress: [{ from: [{ podSelector: { matchLabels: { app: "zz" } } }] }],
    }),
    {
      apiVersion: "projectcalico.org/v3",
      kind: "GlobalNetworkPolicy",
      metadata: { name: "g" },
      spec: { Selector: "app == 'a'", types: ["Ingress"] },
    },
  ];
  const file = await cluster.file("all.json", objects.map((o) => JSON.stringify(o)).join("\n"));
  const matrixOf = async (line: string) => {
    const answer = await cluster.run(`policy matrix --port 80 -o json${line}`);
    assert.equal(answer.exit, 0, answer.err);
    return JSON.parse(answer.out);
  };
  const applied = await cluster.run(`apply -f ${file}`);
  assert.equal(applied.exit, 0, applied.err);
  assert.deepEqual(await matrixOf(` -f ${file}`), await matrixOf(""));
  assert.deepEqual((await matrixOf("")).ports["TCP/80"].combined, ["XX", "XX"]);
});

test("an export is judged as its datastore: kinds beside policy, pods with and without endpoints", async (cluster) => {
  const calico = (kind: string, metadata: unknown, spec: unknown) => ({
    apiVersion: "projectcalico.org/v3",
    kind,
    metadata,
    spec,
  });
  const objects = [
    { apiVersion: "v1", kind: "Namespace", metadata: { name: "shop", labels: { team: "t" } } },
    pod("shop/a", { app: "a" }, ["10.0.0.1"], { spec: { nodeName: "n1" } }),
    pod("shop/b", { app: "b" }, ["10.0.0.2"], { spec: { nodeName: "n1" } }),
    pod("shop/c", { app: "c" }, ["10.0.0.3"], { spec: { nodeName: "n1" } }),
    policy("shop", "p", {
      podSelector: { matchLabels: { app: "b" } },
      ingress: [{ from: [{ podSelector: { matchLabels: { app: "a" } } }] }],
    }),
    calico("Tier", { name: "front" }, { order: 5 }),
    calico("GlobalNetworkPolicy", { name: "front.g" }, {
      tier: "front",
      selector: "app == 'a'",
      ingress: [{ action: "Deny" }],
    }),
    calico("Node", { name: "n1" }, { bgp: { ipv4Address: "192.0.2.1/24" } }),
    calico("IPPool", { name: "p" }, { cidr: "10.0.0.0/16" }),
    calico("FelixConfiguration", { name: "default" }, { vxlanMTU: 1400 }),
    calico("BGPPeer", { name: "b" }, { peerIP: "192.0.2.9", asNumber: 64512 }),
  ];
  const applied = await cluster.run("apply -f -", { stdin: yaml(...objects) });
  assert.equal(applied.exit, 0, applied.err);
  const endpoint = (letter: string, i: number) =>
    calico("WorkloadEndpoint", { namespace: "shop", name: `n1-k8s-${letter}-eth0` }, {
      node: "n1",
      orchestrator: "k8s",
      pod: letter,
      endpoint: "eth0",
      interfaceName: `cali${letter}`,
      ipNetworks: [`10.0.0.${i}/32`],
      profiles: ["kns.shop"],
    });
  const judge = async (rest: string) => {
    const answer = await cluster.run(`policy matrix --port 80 -o json${rest}`);
    assert.equal(answer.exit, 0, answer.err);
    return JSON.parse(answer.out);
  };
  for (const networked of [false, true]) {
    if (networked) {
      const stdin = yaml(endpoint("a", 1), endpoint("b", 2));
      const made = await cluster.run("apply -f -", { stdin });
      assert.equal(made.exit, 0, made.err);
    }
    const exported = await cluster.run("datastore export");
    assert.equal(exported.exit, 0, exported.err);
    const file = await cluster.file("all.yaml", exported.out);
    const ofExport = await judge(` -f ${file}`);
    assert.deepEqual(ofExport, await judge(""));
    // b, to which a alone may come; a, to which nobody may; c, which no node has given an interface.
    const rows = networked ? ["X.X", "XXX", "XXX"] : ["X..", "XX.", "XX."];
    assert.deepEqual(ofExport.ports["TCP/80"].combined, rows);
    const explained = await cluster.run(
      `policy explain --from shop/c --to shop/b --port 80 -f ${file}`,
    );
    assert.match(explained.out, /TCP port 80: denied/);
    // Only who judges takes such a file for objects; the others say who reads it.
    for (const word of ["apply", "validate"]) {
      const { exit, err } = await cluster.run(`${word} -f ${file}`);
      assert.equal(exit, 1);
      assert.match(err, /all\.yaml is the export of a whole datastore: `tortie datastore import`/);
    }
  }
});

test("a node's own environment wins where it has told it; else a note says so", async (cluster) => {
  const file = await cluster.file("all.yaml", yaml(...nodes, onOne, onTwo));
  const applied = await cluster.run(`apply -f ${file}`);
  assert.equal(applied.exit, 0, applied.err);
  const explain = async (line: string) => {
    const answer = await cluster.run(`policy explain --port icmp ${line}`);
    assert.equal(answer.exit, 0, answer.err);
    return answer;
  };
  const toHost = "--from shop/one --to 192.168.0.1";
  const note = /\nnote: FELIX_… variables of node1 are not known here/;
  const before = await explain(toHost);
  assert.match(before.out, /ICMP: allowed/);
  assert.match(before.out, note);
  assert.match(
    before.out,
    /\nnote: the datastore has no WorkloadEndpoint: its Pods are judged as if/,
  );

  await tellFelixVariables(
    cluster.store,
    "node1",
    new Map([["defaultendpointtohostaction", "Drop"], ["etcdpassword", "secret"]]),
  );
  const record = await cluster.store.get(felixVariablesKey("node1"));
  assert.deepEqual(record?.value, { defaultendpointtohostaction: "Drop" });
  const after = await explain(toHost);
  assert.match(after.out, /ICMP: denied[^]*DefaultEndpointToHostAction denies it/);
  assert.doesNotMatch(after.out, /FELIX_/);
  // Only that node's, and over the FelixConfiguration.
  assert.match(
    (await explain("--from shop/two --to 192.168.0.2")).out,
    /ICMP: allowed[^]*of node2/,
  );
  await tellFelixVariables(
    cluster.store,
    "node1",
    new Map([["defaultendpointtohostaction", "Perhaps"]]),
  );
  const passedOver = await explain(toHost);
  assert.match(passedOver.out, /ICMP: allowed/);
  assert.match(passedOver.err, /^warning: node node1: FELIX_DEFAULTENDPOINTTOHOSTACTION="Perhaps"/);
  const told = await cluster.run("policy matrix --port 80");
  assert.match(told.err, /note: FELIX_… variables of node2 are not known here/);

  const ofFiles = await explain(`${toHost} -f ${file}`);
  assert.match(ofFiles.out, /ICMP: allowed/);
  assert.match(ofFiles.out, note);
});

Deno.test("pods on their node's network: both families, and ports by name", async () => {
  const host = pod("kube/hp", {}, ["192.168.0.1", "fd11::1"], {
    spec: { hostNetwork: true, nodeName: "node1" },
    ports: [{ name: "http", containerPort: 8080, hostPort: 8080 }],
  });
  const got = await matrix("--port 8080 --port http/tcp --family 6", web, six, host);
  assert.deepEqual(got.ports["TCP/8080"].combined, ["...", "...", "..."]);
  assert.deepEqual(got.ports["TCP/http"].combined, [".X.", ".X.", ".X."]);
  const out = await explained("--from back/six --to kube/hp --port http/tcp", six, host);
  assert.match(out, /^back\/six \(fd00::4\) -> fd11::1, TCP port 8080: allowed/);
  assert.match(out, /note: kube\/hp is on its node's network: .* rules see the address fd11::1\n/);
});

Deno.test("an address that nobody has is told to be taken for one outside", async () => {
  const note = /note: 192\.168\.0\.9 stands in no Pod and no Node: .* outside the cluster/;
  const of = (address: string) =>
    explained(`--from shop/one --to ${address} --port 80`, ...nodes, onOne, onTwo);
  assert.match(await of("192.168.0.9"), note);
  for (const address of ["192.168.0.1", "10.0.7.1", "10.0.0.2"]) {
    assert.doesNotMatch(await of(address), /outside the cluster/);
  }
});

Deno.test("a Namespace that gives itself another name's label is told", async () => {
  const named = {
    apiVersion: "v1",
    kind: "Namespace",
    metadata: { name: "back", labels: { "kubernetes.io/metadata.name": "front" } },
  };
  const answer = await run("policy matrix -f - --port 8080 -o json", yaml(named, web, job, guard));
  assert.deepEqual(JSON.parse(answer.out).ports["TCP/8080"].combined, ["X.", ".."]);
  assert.match(
    answer.err,
    /^note: .*document 1: Namespace "back": Kubernetes sets .* "back" is taken/,
  );
});
