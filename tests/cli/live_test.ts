import assert from "node:assert/strict";
import { call, RpcError } from "../../mod/rpc/method.ts";
import { Ipam } from "../../mod/ipam/ipam.ts";
import type { NodeStatus } from "../../mod/node/api.ts";
import type { PeerStatus, RefreshAnswer, RouteStatus } from "../../bgp/config.ts";
import { felixStatusKey } from "../../mod/model/keys.ts";
import { nodeKind } from "../../mod/model/node.ts";
import { workloadEndpointKind } from "../../mod/model/workload_endpoint.ts";
import { Cluster, test } from "./harness.ts";

const peer = (address: string, more: Partial<PeerStatus> = {}): PeerStatus => ({
  name: `Mesh_${address.replaceAll(".", "_")}`,
  address,
  port: 179,
  remoteAs: 64512,
  localAs: 64512,
  internal: true,
  passive: false,
  state: "Established",
  since: Date.parse("2026-11-20T10:00:00Z"),
  reason: "KEEPALIVE received",
  families: ["ipv4"],
  capabilities: ["4-octet AS"],
  prefixes: { received: 3, accepted: 2, stale: 0, sent: 1 },
  messages: { received: 9, sent: 9 },
  established: 1,
  malformed: { count: 0 },
  endOfRib: [],
  ...more,
} as PeerStatus);

const peers = [
  peer("192.0.2.2"),
  peer("192.0.2.3", {
    state: "Active",
    reason: "waiting for the peer to connect",
    lastError: { text: "connection refused", at: Date.parse("2026-11-21T10:00:00Z") },
  }),
];

const status: NodeStatus = {
  node: "n1",
  version: "0.1.0",
  pid: 7,
  started: "2026-11-22T10:00:00.000Z",
  ready: true,
  datastore: { ok: true },
  errors: [],
  warnings: ["IPPool bad: cannot be read"],
  peers: peers.map((p) => ({ ...p, type: "mesh" })),
  endpoints: [{
    namespace: "shop",
    workload: "web-0",
    interface: "cali123",
    addresses: ["10.244.1.7/32"],
    state: "up",
  }],
  blocks: ["10.244.1.0/26"],
  paths: [
    { node: "node2", address: "10.10.1.12", configuredMtu: 1500, pathMtu: 1500, verdict: "ok" },
    {
      node: "node3",
      address: "10.10.2.11",
      configuredMtu: 1500,
      pathMtu: 1300,
      verdict: "too narrow",
    },
    { node: "node4", address: "10.10.2.12", configuredMtu: 1500, verdict: "no answer" },
  ],
  memoryBytes: 100 * 1048576,
};

const routes: RouteStatus[] = [{
  prefix: "10.244.2.0/26",
  nextHop: "192.0.2.2",
  peer: "Mesh_192_0_2_2",
  best: true,
  used: true,
  stale: false,
  reason: "only one",
  origin: "igp",
  asPath: "",
  communities: [],
  largeCommunities: [],
  clusterList: [],
  since: 0,
}, {
  prefix: "10.244.2.0/26",
  nextHop: "192.0.2.3",
  peer: "Mesh_192_0_2_3",
  best: false,
  used: false,
  stale: true,
  reason: "higher router id",
  origin: "igp",
  asPath: "65001",
  communities: [],
  largeCommunities: [],
  clusterList: [],
  since: 0,
}];

const methods = (answer: NodeStatus) => ({
  "node.status": call(() => answer),
  "bgp.peers": call(() => peers),
  "bgp.routes": call((params) =>
    routes.filter((r) => {
      const { prefix } = params as { prefix?: string };
      return prefix === undefined || r.prefix === prefix;
    })
  ),
});

test(
  "node status under the name calicoctl begins as calicoctl's",
  async (cluster) => {
    const { exit, out } = await cluster.run("node status", { name: "calicoctl" });
    assert.equal(exit, 0);
    assert.match(out, /^Calico process is running\.\n\nIPv4 BGP status\n\+-/);
    assert.match(out, /\n\nThe node service of n1 is running \(.*\n\nEndpoints: /);
    const away = await cluster.run("node status", {
      name: "calicoctl",
      env: { TORTIE_RUN_DIR: "/nowhere" },
    });
    assert.equal(away.exit, 1);
    assert.match(away.err, /^Calico process is not running: .* Start it with `tortie node run`/);
  },
  methods(status),
);

test(
  "node status shows peers as calicoctl does, endpoints, and the last error",
  async (cluster) => {
    const { exit, out } = await cluster.run("node status");
    assert.equal(exit, 0);
    assert.match(
      out,
      /^The node service of n1 is running \(version 0\.1\.0, pid 7, since 2026-11-22T10:00:00Z, 100 MiB\)/,
    );
    assert.match(
      out,
      /IPv4 BGP status\n\+-+\+[^]*\| PEER ADDRESS \| +PEER TYPE +\| STATE \| +SINCE +\| +INFO/,
    );
    assert.match(out, /\| 192\.0\.2\.2 +\| node-to-node mesh \| up +\| 2026-11-20 \| Established/);
    assert.match(
      out,
      /\| 192\.0\.2\.3 +\| node-to-node mesh \| start \| 2026-11-20 \| Active waiting for/,
    );
    assert.match(out, /No IPv6 peers found/);
    assert.match(out, /\| shop +\| web-0 +\| cali123 +\| 10\.244\.1\.7\/32 \| up/);
    assert.match(out, /Blocks: 10\.244\.1\.0\/26/);
    assert.match(out, /\| node3 \| 10\.10\.2\.11 +\| +1500 \| +1300 \| too narrow \|/);
    assert.match(out, /\| node4 \| 10\.10\.2\.12 +\| +1500 \| unknown +\| no answer +\|/);
    assert.match(out, /Warnings:\n {2}IPPool bad/);
    assert.match(
      out,
      /Last errors of peers:\n {2}peer 192\.0\.2\.3: connection refused \(2026-11-21\)/,
    );
    assert.deepEqual(JSON.parse((await cluster.run("node status -o json")).out), status);
  },
  methods(status),
);

test("a node that is not ready is a finding", async (cluster) => {
  const { exit, out } = await cluster.run("node status");
  assert.equal(exit, 1);
  assert.match(out, /running, but not ready yet/);
  assert.match(out, /The datastore is away: gone fishing/);
}, methods({ ...status, ready: false, datastore: { ok: false, error: "gone fishing" } }));

test("bgp peers and routes are the speaker's", async (cluster) => {
  const table = (await cluster.run("bgp peers")).out;
  assert.match(table, /^PEER +AS +TYPE +STATE +SINCE +RECEIVED +ACCEPTED +SENT +INFO/);
  assert.match(
    table,
    /192\.0\.2\.3 +64512 +iBGP +Active .*waiting for the peer to connect; last error: connection refused/,
  );
  assert.match((await cluster.run("bgp peers -o wide")).out, /CAPABILITIES[^]*4-octet AS/);
  const all = (await cluster.run("bgp routes")).out;
  assert.match(all, /\* +10\.244\.2\.0\/26 +192\.0\.2\.2 +Mesh_192_0_2_2 +only one/);
  assert.match(all, / S +10\.244\.2\.0\/26 +192\.0\.2\.3 +Mesh_192_0_2_3 +65001 +higher router id/);
  assert.ok(!(await cluster.run("bgp routes --best")).out.includes("higher router id"));
  assert.equal((await cluster.run("bgp routes 10.9.0.0/16 -o json")).out, "[]\n");
  assert.equal((await cluster.run("bgp routes nonsense")).exit, 2);
}, methods(status));

test("bgp refresh says who was asked, and who was not and why", async (cluster) => {
  const all = await cluster.run("bgp refresh");
  assert.equal(all.exit, 0, "one of them was asked");
  assert.equal(all.out, "192.0.2.2 (two): asked for its ipv4 and ipv6 routes\n");
  assert.equal(all.err, "192.0.2.3 (three): not asked: there is no session with it\n");
  assert.equal((await cluster.run("bgp refresh 192.0.2.2 two")).exit, 0);
  assert.equal((await cluster.run("bgp refresh two three")).exit, 1);
  assert.match((await cluster.run("bgp refresh four")).err, /"four" is no peer/);
}, {
  "bgp.refresh": call((params) => {
    const { peer } = params as { peer?: string };
    const answers: RefreshAnswer[] = [
      { name: "two", address: "192.0.2.2", families: ["ipv4", "ipv6"] },
      { name: "three", address: "192.0.2.3", families: [], fault: "there is no session with it" },
    ];
    const found = answers.filter((a) => !peer || a.name === peer || a.address === peer);
    if (found.length === 0) throw new RpcError("not-found", `"${peer}" is no peer`);
    return found;
  }),
});

test("a node that refuses is heard", async (cluster) => {
  const answer = await cluster.run("bgp peers");
  assert.equal(answer.exit, 1);
  assert.match(answer.err, /bgp\.peers/);
});

const POOL = "{apiVersion: projectcalico.org/v3, kind: IPPool, metadata: {name: p}, " +
  "spec: {cidr: 10.5.0.0/24, blockSize: 26}}";

async function withAddresses(cluster: Cluster): Promise<void> {
  await cluster.run("apply -f -", {
    stdin: `${POOL}\n---\n{apiVersion: projectcalico.org/v3, kind: Node, metadata: {name: n1}}`,
  });
  const ipam = new Ipam(cluster.store);
  await ipam.assignIp({
    address: "10.5.0.70",
    host: "n1",
    handle: "net.abc",
    attributes: { pod: "web-0", namespace: "shop", node: "n1" },
  });
  // An address that another node has in the block.
  await ipam.assignIp({
    address: "10.5.0.71",
    host: "n1",
    handle: "net.def",
    attributes: { pod: "db-0", namespace: "shop", node: "n2" },
  });
}

test("ipam show counts pools and blocks and knows who has an address", async (cluster) => {
  await withAddresses(cluster);
  assert.equal(
    (await cluster.run("ipam show --show-blocks")).out,
    [
      "+----------+--------------+-----------+------------+-----------+",
      "| GROUPING |     CIDR     | IPS TOTAL | IPS IN USE | IPS FREE  |",
      "+----------+--------------+-----------+------------+-----------+",
      "| IP Pool  | 10.5.0.0/24  |       256 | 2 (1%)     | 254 (99%) |",
      "| Block    | 10.5.0.64/26 |        64 | 2 (3%)     | 62 (97%)  |",
      "+----------+--------------+-----------+------------+-----------+",
      "",
    ].join("\n"),
  );
  assert.equal(
    (await cluster.run("ipam show --ip 10.5.0.70")).out,
    "IP 10.5.0.70 is in use\nHandle ID: net.abc\nActive Owner Attributes:\n" +
      "  namespace: shop\n  node: n1\n  pod: web-0\n",
  );
  assert.equal((await cluster.run("ipam show --ip 10.5.0.72")).out, "10.5.0.72 is not assigned\n");
  assert.equal((await cluster.run("ipam show --ip pod")).exit, 2);
  const json = JSON.parse((await cluster.run("ipam show -o json")).out);
  assert.deepEqual(json, [
    { name: "p", cidr: "10.5.0.0/24", capacity: 256, inUse: 2, reserved: 0, free: 254 },
  ]);
  assert.match(
    (await cluster.run("ipam show --show-borrowed")).out,
    /\| 10\.5\.0\.71 \| n2 +\| 10\.5\.0\.64\/26 \| n1 +\| pod +\| shop\/db-0 +\|/,
  );
  assert.match(
    (await cluster.run("ipam show --show-configuration")).out,
    /\| StrictAffinity +\| false/,
  );
  assert.equal((await cluster.run("get ipamconfig")).exit, 0);
});

test("a node with pods whose service reports is deleted by force alone", async (cluster) => {
  await withAddresses(cluster);
  await cluster.resources.create(
    workloadEndpointKind,
    {
      metadata: { namespace: "shop" },
      spec: {
        orchestrator: "k8s",
        node: "n1",
        pod: "web-0",
        endpoint: "eth0",
        interfaceName: "cali1",
        ipNetworks: ["10.5.0.70/32"],
      },
    } as never,
  );
  await cluster.store.put(felixStatusKey("n1"), {});
  const kept = await cluster.run("delete node n1");
  assert.equal(kept.exit, 1);
  assert.match(kept.err, /Node "n1" has 1 endpoint, and its service has reported .*--force/);
  const ipam = new Ipam(cluster.store);
  assert(await ipam.assignment("10.5.0.70"));
  assert.equal((await cluster.run("delete node n1 --force")).exit, 0);
  assert.equal(await ipam.assignment("10.5.0.70"), undefined);
  assert(await ipam.assignment("10.5.0.71"), "a pod of another node");
  // Nothing runs there: nobody has to be forced.
  await cluster.resources.create(nodeKind, { metadata: { name: "n2" } } as never);
  await cluster.store.put(felixStatusKey("n2"), {});
  assert.equal((await cluster.run("delete node n2")).exit, 0);
});

test("a deleted pool lets its blocks go, a deleted node its addresses", async (cluster) => {
  await withAddresses(cluster);
  const left = async () => (await cluster.store.list("/calico/ipam/v2/")).entries.map((e) => e.key);
  assert.equal((await cluster.run("delete ippool p")).exit, 0);
  assert.deepEqual((await left()).filter((key) => key.includes("/host/")), []);
  assert.ok((await left()).some((key) => key.includes("/block/")), "blocks with addresses stay");
  assert.equal((await cluster.run("delete node n1")).exit, 0);
});

const OBJECTS = `
apiVersion: v1
kind: Pod
metadata: {name: blue, labels: {color: blue}}
spec: {containers: [{name: c, ports: [{containerPort: 80, name: http}]}]}
status: {podIPs: [{ip: 10.0.0.1}]}
---
apiVersion: v1
kind: List
items:
- {apiVersion: v1, kind: Pod, metadata: {name: red, labels: {color: red}}, status: {podIPs: [{ip: 10.0.0.2}]}}
- {apiVersion: v1, kind: Pod, metadata: {name: other, namespace: away}, status: {podIPs: [{ip: 10.0.0.3}]}}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: blue-from-red}
spec:
  podSelector: {matchLabels: {color: blue}}
  ingress:
  - from: [{podSelector: {matchLabels: {color: red}}}]
    ports: [{port: 80}]
`;

test("policy matrix and explain judge files without a cluster", async (cluster) => {
  const env = { TORTIE_RUN_DIR: "/nowhere", TORTIE_STATE_DIR: "/nowhere" };
  const options = { stdin: OBJECTS, env };
  const matrix = JSON.parse(
    (await cluster.run("policy matrix -f - --port 80/tcp --port 81/tcp -o json", options)).out,
  );
  assert.deepEqual(matrix.endpoints, ["default/blue", "default/red", "away/other"]);
  assert.deepEqual(
    matrix.ports["TCP/80"].combined,
    ["...", "...", "X.."].map((row, i) => i === 0 ? "X.." : row),
  );
  assert.deepEqual(matrix.ports["TCP/81"].combined, ["X..", "X..", "X.."]);
  const table = (await cluster.run("policy matrix -f - --port 80/tcp", options)).out;
  assert.match(table, /TCP\/80: rows are clients[^]*3 {2}away\/other {3}X \. \./);

  const explain = (line: string) => cluster.run(`policy explain -f - ${line}`, options);
  const denied = await explain("--from away/other --to default/blue --port 80/tcp");
  assert.equal(denied.exit, 0);
  assert.match(denied.out, /away\/other .*-> default\/blue .*: denied/);
  assert.match(denied.out, /blue-from-red/);
  const allowed = JSON.parse((await explain("--from red --to blue --port http/tcp -o json")).out);
  assert.equal(allowed.allowed, true);
  assert.equal((await explain("--from red --to nobody --port 80/tcp")).exit, 1);
  for (
    const line of [
      "--to blue --port 80/tcp",
      "--from red --to blue",
      "--from red --to blue --port 80/xyz",
    ]
  ) {
    assert.equal((await explain(line)).exit, 2, line);
  }
});

test("policy explain judges the objects of the datastore", async (cluster) => {
  assert.equal((await cluster.run("apply -f -", { stdin: OBJECTS })).exit, 0);
  const { out } = await cluster.run("policy explain --from away/other --to blue --port 80/tcp");
  assert.match(out, /: denied\n/);
  const matrix = (await cluster.run("policy matrix --port 80/tcp")).out;
  assert.match(matrix, /default\/red/);
});
