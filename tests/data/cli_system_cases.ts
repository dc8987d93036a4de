/**
 * calicoctl's system tests by their names, written out: what each does and what must come of it. Where a
 * name holds a kind or a verb there is one for every kind and verb.
 */
import assert from "node:assert/strict";
import {
  type Bench,
  type Body,
  CONFLICT,
  contains,
  NOT_FOUND,
  NOT_NAMESPACED,
  v3,
} from "./cli_system_bench.ts";

/** Objects of kinds whose tests name the kind alone. */
const SAMPLES: Record<string, [kind: string, spec: unknown, name?: string]> = {
  profile: ["Profile", { labelsToApply: { a: "b" } }],
  globalnetworkset: ["GlobalNetworkSet", { nets: ["10.0.0.0/8"] }],
  globalnetworkpolicy: ["GlobalNetworkPolicy", { selector: "all()" }],
  bgppeer: ["BGPPeer", { peerIP: "192.0.2.1", asNumber: 64513 }],
  tier: ["Tier", { order: 10 }],
  ippool: ["IPPool", { cidr: "10.20.0.0/16" }],
  hostendpoint: ["HostEndpoint", { node: "n1", interfaceName: "eth0" }],
  node: ["Node", {}],
  networkpolicy: ["NetworkPolicy", { selector: "all()", order: 10 }],
  stagednetworkpolicy: ["StagedNetworkPolicy", { selector: "all()" }],
  networkset: ["NetworkSet", { nets: ["10.0.0.0/8"] }],
  bgpfilter: ["BGPFilter", { exportV4: [{ action: "Reject" }] }],
  ipreservation: ["IPReservation", { reservedCIDRs: ["10.0.0.0/28"] }],
  felixconfig: ["FelixConfiguration", { logSeverityScreen: "Debug" }],
  bgpconfig: ["BGPConfiguration", { logSeverityScreen: "Debug" }],
  stagedglobalnetworkpolicy: ["StagedGlobalNetworkPolicy", { selector: "all()" }],
  stagedkubernetesnetworkpolicy: ["StagedKubernetesNetworkPolicy", { podSelector: {} }],
};
const NAMESPACED = [
  ...["networkpolicy", "stagednetworkpolicy", "networkset", "stagedkubernetesnetworkpolicy"],
];

const nonNamespaced = (name: string): Body => async (b) => {
  const [kind, spec] = SAMPLES[name];
  const object = v3(kind, "name1", spec);
  await b.fails("create -n namespace1", NOT_NAMESPACED, object);
  await b.fails("create", "not namespaced", v3(kind, "name1", spec, "namespace1"));
  await b.ok("create", object);
  await b.holds(`get ${name} name1`, object);
  await b.fails(`get ${name} name1 -n namespace1`, NOT_NAMESPACED);
  await b.fails(`get ${name} --all-namespaces`, NOT_NAMESPACED);
  await b.fails(`delete ${name} name1 -n namespace1`, NOT_NAMESPACED);
  await b.ok(`delete ${name} name1`);
};

const namespaced = (kind: string, one: any, two: any, prepare?: Body): Body => async (b) => {
  await prepare?.(b);
  await b.ok("create", one);
  await b.ok("create", two);
  const lower = kind.toLowerCase();
  await b.holds(`get ${lower} ${one.metadata.name} --namespace default`, one);
  const names = async (line: string) => {
    const list = await b.yaml(line);
    assert.equal(list.kind, `${kind}List`);
    return list.items.map((item: any) => `${item.metadata.namespace}/${item.metadata.name}`).sort();
  };
  const [id1, id2] = [`default/${one.metadata.name}`, `namespace2/${two.metadata.name}`];
  assert.deepEqual(await names(`get ${kind} --all-namespaces`), [id1, id2]);
  assert.deepEqual(await names(`get ${kind} -a`), [id1, id2]);
  assert.deepEqual(await names(`get ${kind}`), [id1]);
  assert.deepEqual(await names(`get ${kind} -n namespace2`), [id2]);
  const bare = (object: any) => ({ ...object, metadata: { name: object.metadata.name } });
  contains(await b.yaml("get", one), one);
  contains(await b.yaml("get", two), two);
  contains(await b.yaml("get", bare(one)), one);
  await b.fails("get -o yaml -n namespace2", NOT_FOUND, bare(one));
  contains(await b.yaml("get -n namespace2", bare(two)), two);
  await b.fails("get -o yaml", NOT_FOUND, bare(two));
  await b.ok(`delete ${kind} ${one.metadata.name}`);
  await b.fails(`delete ${kind} ${two.metadata.name}`, NOT_FOUND);
  await b.ok("delete", two);
};

const inBoth = (name: string, prefix = "", prepare?: Body): Body => {
  const [kind, spec] = SAMPLES[name];
  const tier = prefix && { tier: prefix.replace(".", "") };
  const full = { ...spec as object, ...tier };
  return namespaced(
    kind,
    v3(kind, `${prefix}one`, full, "default"),
    v3(kind, `${prefix}two`, full, "namespace2"),
    prepare,
  );
};

const withTier: Body = async (b) => void await b.ok("create", v3("Tier", "admin", { order: 5 }));

/** Create, replace by what the store printed, and again by what is no longer the latest. */
const replaceByVersion = (one: any, two: any, verb: string): Body => async (b) => {
  const name = `${one.kind.toLowerCase()} ${one.metadata.name}`;
  if (verb === "apply") await b.fails(`get ${name} -o yaml`, NOT_FOUND);
  await b.ok(verb === "apply" ? "apply" : "create", one);
  const first = await b.yaml(`get ${name}`);
  await b.ok(verb, two);
  const second = await b.yaml(`get ${name}`);
  assert.notEqual(first.metadata.resourceVersion, second.metadata.resourceVersion);
  await b.fails(verb, CONFLICT, first);
  delete first.metadata.resourceVersion;
  await b.ok(verb, first);
  await b.ok(`delete ${name}`);
  if (verb === "replace") await b.fails(verb, NOT_FOUND, two);
};

const oldVersion = (verb: string): Body => async (b) => {
  await b.ok("create", v3("IPPool", "pool1", { cidr: "10.0.1.0/24" }));
  const first = await b.yaml("get ippool pool1");
  await b.ok(verb, { ...first, spec: { ...first.spec, natOutgoing: true } });
  const second = await b.yaml("get ippool pool1");
  assert.notEqual(first.metadata.resourceVersion, second.metadata.resourceVersion);
  await b.fails(verb, CONFLICT, first);
  await b.ok("delete ippool pool1");
};

/** What belongs to the store stays as the store made it, whatever a file says. */
const metadataUnchanged = (first: string, then: string): Body => async (b) => {
  const data = b.data("networkpolicy_name2_rev1");
  const name = `networkpolicy ${data.metadata.name}`;
  await b.ok(first, data);
  const made = (await b.yaml(`get ${name}`)).metadata;
  assert.notEqual(made.uid, data.metadata.uid);
  assert.notEqual(made.creationTimestamp, data.metadata.creationTimestamp);
  const lost = ["generateName", "ownerReferences", "finalizers", "selfLink", "generation"];
  for (const field of lost) assert.equal(made[field], undefined, field);
  await b.ok(then, {
    ...data,
    metadata: { ...data.metadata, uid: "other", labels: { label3: "l3" } },
  });
  const changed = (await b.yaml(`get ${name}`)).metadata;
  assert.equal(changed.uid, made.uid);
  assert.equal(changed.creationTimestamp, made.creationTimestamp);
  assert.equal(changed.labels.label3, "l3");
  assert.equal(changed.labels.label1, undefined);
};

/** What was printed and changed since is not deleted. */
const deleteByVersion: Body = async (b) => {
  await b.ok("create", v3("IPPool", "pool1", { cidr: "10.0.1.0/24" }));
  const first = await b.yaml("get ippool pool1");
  await b.ok("apply", v3("IPPool", "pool1", { cidr: "10.0.1.0/24", natOutgoing: true }));
  await b.fails("delete", CONFLICT, first);
  await b.ok("delete", await b.yaml("get ippool pool1"));
  await b.fails("get ippool pool1", NOT_FOUND);
};

const staging = async (b: Bench, kinds: [one: any, two: any][], format: string) => {
  for (const [one, two] of kinds) {
    const verb = async (word: string, data: any) => {
      const stdin = JSON.stringify(data);
      const { exit, err } = await b.cluster.run([word, "-f", "-"], { name: "calicoctl", stdin });
      assert.deepEqual([exit, err], [0, ""], word);
    };
    const get = `get ${one.kind.toLowerCase()} ${one.metadata.name}`;
    await verb("create", one);
    contains(JSON.parse(await b.ok(`${get} -o json`)), one);
    await verb("apply", two);
    contains(await b.yaml(get), two);
    await verb("replace", one);
    contains(JSON.parse(await b.ok(`${get} -o ${format}`)), one);
    await verb("delete", one);
  }
};

const truncated = (kind: string, many: boolean): Body => async (b) => {
  const nets = Array.from({ length: many ? 20 : 2 }, (_, i) => `10.0.${i}.0/24`);
  const name = kind.toLowerCase();
  const spec = kind === "IPReservation" ? { reservedCIDRs: nets } : { nets };
  await b.ok("create", v3(kind, "set1", spec));
  const out = await b.ok(`get ${name} -o wide`);
  const cell = nets.join(",");
  const want = many ? `${cell.slice(0, 77)}...` : cell;
  assert.ok(out.includes(`   ${want}   `) || out.includes(`${want}\n`), out);
};

/** A pool in four, by its CIDR or its name, which only a locked datastore allows. */
const split = (by: (cidr: string, name: string) => string): Body => async (b) => {
  const data = v3("IPPool", "ippool-name1", { cidr: "10.0.1.0/24", blockSize: 27 });
  await b.ok("create", data);
  await b.ok("create", b.data("node_name1_rev1"));
  const mine = by("10.0.1.0/24", "ippool-name1");
  await b.fails(`ipam split ${mine} 4`, /lock/i);
  await b.ok("datastore migrate lock");
  await b.fails(`ipam split ${by("10.0.2.0/24", "ippool-name2")} 4`, /./);
  await b.fails(`ipam split ${mine} 3`, /./);
  await b.fails(`ipam split ${mine} 512`, /./);
  assert.equal((await b.run(`ipam split ${mine} 4`)).exit, 0);
  await b.fails("get ippool ippool-name1", NOT_FOUND);
  for (let i = 0; i < 4; i++) {
    const pool = await b.yaml(`get ippool split-ippool-name1-${i}`);
    assert.equal(pool.spec.cidr, `10.0.1.${64 * i}/26`);
    assert.equal(pool.spec.blockSize, 27);
  }
  await b.ok("datastore migrate unlock");
  for (let i = 0; i < 4; i++) await b.ok(`delete ippool split-ippool-name1-${i}`);
  await b.ok("delete node node1");
};

/** Objects that are refused, alone, by create, and are not there then. */
const refused = (object: any, message: RegExp): Body => async (b) => {
  await b.fails("create", message, object);
  const list = await b.yaml(`get ${object.kind === "Nothing" ? "ippool" : object.kind}`);
  assert.deepEqual(list.items, []);
};

const policyWithPorts = (...ports: unknown[]) =>
  v3("NetworkPolicy", "p", {
    ingress: [{ action: "Allow", protocol: "TCP", destination: { ports } }],
  });

const peer = (spec: unknown) => v3("BGPPeer", "p", { peerIP: "192.0.2.1", ...spec as object });

export const TESTS: Record<string, Body> = {
  test_replace_with_resource_version: async (b) => {
    const one = b.data("networkpolicy_name1_rev1");
    await replaceByVersion(one, b.data("networkpolicy_name1_rev2"), "replace")(b);
    const staged = b.data("stagednetworkpolicy_name1_rev1");
    await replaceByVersion(staged, b.data("stagednetworkpolicy_name1_rev2"), "replace")(b);
    const kubernetes = b.data("stagedk8snetworkpolicy_name1_rev2");
    const other = { ...kubernetes, spec: { stagedAction: "Set", podSelector: {} } };
    await replaceByVersion(other, kubernetes, "replace")(b);
  },
  test_apply_with_resource_version: async (b) => {
    const two = b.data("hostendpoint_name1_rev3");
    const one = v3("HostEndpoint", two.metadata.name, { node: "host1", interfaceName: "eth0" });
    await replaceByVersion(one, two, "apply")(b);
  },
  test_stdin: async (b) => {
    const global = b.data("globalnetworkpolicy_name1_rev2");
    const first = v3("GlobalNetworkPolicy", global.metadata.name, { order: 3 });
    const staged = {
      ...b.data("stagedglobalnetworkpolicy_tiered_name2_rev1"),
      metadata: { name: "default.mystaged" },
    };
    staged.spec.tier = "default";
    const second = { ...staged, spec: { ...staged.spec, order: 7 } };
    await staging(b, [[first, global], [staged, second]], "json");
  },
  test_ip_reservation_no_truncation: async (b) => {
    await truncated("IPReservation", false)(b);
    const data = v3("IPReservation", "r2", { reservedCIDRs: ["10.0.1.0/24", "11.0.0.1/32"] });
    await b.ok("create", data);
    assert.match(await b.ok("get ipreservation -o wide"), /10\.0\.1\.0\/24,11\.0\.0\.1\/32/);
  },
  test_ip_reservation_truncation: truncated("IPReservation", true),
  test_nets_truncation_globalnetworkset: truncated("GlobalNetworkSet", true),
  test_nets_truncation_networkset: truncated("NetworkSet", true),
  test_nets_no_truncation_globalnetworkset: truncated("GlobalNetworkSet", false),
  test_nets_no_truncation_networkset: truncated("NetworkSet", false),
  test_namespaced_tiered_networkpolicy: inBoth("networkpolicy", "admin.", withTier),
  test_namespaced_tiered_stagednetworkpolicy: inBoth("stagednetworkpolicy", "admin.", withTier),
  _test_namespaced: inBoth("networkset"),
  test_bgpconfig: async (b) => {
    const one = b.data("bgpconfig_name1_rev1");
    await b.ok("create", one);
    const first = await b.yaml("get bgpconfig default");
    await b.ok("replace", b.data("bgpconfig_name1_rev2"));
    const second = await b.yaml("get bgpconfig default");
    assert.notEqual(first.metadata.resourceVersion, second.metadata.resourceVersion);
    const named = v3("BGPConfiguration", "bgpconfiguration1", { logSeverityScreen: "Info" });
    await b.ok("create", named);
    await b.ok("apply", { ...named, spec: { logSeverityScreen: "Debug" } });
    await b.fails("apply", /asNumber.*"default" alone/, { ...named, spec: { asNumber: 64514 } });
    await b.ok("delete bgpconfig bgpconfiguration1");
  },
  test_metadata_unchanged_create_replace: metadataUnchanged("create", "replace"),
  test_metadata_unchanged_create_apply: metadataUnchanged("create", "apply"),
  test_metadata_unchanged_apply_replace: metadataUnchanged("apply", "replace"),
  test_metadata_unchanged_apply_apply: metadataUnchanged("apply", "apply"),
  test_delete_with_resource_version: deleteByVersion,
  test_export_flag: async (b) => {
    for (const kind of ["networkpolicy", "stagednetworkpolicy"]) {
      const data = {
        ...b.data("networkpolicy_name2_rev1"),
        kind: SAMPLES[kind][0],
      };
      const name = `${kind} ${data.metadata.name}`;
      await b.ok("create", data);
      const whole = await b.yaml(`get ${name}`);
      for (const field of ["uid", "creationTimestamp", "resourceVersion", "namespace"]) {
        assert.ok(field in whole.metadata, field);
      }
      const exported = await b.yaml(`get ${name} --export`);
      for (const field of ["uid", "namespace", "resourceVersion"]) {
        assert.ok(!(field in exported.metadata), field);
      }
      assert.equal(exported.metadata.name, whole.metadata.name);
      const list = await b.yaml(`get ${kind} --export`);
      assert.equal(list.items.length, 1);
      for (const field of ["uid", "creationTimestamp", "resourceVersion", "namespace"]) {
        assert.ok(list.items[0].metadata[field], field);
      }
      await b.ok("apply", { ...exported, spec: { ...exported.spec, order: 100 } });
      assert.equal((await b.yaml(`get ${name}`)).spec.order, 100);
      await b.ok(`delete ${name}`);
    }
  },
  test_disallow_update_old_resource_version_replace: oldVersion("replace"),
  test_disallow_update_old_resource_version_apply: oldVersion("apply"),
  _test_disallow_update_old_resource_version: async (b) => {
    await oldVersion("replace")(b);
    await oldVersion("apply")(b);
  },
  test_bgppeer_node_selector: async (b) => {
    await b.ok(
      "create",
      v3("BGPPeer", "bp1", { nodeSelector: "has(rr)", peerSelector: "has(rr)" }),
    );
    assert.match(await b.ok("get bgpp"), /bp1[^]*has\(rr\)/);
  },
  test_bgppeer_password: async (b) => {
    const password = { secretKeyRef: { name: "bgp-passwords", key: "bp1p" } };
    await b.ok("create", v3("BGPPeer", "bp1", { password, peerSelector: "has(rr)" }));
    assert.match(await b.ok("get bgpp"), /bp1[^]*\(global\)/);
  },
  test_bgp_reachable_by: async (b) => {
    const spec = { node: "somenode", peerIP: "10.20.20.20", reachableBy: "10.10.10.10" };
    await b.ok("create", v3("BGPPeer", "route-reflector", spec));
    const out = await b.ok("get bgpp");
    assert.ok(out.includes("route-reflector") && !out.includes("global"));
  },
  test_label_command: async (b) => {
    const endpoint = b.data("workloadendpoint_name1_rev1");
    await b.ok("create", endpoint);
    const wep = "workloadendpoint node1-k8s-abcd-eth0";
    const labels = async () => (await b.yaml(`get ${wep} --namespace=namespace1`)).metadata.labels;
    const before = await labels();
    assert.equal(
      await b.ok(`label ${wep} app=web --namespace=namespace1`),
      `Successfully set label app on ${wep}\n`,
    );
    assert.equal((await labels()).app, "web");
    await b.fails(`label ${wep} app=order --namespace=namespace1`, "key app is already present");
    await b.ok(`label ${wep} app=order --namespace=namespace1 --overwrite`);
    assert.equal((await labels()).app, "order");
    await b.ok(`label ${wep} app --namespace=namespace1 --remove`);
    assert.deepEqual(await labels(), before);
    const node = b.data("node_name1_rev1");
    await b.ok("create", node);
    await b.ok("label nodes node1 cluster=frontend");
    assert.equal((await b.yaml("get nodes node1")).metadata.labels.cluster, "frontend");
    await b.ok("apply", node);
    await b.fails("label nodes node1 cluster --remove", "cannot remove label");
  },
  test_validate_malformed_yaml: async (b) => {
    const path = await b.cluster.file("malformed.yaml", "apiVersion: v3\nkind: [\n  - {");
    await b.fails(`validate -f ${path}`, "failed to execute command");
  },
  test_validate_multiple_valid_resources: async (b) => {
    const resources = [b.data("bgppeer_name1_rev1_v4"), b.data("ippool_name1_rev2_v4")];
    assert.match(await b.ok("validate", resources), /Successfully validated 2 resource\(s\)/);
  },
  test_validate_ignores_datastore_args: async (b) => {
    const out = await b.ok(
      "validate --config=config.yaml --context=test",
      b.data("bgppeer_name1_rev1_v4"),
    );
    assert.equal(out, "Successfully validated 1 'BGPPeer' resource(s)\n");
  },
  test_validate_different_resource_types: async (b) => {
    for (const name of ["networkpolicy_name1_rev1", "ippool_name1_rev2_v4"]) {
      const data = b.data(name);
      assert.equal(
        await b.ok("validate", data),
        `Successfully validated 1 '${data.kind}' resource(s)\n`,
      );
    }
  },
  test_bad_flags: async (b) => {
    await b.fails("-m", "unknown shorthand flag: 'm' in -m");
    await b.fails("--unknown-flag", "unknown flag: --unknown-flag");
  },
  test_invalid_bgppeer_asnum: refused(peer({ asNumber: 4294967296 }), /spec\.asNumber/),
  test_invalid_bgppeer_apiversion: refused(
    { ...peer({}), apiVersion: "projectcalico.org/v7" },
    /want projectcalico\.org\/v3/,
  ),
  test_invalid_bgppeer_ipv6: refused(peer({ peerIP: "fd5f::6::ee" }), /spec\.peerIP/),
  test_invalid_hostendpoint_interface: refused(
    v3("HostEndpoint", "h", { node: "n", interfaceName: "wibblywobblyeth0" }),
    /spec\.interfaceName/,
  ),
  test_invalid_policy_high_port_in_list: refused(policyWithPorts(1, 65536), /ports\[1\]/),
  test_invalid_policy_low_port_in_list: refused(policyWithPorts(0, 1), /ports\[0\]/),
  test_invalid_policy_reversed_range: refused(policyWithPorts("10:1"), /ports\[0\]/),
  test_invalid_policy_networkpolicy_name_rejected: refused(
    v3("NetworkPolicy", "Bad_Name", {}),
    /metadata\.name/,
  ),
  test_ipam_split_by_cidr: split((cidr) => `--cidr=${cidr}`),
  test_ipam_split_by_name: split((_, name) => `--name=${name}`),
  test_invalid_compound_config: async (b) => {
    const list = [peer({ peerIP: "bad" }), v3("HostEndpoint", "h", { interfaceName: "eth0" })];
    await b.fails("create", /failed to create any resources: .*spec\.peerIP.*spec\.node/, list);
  },
};
for (const kind of Object.keys(SAMPLES)) {
  if (NAMESPACED.includes(kind)) TESTS[`test_namespaced_${kind}`] = inBoth(kind);
  else TESTS[`test_non_namespaced_${kind}`] = nonNamespaced(kind);
}
