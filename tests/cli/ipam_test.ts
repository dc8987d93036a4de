/** The ipam commands: what they say, what they change, and how they end. */
import assert from "node:assert/strict";
import { Ipam } from "../../mod/ipam/ipam.ts";
import { answerKey } from "../../mod/ipam/questions.ts";
import { writtenByCalico332 } from "../../mod/ipam/testing/cool_down.ts";
import type { Report } from "../../mod/ipam/check/report.ts";
import { clusterInformationKind } from "../../mod/model/cluster_information.ts";
import type { AllocationBlock } from "../../mod/model/ipam_block.ts";
import { blockPrefix, handleKey, ipamConfigKey, resourceKey } from "../../mod/model/keys.ts";
import { ippoolKind } from "../../mod/model/ippool.ts";
import { nodeKind } from "../../mod/model/node.ts";
import { workloadEndpointKind } from "../../mod/model/workload_endpoint.ts";
import { formatIp } from "../../mod/net/mod.ts";
import { AddressQuestions } from "../../mod/node/address_questions.ts";
import { parseJson } from "../../mod/store/json.ts";
import { type Cluster, test } from "./harness.ts";

/** The part of node n1's service that says which addresses containers have: those in `held`. */
function serveNode({ store, endings }: Cluster, held: string[]): AddressQuestions {
  const service = new AddressQuestions({
    store,
    nodeName: "n1",
    held: (asked) =>
      Promise.resolve({ held: asked.map(({ ip }) => ip).filter((ip) => held.includes(ip)) }),
    log: { debug() {}, info() {}, warn() {}, error() {} },
  });
  service.start();
  endings.push(() => service.stop());
  return service;
}

/** A node, a pool of four blocks, and two pods with their endpoints. */
async function furnish(cluster: Cluster) {
  const { resources, store } = cluster;
  const ipam = new Ipam(store);
  const held: string[] = [];
  const node = serveNode(cluster, held);
  await resources.create(nodeKind, {
    kind: "Node",
    apiVersion: "projectcalico.org/v3",
    metadata: { name: "n1" },
  });
  await resources.create(ippoolKind, {
    kind: "IPPool",
    apiVersion: "projectcalico.org/v3",
    metadata: { name: "p", labels: { team: "net" } },
    spec: { cidr: "10.0.0.0/28", blockSize: 30, natOutgoing: true },
  });
  const pod = async (name: string) => {
    const [{ ip }] = await ipam.assign({
      num4: 1,
      host: "n1",
      handle: `net.${name}`,
      attributes: { namespace: "default", node: "n1", pod: name },
      use: "Workload",
    });
    await resources.create(workloadEndpointKind, {
      kind: "WorkloadEndpoint",
      apiVersion: "projectcalico.org/v3",
      metadata: { name: `n1-k8s-${name}-eth0`, namespace: "default" },
      spec: {
        orchestrator: "k8s",
        node: "n1",
        pod: name,
        endpoint: "eth0",
        interfaceName: `cali${name}`,
        ipNetworks: [`${formatIp(ip)}/32`],
      },
    });
    return formatIp(ip);
  };
  return { ipam, node, held, addresses: [await pod("a"), await pod("b")] };
}

async function lock(cluster: Cluster, locked: boolean): Promise<void> {
  await cluster.resources.modify(clusterInformationKind, "default", undefined, (info) => ({
    ...info,
    spec: { ...info.spec, datastoreReady: !locked },
  }));
}

async function readReport(path: string): Promise<Report> {
  return parseJson(await Deno.readTextFile(path)) as unknown as Report;
}

/** The pod's endpoint vanishes, its address stays. */
async function leak(cluster: Cluster, pod: string): Promise<void> {
  await cluster.resources.delete(workloadEndpointKind, `n1-k8s-${pod}-eth0`, "default");
}

test("ipam check: nothing is wrong", async (cluster) => {
  const { addresses } = await furnish(cluster);
  const { exit, out, err } = await cluster.run("ipam check --show-all-ips");
  assert.deepEqual([exit, err], [0, ""]);
  assert.match(out, /^Checking IPAM for inconsistencies\.\.\.\n\nLoading all IPAM blocks\.\.\.\n/);
  assert.match(out, /^Found 1 IPAM blocks\.$/m);
  assert.match(out, /^ IPAM block 10\.0\.0\.\d+\/30 affinity=host:n1:$/m);
  assert.match(
    out,
    /^ {2}[\d.]+ allocated; attrs Main:net\.a Extra:namespace=default,node=n1,pod=a$/m,
  );
  assert(out.includes(`  ${addresses[0]} belongs to Workload(default/n1-k8s-a-eth0)\n`));
  assert.match(out, /^Found 0 handles with no matching IPs \(and 2 handles with matches\)\.$/m);
  assert.match(out, /\nCheck complete; found 0 problems\.\n$/);
});

test("ipam check: faults are found, explained and reported; exit 1", async (cluster) => {
  const { addresses } = await furnish(cluster);
  await leak(cluster, "a");
  await cluster.store.put(handleKey("net.gone"), { block: { "10.0.0.0/30": 1 }, deleted: false });
  const path = `${cluster.folder}/report.json`;
  const { exit, out } = await cluster.run(`ipam check --show-problem-ips -o ${path}`);
  assert.equal(exit, 1);
  assert.match(out, /leaked; attrs Main:net\.a Extra:/);
  assert.match(out, /^Found 1 IPs that are allocated in IPAM but not actually in use\.$/m);
  assert.match(out, /^Found 1 handles with no matching IPs \(and 2 handles with matches\)\.$/m);
  assert.match(out, /\nCheck complete; found 2 problems\.\n$/);
  const report = await readReport(path);
  const [allocation] = report.allocations[addresses[0]];
  assert.equal(allocation.inUse, false);
  assert.equal(allocation.pod, "a");
  assert.equal(typeof allocation.sequenceNumber, "bigint");
  assert.equal(report.allocations[addresses[1]][0].inUse, true);
  assert.deepEqual(report.leakedHandles?.map((h) => h.ID), ["net.gone"]);
  assert.deepEqual(report.findings?.map((f) => f.kind).sort(), ["handleLeaked", "leak"]);
  // A block that no node may use is a fault beyond calicoctl's.
  const pool = resourceKey(ippoolKind, "p");
  await cluster.store.delete(pool);
  const again = await cluster.run("ipam check");
  assert.match(again.out, / lies in no pool: its addresses are given to nobody new/);
  // calicoctl's exit code says that the check was made.
  assert.equal(again.exit, 1);
  const calicoctl = await cluster.run("ipam check", { name: "calicoctl" });
  assert.deepEqual([calicoctl.exit, calicoctl.out], [0, again.out]);
});

test("ipam check: a report that cannot be written, a datastore that is not there", async (cluster) => {
  await furnish(cluster);
  const nowhere = await cluster.run(`ipam check -o ${cluster.folder}/no/such/r.json`);
  assert.equal(nowhere.exit, 1);
  assert.match(nowhere.err, /the report cannot be written to/);
  const away = await cluster.run("ipam check --store /nowhere.sock");
  assert.equal(away.exit, 3);
});

test("ipam release --ip: what calicoctl says; a used address only with --force", async (cluster) => {
  const { addresses: [a] } = await furnish(cluster);
  const kept = await cluster.run(`ipam release --ip ${a}`);
  assert.equal(kept.exit, 1);
  assert.match(kept.err, /is in use by Workload\(default\/n1-k8s-a-eth0\); delete that first/);
  await leak(cluster, "a");
  const { exit, out } = await cluster.run(`ipam release --ip=${a}`);
  assert.deepEqual([exit, out], [0, `Successfully released IP address ${a}\n`]);
  const again = await cluster.run(`ipam release --ip=${a}`);
  assert.deepEqual([again.exit, again.err], [1, `error: IP address ${a} is not assigned\n`]);
  assert.equal((await cluster.run("ipam release --ip=pod-a")).exit, 2);
  assert.equal((await cluster.run("ipam release")).exit, 2);
});

test("ipam release --ip: --force, and calicoctl's own name", async (cluster) => {
  const { addresses: [a, b] } = await furnish(cluster);
  assert.equal((await cluster.run(`ipam release --ip ${a} --force`)).exit, 0);
  const { exit, err } = await cluster.run(`ipam release --ip ${b}`, { name: "calicoctl" });
  assert.equal(exit, 0);
  assert.match(err, /^warning: IP address .* is in use by/);
});

test("README's own commands find a leak and release it, in their order", async (cluster) => {
  const { ipam, addresses: [a, b] } = await furnish(cluster);
  await leak(cluster, "a");
  const readme = await Deno.readTextFile(new URL("../../README.md", import.meta.url));
  const row = readme.split("\n").find((line) => line.includes("leaks released from a report"))!;
  const commands = [...row.matchAll(/`tortie ([^`]+)`/g)].map(([, command]) => command);
  assert.ok(commands.includes("ipam release --from-report report.json"));
  for (const command of commands) {
    const words = command.replace("report.json", `${cluster.folder}/report.json`)
      .replace("POOL", "p").replace("ipam configure", "ipam configure --strictaffinity=false");
    const { exit, err } = await cluster.run(words);
    // A check that finds something says so by its exit code too.
    assert.deepEqual([command, exit, err], [command, command.startsWith("ipam check") ? 1 : 0, ""]);
  }
  assert.equal(await ipam.assignment(a), undefined);
  assert.notEqual(await ipam.assignment(b), undefined);
});

test("ipam release --from-report: only leaks, under calicoctl's conditions", async (cluster) => {
  const { ipam, addresses: [a, b] } = await furnish(cluster);
  await leak(cluster, "a");
  await cluster.store.put(handleKey("net.gone"), { block: { "10.0.0.0/30": 1 }, deleted: false });
  const path = `${cluster.folder}/report.json`;
  await cluster.run(`ipam check -o ${path}`);
  const release = (more = "") => cluster.run(`ipam release --from-report ${path}${more}`);
  const unlocked = await release();
  assert.equal(unlocked.exit, 1);
  assert.match(
    unlocked.err,
    /data store is not locked\. Either lock the data store, or re-run with --force\. `tortie datastore migrate lock` locks it; .* `tortie datastore migrate unlock`/,
  );
  await lock(cluster, true);
  const stale = await release();
  assert.equal(stale.exit, 1);
  assert.match(stale.err, /the provided reports are all stale/);
  await cluster.run(`ipam check -o ${path}`);
  const { exit, out, err } = await release();
  assert.deepEqual([exit, err], [0, ""]);
  assert.equal(
    out,
    [
      "Releasing 1 old IPs...",
      "Released 1 IPs successfully",
      "Deleting 1 handles...",
      "Key: '.' = Deleted OK; 'x' = skip, handle missing/changed.",
      ".",
      "Released 1 handles; 0 skipped; 0 errors.",
      "You may now unlock the data store.",
      "",
    ].join("\n"),
  );
  assert.equal(await ipam.assignment(a), undefined);
  assert.notEqual(await ipam.assignment(b), undefined);
  // Once more: all is done already.
  const again = await release();
  assert.match(again.out, /1 addresses marked as leaked in the report had already been cleaned up/);
  assert.match(again.out, /^x\nReleased 0 handles; 1 skipped/m);
  assert.equal((await cluster.run("ipam check")).exit, 0);
});

test("ipam release --from-report: never what is used again, nor what was given anew", async (cluster) => {
  const { ipam, addresses: [a, b] } = await furnish(cluster);
  const endpoint = resourceKey(workloadEndpointKind, "n1-k8s-a-eth0", "default");
  const { value } = (await cluster.store.get(endpoint))!;
  await leak(cluster, "a");
  await leak(cluster, "b");
  const path = `${cluster.folder}/report.json`;
  await lock(cluster, true);
  await cluster.run(`ipam check -o ${path}`);
  await cluster.store.put(endpoint, value);
  await ipam.releaseByHandle("net.b");
  await ipam.assignIp({ address: b, host: "n1", handle: "net.b" });
  const { exit, out } = await cluster.run(`ipam release --from-report ${path}`);
  assert.equal(exit, 0);
  assert.match(out, /^Released 0 IPs successfully$/m);
  assert(out.includes(`${a} is in use by Workload(default/n1-k8s-a-eth0): not released.`));
  assert.notEqual(await ipam.assignment(a), undefined);
  assert.notEqual(await ipam.assignment(b), undefined);
});

test("ipam release: never what a container of its node has, of which every record is lost", async (cluster) => {
  const { ipam, held, addresses: [a, b] } = await furnish(cluster);
  await leak(cluster, "a");
  await leak(cluster, "b");
  await lock(cluster, true);
  const path = `${cluster.folder}/report.json`;
  await cluster.run(`ipam check -o ${path}`);
  held.push(a);
  const { exit, out } = await cluster.run(`ipam release --from-report ${path} --force`);
  assert.equal(exit, 0);
  assert(out.includes(`${a} is in use by Container(n1): not released.`), out);
  assert.notEqual(await ipam.assignment(a), undefined);
  assert.equal(await ipam.assignment(b), undefined);
  const one = await cluster.run(`ipam release --ip ${a}`);
  assert.match(one.err, /is in use by Container\(n1\); delete that first/);
  assert.deepEqual((await cluster.run("ipam check")).exit, 0);
});

test("ipam release: what nobody can vouch for, only with --force", async (cluster) => {
  const { ipam, node, addresses: [a] } = await furnish(cluster);
  await leak(cluster, "a");
  await node.stop();
  await cluster.store.delete(answerKey("n1"));
  await lock(cluster, true);
  const path = `${cluster.folder}/report.json`;
  const check = await cluster.run(`ipam check -o ${path}`);
  assert.equal(check.exit, 1);
  assert.match(check.out, /^Found 0 IPs that are allocated in IPAM but not actually in use\.$/m);
  assert.match(
    check.out,
    /it cannot be shown that nobody uses it \(node n1 cannot be asked\): nothing releases it unasked/,
  );
  const release = (options: string) => cluster.run(`ipam release ${options}`);
  for (const name of ["tortie", "calicoctl"]) {
    const { exit, out } = await cluster.run(`ipam release --from-report ${path}`, { name });
    assert.equal(exit, 0);
    assert.match(out, /didn't contain any leaked IPs/);
    assert(
      out.includes(`1 IPs may be in use: ${a} (node n1 cannot be asked): not released; `),
      out,
    );
    assert.match(out, /: not released; --force releases them all the same\.$/m);
  }
  const one = await release(`--ip ${a}`);
  assert.equal(one.exit, 1);
  assert.match(
    one.err,
    /may be in use \(node n1 cannot be asked\); where its node cannot be asked, start the service/,
  );
  assert.notEqual(await ipam.assignment(a), undefined);
  assert.match(
    (await release(`--from-report ${path} --force`)).out,
    /^Released 1 IPs successfully$/m,
  );
  assert.equal(await ipam.assignment(a), undefined);
});

test("ipam release --from-report: reports of another cluster, version, or none", async (cluster) => {
  const { addresses: [a] } = await furnish(cluster);
  await leak(cluster, "a");
  await lock(cluster, true);
  const path = `${cluster.folder}/report.json`;
  await cluster.run(`ipam check -o ${path}`);
  const text = await Deno.readTextFile(path);
  const edited = (change: (text: string) => string) => cluster.file("edited.json", change(text));
  const from = async (change: (text: string) => string, more = "") =>
    await cluster.run(`ipam release --from-report ${await edited(change)}${more}`);
  const other = await from(
    (t) => t.replace(/"clusterGUID": "[^"]*"/, '"clusterGUID": "other"'),
    " --force",
  );
  assert.equal(other.exit, 1);
  assert.match(other.err, /mismatched cluster GUID\. Refusing to release/);
  const old = (t: string) => t.replace(/"version": "[^"]*"/, '"version": "v0"');
  assert.match((await from(old)).err, /was produced using a different version \(v0\) of tortie/);
  assert.match((await from(() => "[")).err, /edited\.json cannot be read/);
  assert.match((await from(() => "{}")).err, /is none of `ipam check`: its version is missing/);
  // Two reports: what both say. The second knows of no leak.
  const clean = await cluster.file(
    "clean.json",
    text.replaceAll('"inUse": false', '"inUse": true'),
  );
  const both = await cluster.run(`ipam release --from-report ${path} --from-report ${clean}`);
  assert.match(both.out, /Report didn't contain any leaked IPs to clean up\./);
  assert.notEqual(await new Ipam(cluster.store).assignment(a), undefined);
  const forced = await from(old, " --force");
  assert.match(forced.out, /^WARNING: Report was produced using a different version of tortie/);
  assert.equal(await new Ipam(cluster.store).assignment(a), undefined);
});

test("ipam show --ip: what cools down, and what is kept, is in nobody's use", async (cluster) => {
  const { ipam, addresses: [a] } = await furnish(cluster);
  const show = async (address: string) => (await cluster.run(`ipam show --ip ${address}`)).out;
  assert.match(await show(a), /^IP .* is in use$/m);
  await cluster.run("ipam configure --ip-cooldown-seconds 600");
  await cluster.run(`ipam release --ip ${a} --force`);
  assert.match(
    await show(a),
    /^10\.0\.0\.\d+ is not assigned: it was given back, and cools down until 20\d\d-.*Z\n$/,
  );
  const lease = async (ordinal: string, keptUntil?: string) => {
    const handle = `tortie-pin.default.db.${ordinal}`;
    const attributes = { ...(keptUntil && { keptUntil }), ordinal, statefulset: "default/db" };
    const given = await ipam.assign({ num4: 1, host: "n1", handle, attributes, use: "Workload" });
    return formatIp(given[0].ip);
  };
  assert.match(
    await show(await lease("0", "2999-01-01T00:00:00Z")),
    /is used by nobody, and kept for default\/db-0 until 2999-01-01T00:00:00Z\n/,
  );
  assert.match(
    await show(await lease("1", "2020-01-01T00:00:00Z")),
    /is used by nobody: its lease for default\/db-1 was over at 2020-01-01T00:00:00Z\n/,
  );
  const endless = await lease("3");
  assert.match(
    await show(endless),
    /kept for default\/db-3 for ever: its record does not say until when; `tortie ipam release --ip`/,
  );
  assert.equal((await cluster.run(`ipam release --ip ${endless}`)).exit, 0);
  const kept = await lease("2", "2999-01-01T00:00:00Z");
  assert.equal((await cluster.run(`ipam release --ip ${kept}`)).exit, 0);
});

test("ipam: a cool-down outlives Calico's write to the block, and what lost its mark is told", async (cluster) => {
  const { ipam, addresses: [a, b] } = await furnish(cluster);
  await cluster.run("ipam configure --ip-cooldown-seconds 600");
  for (const [pod, address] of [["a", a], ["b", b]]) {
    await leak(cluster, pod);
    await cluster.run(`ipam release --ip ${address} --force`);
  }
  const [{ key, value }] = (await cluster.store.list<AllocationBlock>(blockPrefix(4))).entries;
  const block = writtenByCalico332(value);
  await cluster.store.put(key, block);
  const run = async (line: string) => (await cluster.run(line)).out;
  assert.match(await run(`ipam show --ip ${a}`), /is not assigned: it was given back, and cools/);
  assert.doesNotMatch(await run("ipam show --show-borrowed"), /Note: found|10\.0\.0\./);
  assert.match(await run("ipam show"), /IPS COOLING/);
  const checked = await cluster.run("ipam check");
  assert.equal(checked.exit, 0, checked.out);

  // As a version with one mark alone has left it there: it may be anybody's.
  await cluster.store.put(key, { ...block, attributes: block.attributes.map(() => ({})) });
  const told = await run("ipam check --show-problem-ips");
  assert.match(
    told,
    new RegExp(
      `${a} is given to nobody known .*its record says nothing: it may have cooled down when a ` +
        "Calico before v3\\.33 wrote to its block.*`ipam release --ip` with --force",
    ),
  );
  const refused = await cluster.run(`ipam release --ip ${a}`);
  assert.equal(refused.exit, 1);
  assert.match(refused.err, /may be in use \(its record says nothing: .* with --force/);
  await cluster.run("ipam configure --ip-cooldown-seconds 0");
  assert.equal((await cluster.run(`ipam release --ip ${a} --force`)).exit, 0);
  assert.equal(await ipam.assignment(a), undefined);
  assert.notEqual(await ipam.assignment(b), undefined);
});

test("ipam release --ip: a kept address, unless a container of its node has it", async (cluster) => {
  const { ipam, held } = await furnish(cluster);
  const attributes = {
    keptUntil: "2999-01-01T00:00:00Z",
    node: "n1",
    ordinal: "0",
    statefulset: "default/db",
  };
  const handle = "tortie-pin.default.db.0";
  const given = await ipam.assign({ num4: 1, host: "n1", handle, attributes, use: "Workload" });
  const address = formatIp(given[0].ip);
  held.push(address);
  const refused = await cluster.run(`ipam release --ip ${address}`);
  assert.equal(refused.exit, 1);
  assert.match(refused.err, /is in use by Container\(n1\); delete that first/);
  assert.notEqual(await ipam.assignment(address), undefined);
  held.pop();
  assert.equal((await cluster.run(`ipam release --ip ${address}`)).exit, 0);
});

test("ipam configure: says what it set; Calico's rules", async (cluster) => {
  const set = (options: string) => cluster.run(`ipam configure ${options}`);
  const { exit, out } = await set("--strictaffinity=true --max-blocks-per-host=3");
  assert.equal(exit, 0);
  assert.equal(
    out,
    "Successfully set StrictAffinity to: true\nSuccessfully set MaxBlocksPerHost to: 3\n",
  );
  assert.match(
    (await cluster.run("ipam show --show-configuration")).out,
    /MaxBlocksPerHost +\| +3 /,
  );
  const refused = await set("--strictaffinity=false");
  assert.equal(refused.exit, 1);
  assert.match(refused.err, /MaxBlocksPerHost requires StrictAffinity to be enabled/);
  assert.equal((await set("--strictaffinity=maybe")).exit, 2);
  assert.equal((await set("--max-blocks-per-host=many")).exit, 2);
  for (const name of ["tortie", "calicoctl"]) {
    const line = "ipam configure --strictaffinity=false --max-blocks-per-host=-1";
    const unlimited = await cluster.run(line, { name });
    assert.equal(unlimited.exit, 0, unlimited.err);
    assert.match(unlimited.out, /^Successfully set MaxBlocksPerHost to: -1$/m);
    assert.equal((await cluster.store.get<any>(ipamConfigKey))!.value.maxBlocksPerHost, -1);
    assert.equal((await cluster.run("ipam check")).exit, 0);
    assert.match((await cluster.run("get ipamconfig -o yaml")).out, /maxBlocksPerHost: -1$/m);
    assert.equal((await set("--strictaffinity=true --max-blocks-per-host=3")).exit, 0);
  }
  assert.equal((await set("--ip-cooldown-seconds=1201")).exit, 1);
  const negative = await set("--ip-cooldown-seconds=-1");
  assert.equal(negative.exit, 2);
  assert.match(
    negative.err,
    /invalid value for --ip-cooldown-seconds\. Use a number from 0 to 1200/,
  );
  const theirs = await cluster.run("ipam configure --ip-cooldown-seconds=-1", {
    name: "calicoctl",
  });
  assert.match(theirs.err, /at least one configuration option must be/);
  assert.match(
    (await cluster.run("ipam configure")).err,
    /at least one configuration option must be/,
  );
  assert.match(
    (await set("--ip-cooldown-seconds 30 --kubevirt-ip-persistence Disabled")).out,
    /Persistence to: Disabled\nSuccessfully set IPCooldownSeconds to: 30\n$/,
  );
});

test("ipam split: the datastore locked, addresses as they were", async (cluster) => {
  const { ipam, addresses } = await furnish(cluster);
  const split = (line: string) => cluster.run(`ipam split ${line}`);
  const unlocked = await split("--cidr=10.0.0.0/28 4");
  assert.equal(unlocked.exit, 1);
  assert.match(unlocked.err, /datastore is not locked\. Run the `tortie datastore migrate lock`/);
  await lock(cluster, true);
  assert.match(
    (await split("--cidr=10.0.2.0/24 4")).err,
    /unable to find IP pool covering the specified CIDR 10\.0\.2\.0\/24/,
  );
  assert.match((await split("--name=q 4")).err, /unable to find IP pool with name q/);
  const other = await split("--name=p --cidr=10.0.2.0/24 4");
  assert.equal(other.exit, 1);
  assert.match(
    other.err,
    /IP pool p has the CIDR 10\.0\.0\.0\/28, and --cidr says 10\.0\.2\.0\/24: /,
  );
  assert.equal((await split("--name=p --cidr=nothing 4")).exit, 2);
  assert.equal((await split("--name=p --undo 4")).exit, 2);
  assert.match((await split("--name=p --cidr=10.0.0.0/28 3")).err, /is not a valid power of 2: 3/);
  assert.match((await split("--name=p 3")).err, /is not a valid power of 2: 3/);
  assert.match((await split("--name=p 512")).err, /is not large enough to be split into 512 parts/);
  assert.match((await split("--name=p 8")).err, /into 8 parts: each must hold a block of \/30/);
  const before = (await cluster.resources.get(ippoolKind, "p"))!;
  assert.equal(before.spec.disabled, false, "nothing was written for a refusal");
  const { exit, out } = await split("--name=p 4");
  assert.equal(exit, 0);
  assert.match(
    out,
    /^IP Pool p was successfully split into 4 smaller pools\.\nCreated split-p-0 with/,
  );
  const { items } = await cluster.resources.list(ippoolKind);
  assert.deepEqual(
    items.map((p) => [p.metadata.name, p.spec.cidr, p.spec.disabled, p.spec.natOutgoing]),
    [0, 1, 2, 3].map((i) => [`split-p-${i}`, `10.0.0.${i * 4}/30`, false, true]),
  );
  assert.deepEqual(items[0].metadata.labels, { team: "net" });
  for (const address of addresses) assert.notEqual(await ipam.assignment(address), undefined);
  assert.equal((await cluster.run("ipam check")).exit, 0);
  await lock(cluster, false);
  assert.equal((await ipam.assign({ num4: 1, host: "n1", use: "Workload" })).length, 1);
});
