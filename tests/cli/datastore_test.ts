/** `datastore export|import`, `datastore migrate …` and `migrate-policy-names`, whole command lines. */
import assert from "node:assert/strict";
import { Ipam } from "../../mod/ipam/ipam.ts";
import { clusterInformationKind } from "../../mod/model/cluster_information.ts";
import { handleKey, ipamConfigKey, resourceKey } from "../../mod/model/keys.ts";
import { felixConfigurationKind } from "../../mod/model/felix_configuration.ts";
import { ippoolKind } from "../../mod/model/ippool.ts";
import { KINDS } from "../../mod/model/kinds.ts";
import { networkPolicyKind } from "../../mod/model/network_policy.ts";
import { nodeKind } from "../../mod/model/node.ts";
import { formatIp } from "../../mod/net/mod.ts";
import { parseJson } from "../../mod/store/json.ts";
import { type Store, StoreError } from "../../mod/store/store.ts";
import { IMPORT_ANNOTATION } from "../../mod/cli/datastore/lock.ts";
import { Cluster, test } from "./harness.ts";

const TIME = "2026-11-22T13:44:27Z";

const OBJECTS = `
apiVersion: projectcalico.org/v3
kind: IPPool
metadata: {name: p}
spec: {cidr: 10.0.0.0/24, blockSize: 28}
---
apiVersion: projectcalico.org/v3
kind: Node
metadata: {name: etcd-1}
spec: {orchRefs: [{nodeName: k8s-1.example, orchestrator: k8s}]}
---
apiVersion: projectcalico.org/v3
kind: NetworkPolicy
metadata: {name: web, namespace: shop, labels: {owner: a}}
spec: {selector: app == 'web', ingress: [{action: Allow, protocol: TCP, destination: {ports: [80]}}]}
---
apiVersion: projectcalico.org/v3
kind: FelixConfiguration
metadata: {name: node.etcd-1}
spec: {vxlanMTU: 1400}
---
apiVersion: projectcalico.org/v3
kind: WorkloadEndpoint
metadata: {name: etcd--1-k8s-a-eth0, namespace: shop}
spec: {orchestrator: k8s, node: etcd-1, pod: a, endpoint: eth0, interfaceName: calia, ipNetworks: [10.0.0.1/32]}
---
apiVersion: v1
kind: Namespace
metadata: {name: shop}
`;

/** Objects of several kinds, and an address that a pod holds. */
async function furnish(cluster: Cluster): Promise<string> {
  const { exit, err } = await cluster.run("apply -f -", { stdin: OBJECTS });
  assert.equal(exit, 0, err);
  const [{ ip }] = await new Ipam(cluster.store).assign({
    num4: 1,
    host: "etcd-1",
    handle: "net.a",
    attributes: { node: "etcd-1", pod: "a", namespace: "shop" },
    use: "Workload",
  });
  return formatIp(ip);
}

async function another<T>(body: (cluster: Cluster) => Promise<T>): Promise<T> {
  const cluster = await Cluster.start();
  try {
    return await body(cluster);
  } finally {
    await cluster.close();
  }
}

async function isLocked(cluster: Cluster): Promise<boolean> {
  const info = await cluster.resources.get(clusterInformationKind, "default");
  return info?.spec.datastoreReady === false;
}

const CALICOCTL = { name: "calicoctl" };

test("migrate lock and unlock: words as calicoctl's, again and again", async (cluster) => {
  for (const options of [{}, CALICOCTL]) {
    for (let time = 0; time < 2; time++) {
      const lock = await cluster.run("datastore migrate lock", options);
      assert.deepEqual(lock, { exit: 0, out: "Datastore locked.\n", err: "" });
      assert(await isLocked(cluster));
    }
    const [{ revision }] =
      (await cluster.store.list(resourceKey(clusterInformationKind, "default")))
        .entries;
    await cluster.run("datastore migrate lock", options);
    const after = await cluster.store.get(resourceKey(clusterInformationKind, "default"));
    assert.equal(after?.revision, revision, "what is locked is not written again");
    const unlock = await cluster.run("datastore migrate unlock", options);
    assert.deepEqual(unlock, { exit: 0, out: "Datastore unlocked.\n", err: "" });
    assert(!await isLocked(cluster));
  }
  // Writes go on under a lock, as with calicoctl.
  await cluster.run("datastore migrate lock");
  assert.equal((await cluster.run("apply -f -", { stdin: OBJECTS })).exit, 0);
});

test("migrate export: needs a lock and every node's Kubernetes name", async (cluster) => {
  await furnish(cluster);
  const open = await cluster.run("datastore migrate export", CALICOCTL);
  assert.equal(open.exit, 1);
  assert.match(open.err, /^datastore is not locked\. Run the `calicoctl datastore migrate lock`/);
  await cluster.run("datastore migrate lock");
  const { exit, out, err } = await cluster.run("datastore migrate export", CALICOCTL);
  assert.deepEqual([exit, err], [0, ""]);
  const [resources, info, ipam, ...more] = out.split("===\n");
  assert.deepEqual(more, []);
  assert.match(resources, /^apiVersion: projectcalico\.org\/v3\nitems:\n/);
  assert.match(resources, /name: k8s-1\.example$/m);
  assert.match(resources, /name: node\.k8s-1\.example$/m);
  for (const absent of [/WorkloadEndpoint/, /kind: Namespace/, /resourceVersion/, /\buid:/]) {
    assert.doesNotMatch(resources, absent);
  }
  // As calicoctl prints them: no side of a rule that says nothing, tiers in their order.
  assert.doesNotMatch(resources, /(source|destination): \{\}/);
  assert.deepEqual(
    [...resources.matchAll(/kind: Tier\n.*\n {4}name: (.*)/g)].map(([, name]) => name),
    ["kube-admin", "default", "kube-baseline"],
  );
  assert.equal(JSON.parse(info).kind, "ClusterInformation");
  const records = parseJson(ipam) as any;
  assert.deepEqual(Object.keys(records), ["block_affinities", "blocks", "handles"]);
  assert.match(
    records.block_affinities[0].Key,
    /^\/calico\/ipam\/v2\/host\/k8s-1\.example\/ipv4\//,
  );
  assert.equal(records.blocks[0].Value.affinity, "host:k8s-1.example");
  assert.equal(records.blocks[0].Value.attributes[0].secondary.node, "k8s-1.example");
  assert.equal(typeof records.blocks[0].Value.sequenceNumber, "bigint");

  await cluster.resources.create(nodeKind, {
    apiVersion: "projectcalico.org/v3",
    kind: "Node",
    metadata: { name: "bare" },
  });
  const bare = await cluster.run("datastore migrate export", CALICOCTL);
  assert.equal(bare.exit, 1);
  assert.match(bare.err, /node bare missing a 'k8s' orchestrator reference/);
  assert.equal((await cluster.run("datastore export")).exit, 0, "for another store names stay");
});

test("export and import: all of one cluster in another, which is locked then", async (cluster) => {
  const address = await furnish(cluster);
  const exported = await cluster.run("datastore export");
  assert.deepEqual([exported.exit, exported.err], [0, ""]);
  await another(async (other) => {
    const file = await other.file("e.yaml", exported.out);
    const { exit, out, err } = await other.run(`datastore import -f ${file}`);
    assert.deepEqual([exit, err], [0, ""]);
    assert.match(out, /^Successfully applied 5 resource\(s\)\nImporting IPAM resources\n/);
    assert.match(out, /Successfully applied 4 IPAM resource\(s\)\n/);
    assert.match(out, /is locked; `tortie datastore migrate unlock`/);
    assert(await isLocked(other));
    for (const what of ["get wep -A -o yaml --export", "get networkpolicy -A -o yaml --export"]) {
      const text = async (of: Cluster) =>
        (await of.run(what)).out.replace(/(resourceVersion|uid|creationTimestamp):.*/g, "");
      assert.equal(await text(other), await text(cluster));
    }
    assert.equal((await other.run("get namespaces -o name")).out, "namespace/shop\n");
    assert.match((await other.run(`ipam show --ip ${address}`)).out, /is in use/);
    const guid = async (of: Cluster) =>
      (await of.resources.get(clusterInformationKind, "default"))?.spec.clusterGUID;
    assert.equal(await guid(other), await guid(cluster));
    const again = await other.run("datastore migrate import -f -", { stdin: exported.out });
    assert.equal(again.exit, 0);
    assert.match(again.out, /^Successfully applied 0 resource.*\n.*\n.* 0 IPAM.*\n\d+ were there/);
    // Somebody's objects are named, and nothing is written.
    await other.resources.create(ippoolKind, {
      apiVersion: "projectcalico.org/v3",
      kind: "IPPool",
      metadata: { name: "mine" },
      spec: { cidr: "10.9.0.0/24" },
    });
    const full = await other.run(`datastore import -f ${file}`);
    assert.equal(full.exit, 1);
    assert.match(full.err, /already has Calico resources.*: IPPool mine\. Nothing was written/);
  });
});

test("export: what cannot be read is not left out in silence", async (cluster) => {
  await furnish(cluster);
  const put = (key: string, value: unknown) => cluster.store.put(`/calico/${key}`, value);
  await put("resources/v3/projectcalico.org/ippools/half", "{");
  await put("ipam/v2/handle/h", 7);
  await put("resources/v3/projectcalico.org/networkpolicies/shop/default.web", {
    metadata: { name: "default.web", namespace: "shop" },
    spec: {},
  });
  const { exit, out, err } = await cluster.run("datastore export");
  assert.deepEqual([exit, out], [1, ""]);
  assert.match(err, /nothing is exported, since 3 entries cannot be read/);
  for (
    const what of [
      /ippools\/half: /,
      /handle\/h: it is 7, and not an object/,
      /shop\/\w.*same name/,
    ]
  ) {
    assert.match(err, what);
  }
  for (const key of ["ippools/half", "networkpolicies/shop/default.web"]) {
    await cluster.store.delete(`/calico/resources/v3/projectcalico.org/${key}`);
  }
  await cluster.store.delete("/calico/ipam/v2/handle/h");
  await put("resources/v3/projectcalico.org/livemigrations/shop/m", { metadata: { name: "m" } });
  const warned = await cluster.run("datastore export");
  assert.equal(warned.exit, 0);
  assert.match(warned.err, /^warning: left out .*livemigrations\/shop\/m: not of a known kind\n$/);
  // Nor does a key that is no object's, by whatever hand it came.
  await put("resources/v3/projectcalico.org/networkpolicies/nons", {
    metadata: { name: "nons" },
    spec: {},
  });
  const foreign = await cluster.run("datastore export");
  assert.equal(foreign.exit, 0, foreign.err);
  assert.match(foreign.err, /^warning: left out .*networkpolicies\/nons: the key is nobody's/m);
  const names = await cluster.run("datastore migrate-policy-names --dry-run");
  assert.match(names.out + names.err, /networkpolicies\/nons: the key is nobody's/);
});

test("import: what is not what its key says is named, and nothing is written", async (cluster) => {
  await furnish(cluster);
  const { out: text } = await cluster.run("datastore export");
  const ipam = text.lastIndexOf("===\n");
  const cidr = /"cidr":"([^"]+)"/.exec(text)![1];
  const block = cidr.replaceAll(".", "\\.").replace("/", "-");
  const cases: [from: string | RegExp, to: string, what: RegExp][] = [
    ['"blocks": [', '"blokcs": [', /unknown member blokcs \(did you mean blocks\?\)/],
    [/"blocks": \[[^]*?\n {2}\]/, '"blocks": null', /: blocks is null, and not a list/],
    ['"cidr":', '"cird":', new RegExp(`blocks\\[0\\] .*block/${block}\\): .* it has no cidr`)],
    [`"cidr":"${cidr}"`, '"cidr":"10.77.0.0/28"', /its cidr is 10\.77\.0\.0\/28/],
    [`"cidr":"${cidr}"`, '"cidr":"junk"', /its cidr is junk/],
    ['"allocations":[0,null,', '"allocations":[0,', /does not have 16 allocations/],
    ['"allocations":[0,null,', '"allocations":["x",null,', /allocations\[0\] is "x"; want null/],
    [
      '"state":"confirmed"',
      '"state":"bogus"',
      /block_affinities\[0\] .*: its state is "bogus"; want/,
    ],
    [
      `"block":{"${cidr}":1}`,
      '"block":{"x":1}',
      /handles\[0\] .*handle\/net\.a\): it counts in "x"/,
    ],
    [
      `"block":{"${cidr}":1}`,
      `"block":{"${cidr}":"1"}`,
      /handle\/net\.a\): it has no readable counts/,
    ],
    [/"handles": \[\n(.*)\n/, '"handles": [\n$1,\n$1\n', /handle\/net\.a\): there are two of it/],
  ];
  await another(async (other) => {
    for (const [from, to, what] of cases) {
      const changed = text.slice(0, ipam) + text.slice(ipam).replace(from, to);
      assert.notEqual(changed, text, `${from}`);
      const { exit, out, err } = await other.run("datastore import -f -", { stdin: changed });
      assert.deepEqual([exit, out], [1, ""], `${from}`);
      assert.match(err, what);
    }
    const lost = text.replace('"name": "default"', '"name": "other"');
    assert.notEqual(lost, text);
    const refused = await other.run("datastore import -f -", { stdin: lost });
    assert.match(refused.err, /the second part is not the ClusterInformation "default"/);
    assert.deepEqual((await other.store.list("/")).entries, []);
    assert.equal((await other.run("datastore import -f -", { stdin: text })).exit, 0);
  });
  // What stands so in a datastore is not exported either.
  const key = `/calico/ipam/v2/assignment/ipv4/block/${cidr.replace("/", "-")}`;
  await cluster.store.put(key, { ...(await cluster.store.get<any>(key))!.value, cidr: "junk" });
  const export_ = await cluster.run("datastore export");
  assert.deepEqual([export_.exit, export_.out], [1, ""]);
  assert.match(export_.err, /1 entries cannot be read.*\n.*its cidr is junk/);
});

test("import: wrong calls and wrong files", async (cluster) => {
  assert.equal((await cluster.run("datastore import")).exit, 2);
  const absent = await cluster.run("datastore import -f /nowhere.yaml");
  assert.equal(absent.exit, 1);
  assert.match(absent.err, /\/nowhere\.yaml cannot be read/);
  const strange = await cluster.run("datastore import -f -", { stdin: OBJECTS });
  assert.match(strange.err, /standard input is no export: want three parts/);
  const away = await cluster.run("datastore import -f - --store /nowhere.sock", {
    stdin: '===\n{"metadata": {"name": "default"}}\n===\n{}\n',
  });
  assert.equal(away.exit, 3);
});

test("a datastore with an unfinished import is not unlocked or exported", async (cluster) => {
  await furnish(cluster);
  const text = (await cluster.run("datastore export")).out;
  await another(async (other) => {
    // As an import leaves it that is cut off before it has written anything but the mark.
    await other.run("datastore migrate lock");
    await other.resources.modify(clusterInformationKind, "default", undefined, (info) => ({
      ...info,
      metadata: { ...info.metadata, annotations: { [IMPORT_ANNOTATION]: "digest" } },
    }));
    const unlock = await other.run("datastore migrate unlock");
    assert.equal(unlock.exit, 1);
    assert.match(unlock.err, /has begun and not ended/);
    assert.match((await other.run("datastore migrate export")).err, /has begun and not ended/);
    assert.equal((await other.run("datastore import -f -", { stdin: text })).exit, 0);
    assert.equal((await other.run("datastore migrate unlock")).exit, 0);
    assert(!await isLocked(other));
  });
});

/** In the form in which calicoctl prints it, with what Go writes for what is empty. */
const CALICOS = `apiVersion: projectcalico.org/v3
items:
- apiVersion: projectcalico.org/v3
  kind: IPPool
  metadata:
    creationTimestamp: null
    name: default-ipv4-ippool
  spec:
    allowedUses:
    - Workload
    - Tunnel
    blockSize: 26
    cidr: 192.168.0.0/16
    ipipMode: Always
    natOutgoing: true
    nodeSelector: all()
    vxlanMode: Never
kind: IPPoolList
metadata:
  resourceVersion: "1234"
---
apiVersion: projectcalico.org/v3
items: []
kind: BGPPeerList
metadata:
  resourceVersion: "1234"
---
apiVersion: projectcalico.org/v3
items:
- apiVersion: projectcalico.org/v3
  kind: FelixConfiguration
  metadata:
    creationTimestamp: null
    name: default
  spec:
    bpfConnectTimeLoadBalancing: TCP
    defaultEndpointToHostAction: RETURN
    logSeverityScreen: Info
kind: FelixConfigurationList
metadata:
  resourceVersion: "1234"
---
===
{
  "kind": "ClusterInformation",
  "apiVersion": "projectcalico.org/v3",
  "metadata": {
    "name": "default",
    "uid": "ff44b3c1-1d32-4a4f-b3d9-c5a4c0a7d0c3",
    "resourceVersion": "1235",
    "creationTimestamp": "2026-11-22T13:00:00Z"
  },
  "spec": {
    "clusterGUID": "00112233445566778899aabbccddeeff",
    "clusterType": "k8s,bgp",
    "calicoVersion": "v3.32.1",
    "datastoreReady": false
  }
}
===
{
  "block_affinities": [
    {
      "Key": "/calico/ipam/v2/host/n1/ipv4/block/192.168.1.0-30",
      "Value": {
        "state": "confirmed",
        "deleted": false
      },
      "TTL": 0
    }
  ],
  "blocks": [
    {
      "Key": "/calico/ipam/v2/assignment/ipv4/block/192.168.1.0-30",
      "Value": {
        "cidr": "192.168.1.0/30",
        "affinity": "host:n1",
        "allocations": [null, 0, null, null],
        "unallocated": [0, 2, 3],
        "attributes": [
          {
            "handle_id": "k8s-pod-network.abc",
            "secondary": {"namespace": "default", "node": "n1", "pod": "a"}
          }
        ],
        "sequenceNumber": 1720000000000000001,
        "sequenceNumberForAllocation": {"1": 1720000000000000000},
        "deleted": false
      },
      "TTL": 0
    }
  ],
  "handles": [
    {
      "Key": "/calico/ipam/v2/handle/k8s-pod-network.abc",
      "Value": {
        "block": {"192.168.1.0/30": 1},
        "deleted": false
      },
      "TTL": 0
    }
  ],
  "config": {
    "Key": "/calico/ipam/v2/config",
    "Value": {
      "strict_affinity": false,
      "auto_allocate_blocks": true
    },
    "TTL": 0
  }
}
`;

/** What calicoctl v3.32.1 stores in etcd, and more than our own files may have. */
const TAKEN = {
  "ipreservations/r1": { reservedCIDRs: ["10.9.0.1", "10.9.0.2/32"] },
  "ipreservations/r2": {},
  "bgppeers/p": { peerIP: "192.0.2.1", asNumber: 1, numAllowedLocalASNumbers: -1 },
  "bgppeers/q": {
    peerIP: "192.0.2.2",
    asNumber: 1,
    password: { secretKeyRef: { name: "s", key: "" } },
  },
  "nodes/n": {
    addresses: [{ address: "x", type: "Elsewhere" }],
    orchRefs: [{ orchestrator: "" }, { nodeName: "n", orchestrator: "k8s" }],
  },
  "felixconfigurations/default": {
    dataplaneWatchdogTimeout: "-5s",
    failsafeInboundHostPorts: [{ protocol: "any", port: 1, net: "all()" }],
    natPortRange: "xx",
  },
  "globalnetworksets/s": { nets: [""] },
  "profiles/pr": {
    ingress: [{
      action: "Allow",
      http: { methods: Array.from({ length: 21 }, (_, i) => `M${i}`) },
      protocol: "TCP",
      source: { selector: "global()" },
      destination: {},
    }],
    egress: [{ action: "Allow", ipVersion: 6, protocol: 1, source: {}, destination: {} }],
  },
  "stagedkubernetesnetworkpolicies/shop/k": {
    stagedAction: "Set",
    podSelector: { matchExpressions: [{ key: "", operator: "Like", values: ["a"] }] },
    ingress: [{
      from: [{ ipBlock: { cidr: "" } }],
      ports: [{ protocol: "GRE", port: 0 }],
    }],
    policyTypes: ["Both"],
  },
};

test("what calicoctl has stored is exported, imported and applied, whatever it is", async (cluster) => {
  const root = "/calico/resources/v3/projectcalico.org/";
  for (const [place, spec] of Object.entries(TAKEN)) {
    const [plural, namespace, name] = place.split(/\/(?:(.*)\/)?/);
    const { kind, apiVersion } = KINDS.find((k) => k.plural === plural && k.home === "calico")!;
    const metadata = { name, ...namespace && { namespace }, uid: "u", creationTimestamp: TIME };
    await cluster.store.put(root + place, { kind, apiVersion, metadata, spec });
  }
  for (const verb of ["apply", "replace"]) {
    for (const kind of ["ipreservation", "bgppeer", "node", "felixconfig", "sknp -A"]) {
      const got = await cluster.run(`get ${kind} -o yaml`);
      const done = await cluster.run(`${verb} -f -`, { stdin: got.out });
      assert.deepEqual([done.exit, done.err], [0, ""], kind);
    }
  }
  // What is wrong only in the file is refused, beside what was wrong before.
  for (const call of [{}, CALICOCTL]) {
    const same = (await cluster.run("get node n -o yaml")).out;
    const worse = same.replace("address: x", "address: z");
    const refused = await cluster.run("apply -f -", { stdin: worse, ...call });
    assert.equal(refused.exit, 1);
    assert.match(refused.err, /spec\.addresses\[0\]\.address: "z" is not allowed: want an address/);
    assert.doesNotMatch(refused.err, /Elsewhere/);
    const taken = await cluster.run("apply -f -", { stdin: same, ...call });
    assert.equal(taken.exit, 0, taken.err);
  }
  for (const form of ["export", "migrate export"]) {
    await cluster.run("datastore migrate lock");
    const exported = await cluster.run(`datastore ${form}`);
    assert.deepEqual([exported.exit, exported.err], [0, ""]);
    await another(async (other) => {
      const done = await other.run("datastore import -f -", { stdin: exported.out });
      assert.equal(done.exit, 0, done.err);
      assert.match(
        done.err,
        /^warning: .*Node "n": spec\.addresses\[0\]\.address: "x" .*carried over/m,
      );
      for (const [place, spec] of Object.entries(TAKEN)) {
        if (form !== "export" && place.startsWith("profiles")) continue;
        const stored = await other.store.get<any>(root + place);
        // Defaults beside it, of FelixConfiguration.
        const { spec: read } = stored!.value;
        assert.deepEqual({ ...read, ...spec }, read, place);
      }
    });
  }
});

test("an import names fields that are not known, of some objects, and counts the others", async (cluster) => {
  const pools = Array.from({ length: 25 }, (_, i) => i);
  await cluster.run("apply -f -", {
    stdin: pools.map((i) =>
      "apiVersion: projectcalico.org/v3\nkind: IPPool\n" +
      `metadata: {name: p${i}}\nspec: {cidr: 10.${i}.0.0/16, natOutgoing: true}\n`
    ).join("---\n"),
  });
  const { out } = await cluster.run("datastore export");
  const slips = (most: number) => {
    let n = 0;
    return out.replaceAll(/natOutgoing:/g, (found) => n++ < most ? "natOutgoin:" : found);
  };
  await another(async (other) => {
    const done = await other.run("datastore import -f -", { stdin: slips(1) });
    assert.equal(done.exit, 0, done.err);
    assert.match(
      done.err,
      /^warning: standard input:\d+: .*IPPool "p0": spec\.natOutgoin: .*\(carried over as it stands\)\n$/,
    );
    const stored = await other.store.get<any>(resourceKey(ippoolKind, "p0"));
    assert.equal(stored!.value.spec.natOutgoin, true);
  });
  await another(async (other) => {
    const done = await other.run("datastore import -f -", { stdin: slips(25) });
    assert.equal(done.exit, 0, done.err);
    const lines = done.err.trimEnd().split("\n");
    assert.equal(lines.length, 21);
    assert.match(lines[20], /^warning: standard input: 5 more with fields that are not known/);
  });
  await another(async (other) => {
    const stdin = out.replace(/kind: IPPool$/m, "kind: Tier");
    const { exit, err } = await other.run("datastore import -f -", { stdin });
    assert.equal(exit, 1);
    assert.match(err, /standard input:\d+: document 1: items\[0\] of the IPPoolList says .*"Tier"/);
    assert.equal((await other.run("get ippools -o name")).out, "");
  });
});

test("a file in calicoctl's form is imported, number by number", async (cluster) => {
  const { exit, err, out } = await cluster.run("datastore migrate import -f -", {
    stdin: CALICOS,
    ...CALICOCTL,
  });
  assert.deepEqual([exit, err], [0, ""]);
  assert.match(out, /Successfully applied 2 resource\(s\)\n/);
  assert.match(out, /Successfully applied 4 IPAM resource\(s\)\n/);
  const info = await cluster.resources.mustGet(clusterInformationKind, "default");
  assert.equal(info.spec.clusterGUID, "00112233445566778899aabbccddeeff");
  assert.equal(info.spec.calicoVersion, "v3.32.1");
  const felix = await cluster.resources.mustGet(felixConfigurationKind, "default");
  assert.equal(felix.spec.defaultEndpointToHostAction, "Return");
  const block = await cluster.store.get<any>(
    "/calico/ipam/v2/assignment/ipv4/block/192.168.1.0-30",
  );
  assert.equal(block?.value.sequenceNumber, 1720000000000000001n);
  assert(await cluster.store.get(handleKey("k8s-pod-network.abc")));
  assert(await cluster.store.get(ipamConfigKey));
  const version = await cluster.run("version", CALICOCTL);
  assert.match(version.out, /^Cluster Version: +v3\.32\.1$/m);
  const own = await cluster.run("version");
  assert.match(own.out, /^Cluster Version: +v3\.32\.1$/m);
});

/** As 3.31 and before stored a policy of the default tier. */
async function oldPolicy(cluster: Cluster, name: string, order = 1): Promise<void> {
  await cluster.store.create(resourceKey(networkPolicyKind, `default.${name}`, "shop"), {
    kind: "NetworkPolicy",
    apiVersion: "projectcalico.org/v3",
    metadata: { name: `default.${name}`, namespace: "shop", uid: "u", labels: { a: "b" } },
    spec: { order, selector: "all()", types: ["Ingress"], someday: true },
  });
}

test("migrate-policy-names: names become what they are called, once", async (cluster) => {
  await cluster.run("apply -f -", { stdin: OBJECTS });
  await oldPolicy(cluster, "a");
  await oldPolicy(cluster, "b");
  const before = (await cluster.run("get networkpolicy -n shop")).out;
  const dry = await cluster.run("datastore migrate-policy-names --dry-run");
  assert.equal(dry.exit, 0);
  assert.match(dry.out, /^NetworkPolicy shop\/default\.a -> a\n.*\n2 policies are to be migrated;/);
  const old = resourceKey(networkPolicyKind, "default.a", "shop");
  assert(await cluster.store.get(old), "a dry run writes nothing");
  const done = await cluster.run("datastore migrate-policy-names", CALICOCTL);
  assert.deepEqual(done, {
    exit: 0,
    out: "Policy name migration complete, migrated 2 policies.\n",
    err: "",
  });
  assert.equal(await cluster.store.get(old), undefined);
  const moved = await cluster.store.get<any>(resourceKey(networkPolicyKind, "a", "shop"));
  assert.equal(moved?.value.metadata.name, "a");
  assert.equal(moved?.value.spec.someday, true, "fields of a newer version stay");
  assert.equal(moved?.value.metadata.uid, "u");
  assert.equal((await cluster.run("get networkpolicy -n shop")).out, before);
  const again = await cluster.run("datastore migrate-policy-names", CALICOCTL);
  assert.match(again.out, /migrated 0 policies/);
});

test("migrate-policy-names: cut off anywhere, no policy is ever away", async (cluster) => {
  for (const verb of ["create", "delete"] as const) {
    const name = `cut-${verb}`;
    await oldPolicy(cluster, name);
    const store = cluster.store as Store & { write(write: { op: string }): Promise<unknown> };
    const write = store.write.bind(store);
    store.write = (one) =>
      one.op === verb ? Promise.reject(new StoreError("denied", "not now")) : write(one);
    const cut = await cluster.run("datastore migrate-policy-names");
    assert.equal(cut.exit, 1, cut.err);
    assert(await cluster.resources.get(networkPolicyKind, name, "shop"));
    store.write = write;
    const { exit, out } = await cluster.run("datastore migrate-policy-names");
    assert.deepEqual([exit, out.includes(`default.${name} -> ${name}`)], [0, true]);
    assert.equal(
      (await store.list("/calico/resources/v3/projectcalico.org/networkpolicies/shop/"))
        .entries.filter(({ key }) => key.endsWith(name)).length,
      1,
    );
  }
});

test("migrate-policy-names: of two that differ both stay, and are told", async (cluster) => {
  await cluster.resources.create(networkPolicyKind, {
    apiVersion: "projectcalico.org/v3",
    kind: "NetworkPolicy",
    metadata: { name: "a", namespace: "shop" },
    spec: { order: 7 },
  });
  await oldPolicy(cluster, "a");
  await oldPolicy(cluster, "b");
  const { exit, err, out } = await cluster.run("datastore migrate-policy-names");
  assert.equal(exit, 1);
  assert.match(err, /^error: NetworkPolicy shop\/default\.a -> a: there is another NetworkPolicy/);
  assert.match(out, /migrated 1 policies/);
  assert(await cluster.store.get(resourceKey(networkPolicyKind, "default.a", "shop")));
});
