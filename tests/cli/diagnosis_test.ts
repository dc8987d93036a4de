/** `node checksystem`, `node diags`, `cluster diags`: what they find and collect, and what they leave out. */
import assert from "node:assert/strict";
import { RouteSocket } from "../../ffi/route/mod.ts";
import { felixStatusKey } from "../../mod/model/keys.ts";
import { CHECKS } from "../../mod/cli/system/checks.ts";
import { Ipam } from "../../mod/ipam/ipam.ts";
import { call } from "../../mod/rpc/method.ts";
import { type Cluster, command, test } from "./harness.ts";

const root = Deno.uid() === 0;
const binary = Deno.env.get("TORTIE_BINARY") ||
  new URL("../../dist/tortie", import.meta.url).pathname;
const decoder = new TextDecoder();
// The libraries stay loaded: no test is to be blamed for that.
if (root) RouteSocket.open().close();

/** Files of an archive by their path below its folder. */
async function unpack(path: string): Promise<Map<string, string>> {
  const folder = await Deno.makeTempDir();
  try {
    const { success, stderr } = await new Deno.Command("tar", {
      args: ["-xzf", path, "-C", folder, "--strip-components=1"],
    }).output();
    assert(success, decoder.decode(stderr));
    const files = new Map<string, string>();
    const walk = async (below: string) => {
      for await (const { name, isDirectory } of Deno.readDir(`${folder}${below}`)) {
        if (isDirectory) await walk(`${below}/${name}`);
        else {
          files.set(
            `${below}/${name}`.slice(1),
            await Deno.readTextFile(`${folder}${below}/${name}`),
          );
        }
      }
    };
    await walk("");
    return files;
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

function savedTo(out: string): string {
  return / saved to (\S+\.tar\.gz)/.exec(out)![1];
}

async function kernelConfig(without: string): Promise<string> {
  const path = await Deno.makeTempFile();
  const options = CHECKS.flatMap(({ config }) => config).filter((name) => name !== without);
  await Deno.writeTextFile(
    path,
    `# Linux/x86 6.1.0 Kernel Configuration\n${options.map((name) => `${name}=m\n`).join("")}`,
  );
  return path;
}

Deno.test("node checksystem: a kernel's configuration, whole and not", async () => {
  for (const [name, who] of [["calicoctl", "Calico"], [undefined, "tortie"]] as const) {
    const whole = await kernelConfig("");
    const good = await command(["node", "checksystem", "-f", whole], { name });
    assert.deepEqual([good.exit, good.err], [0, ""]);
    assert.match(
      good.out,
      /^Checking kernel version\.\.\.\n\t\t6\.1\.0 +\t+OK\nChecking kernel mod/,
    );
    assert(good.out.endsWith(`System meets minimum system requirements to run ${who}!\n`));
    const without = await kernelConfig("CONFIG_NFT_CT");
    const bad = await command(["node", "checksystem", "--kernel-config", without], { name });
    assert.equal(bad.exit, 1);
    assert.match(bad.out, /nft ct +\t+FAIL\nERROR: nft ct: .*CONFIG_NFT_CT.*modprobe nft_ct/);
    assert.match(bad.err, /doesn't meet one or more minimum systems requirements .*: nft ct\n/);
    // VXLAN is not needed by every cluster.
    const optional = await kernelConfig("CONFIG_VXLAN");
    const warned = await command(["node", "checksystem", "-f", optional], { name });
    assert.equal(warned.exit, 0);
    assert.match(warned.out, /vxlan +\t+WARNING\n/);
    for (const path of [whole, without, optional]) await Deno.remove(path);
  }
  const absent = await command(["node", "checksystem", "-f", "/nowhere"]);
  assert.equal(absent.exit, 1);
  assert.match(absent.err, /configuration \/nowhere cannot be read/);
});

Deno.test({
  name: "node checksystem: this kernel is tried, and nothing is left behind",
  ignore: !root,
  async fn() {
    const { exit, out, err } = await command(["node", "checksystem"]);
    assert.deepEqual([exit, err], [0, ""], out);
    for (const { name, needed } of CHECKS) {
      assert.match(out, new RegExp(`\\t\\t${name} +\\t+(${needed ? "OK" : "OK|WARNING"})\\n`));
    }
    const left = [...Deno.readDirSync("/run/netns")].filter(({ name }) =>
      /^tortie-check/.test(name)
    );
    assert.deepEqual(left, []);
  },
});

const SECRET = "hunter2hunter2";
const STATUS = { "node.status": call(() => ({ node: "n1", ready: true })) };

/** A log and a configuration that hold secrets. */
async function furnish(cluster: Cluster): Promise<void> {
  await cluster.file("logs/tortie.log", `started\nlogin password=${SECRET}\n`);
  await cluster.file("logs/old/tortie.log.1", `token: ${SECRET}\n`);
  await cluster.file("logs/old/packed.gz", "not text");
}

if (root) {
  test("node diags: what the node is and holds, without secrets", async (cluster) => {
    await furnish(cluster);
    const { folder } = cluster;
    const { exit, out, err } = await cluster.run(
      `node diags --log-dir ${folder}/logs --output-dir ${folder}`,
    );
    assert.equal(exit, 0, err);
    const path = savedTo(out);
    assert.match(path, /\/diags-\d{8}_\d{6}\.tar\.gz$/);
    assert.equal((await Deno.stat(path)).mode! & 0o777, 0o600);
    const files = await unpack(path);
    assert.equal(JSON.parse(files.get("service/node_status.json")!).node, "n1");
    assert.match(files.get("links")!, /^\d+: lo up running mtu \d+/m);
    assert.match(files.get("ipv4_addr")!, /^lo: 127\.0\.0\.1\/8 scope 254$/m);
    assert.match(files.get("ipv4_route")!, /^local 127\.0\.0\.1\/32 dev lo .*table 255/m);
    assert.match(files.get("ipv4_rule")!, /^32766: from all lookup 254/m);
    assert.match(files.get("sysctls")!, /^net\/ipv4\/ip_forward = [01]$/m);
    assert(files.has("nft_ruleset") && files.has("neighbours") && files.has("proc/net_dev"));
    assert.equal(files.get("logs/tortie.log"), "started\nlogin password=[redacted]\n");
    assert.equal(files.get("logs/old/tortie.log.1"), "token: [redacted]\n");
    assert(!files.has("logs/old/packed.gz"));
    for (const [name, text] of files) assert(!text.includes(SECRET), name);
    // What cannot be had is told, and the rest is there.
    assert.match(err, /warning: without service\/bgp_peers\.json/);
    assert.match(files.get("errors.txt")!, /^service\/bgp_peers\.json: /m);
  }, STATUS);

  test("node diags: no service, no logs, no place to write", async (cluster) => {
    const { folder } = cluster;
    const env = { TORTIE_RUN_DIR: `${folder}/nowhere`, TMPDIR: folder };
    const alone = await cluster.run(["node", "diags", "--log-dir", `${folder}/none`], { env });
    assert.equal(alone.exit, 0);
    assert.match(alone.err, /without service\/node_status\.json: .*no such socket/);
    assert.match(alone.err, /without logs of .*none: No such file/);
    assert(savedTo(alone.out).startsWith(folder));
    const full = await cluster.run(`node diags --output-dir ${folder}/none`);
    assert.equal(full.exit, 1);
    assert.match(full.err, /the archive .* cannot be written/);
  });
}

Deno.test({
  name: "the built executable may do what these commands do",
  ignore: !root,
  async fn() {
    const folder = await Deno.makeTempDir();
    try {
      const run = async (...args: string[]) => {
        const { code, stdout, stderr } = await new Deno.Command(binary, {
          args,
          clearEnv: true,
          env: { TORTIE_RUN_DIR: folder, TORTIE_STORE: `kv:${folder}/store.kv`, TMPDIR: folder },
        }).output();
        const err = decoder.decode(stderr);
        assert.doesNotMatch(err, /bug in|NotCapable|Requires/);
        assert.equal(code, 0, err);
        return decoder.decode(stdout);
      };
      assert.match(await run("node", "checksystem"), /System meets minimum system requirements/);
      const files = await unpack(savedTo(await run("node", "diags")));
      assert.match(files.get("proc/net_dev")!, /lo:/);
      assert.match(files.get("hostname")!, /\S/);
      assert.match(files.get("environment")!, /^TORTIE_RUN_DIR=/m);
      await Deno.writeTextFile(
        `${folder}/set.json`,
        '{"apiVersion":"projectcalico.org/v3",' +
          '"kind":"GlobalNetworkSet","metadata":{"name":"n"}}',
      );
      await run("apply", "-f", `${folder}/set.json`);
      await run("datastore", "migrate", "lock");
      await Deno.writeTextFile(`${folder}/e.yaml`, await run("datastore", "migrate", "export"));
      await run("datastore", "import", "-f", `${folder}/e.yaml`);
      assert((await unpack(savedTo(await run("cluster", "diags")))).has("ipam/check.txt"));
    } finally {
      await Deno.remove(folder, { recursive: true });
    }
  },
});

const OBJECTS = `
{apiVersion: projectcalico.org/v3, kind: Node, metadata: {name: n1}}
---
{apiVersion: projectcalico.org/v3, kind: Node, metadata: {name: n2}}
---
apiVersion: projectcalico.org/v3
kind: IPPool
metadata: {name: p, annotations: {password: ${SECRET}}}
spec: {cidr: 10.0.0.0/24, blockSize: 28}
---
apiVersion: projectcalico.org/v3
kind: WorkloadEndpoint
metadata: {name: n2-k8s-a-eth0, namespace: shop}
spec: {orchestrator: k8s, node: n2, pod: a, endpoint: eth0, interfaceName: calia, ipNetworks: [10.0.0.1/32]}
---
{apiVersion: v1, kind: Namespace, metadata: {name: shop}}
`;

test("cluster diags: all resources, IPAM, and each node", async (cluster) => {
  assert.equal((await cluster.run("apply -f -", { stdin: OBJECTS })).exit, 0);
  await new Ipam(cluster.store).assign({ num4: 1, host: "n2", handle: "net.a", use: "Workload" });
  await cluster.store.put(felixStatusKey("n2"), { time: "2026-11-22T13:00:00Z", uptime: 5 });
  const env = { TMPDIR: cluster.folder };
  for (const name of ["calicoctl", undefined]) {
    const { exit, out, err } = await cluster.run("cluster diags --focus-nodes n2,gone", {
      env,
      name,
    });
    assert.equal(exit, 0, err);
    assert.match(err, /warning: without node gone: there is no Node of that name/);
    const path = savedTo(out);
    assert.match(path, /\/calico-diagnostics-\d{8}_\d{6}\.tar\.gz$/);
    const files = await unpack(path);
    assert.match(files.get("resources/ippools.yaml")!, /cidr: 10\.0\.0\.0\/24/);
    assert.match(files.get("resources/ippools.txt")!, /^p +10\.0\.0\.0\/24/m);
    assert.match(files.get("resources/tiers.yaml")!, /name: default/);
    assert.match(files.get("resources/kubernetes-namespaces.yaml")!, /name: shop/);
    assert.match(files.get("nodes/n2/endpoints.txt")!, /shop +.*a +.*n2/);
    assert.doesNotMatch(files.get("nodes/n1/endpoints.txt")!, /shop/);
    assert.match(files.get("nodes/n2/blocks.txt")!, /^10\.0\.0\.\d+\/28 .*confirmed/);
    assert.equal(JSON.parse(files.get("nodes/n2/status.json")!).felix.uptime, 5);
    assert.match(files.get("ipam/check.txt")!, /Check complete; found 2 problems/);
    assert.match(files.get("ipam/show.txt")!, /Block.*10\.0\.0\.\d+\/28/);
    for (const [file, text] of files) assert(!text.includes(SECRET), file);
    // The nodes in focus come first.
    const { stdout } = await new Deno.Command("tar", { args: ["-tzf", path] }).output();
    const order = decoder.decode(stdout).split("\n").filter((line) => /nodes\/n\d/.test(line));
    assert.match(order[0], /nodes\/n2\//);
    await Deno.remove(path);
  }
});

test("cluster diags: of a store in a file, which one alone can open at a time", async (cluster) => {
  const env = { TORTIE_STORE: `kv:${cluster.folder}/store.kv`, TMPDIR: cluster.folder };
  assert.equal((await cluster.run("apply -f -", { stdin: OBJECTS, env })).exit, 0);
  const { exit, out, err } = await cluster.run("cluster diags", { env });
  assert.deepEqual([exit, err], [0, ""]);
  const files = await unpack(savedTo(out));
  assert.match(files.get("ipam/check.txt")!, /Check complete/);
});

test("cluster diags: flags about logs are refused, a datastore that is away ends it", async (cluster) => {
  for (const flag of ["--since=2h", "--max-logs=3"]) {
    const own = await cluster.run(`cluster diags ${flag}`);
    assert.equal(own.exit, 2);
    assert.match(own.err, /no logs are fetched from other machines.*node diags --log-dir/);
  }
  for (
    const flag of ["--since=2h", "--max-logs=3", "--max-parallelism=2", "--skip-temp-dir-cleanup"]
  ) {
    const { exit, err } = await cluster.run(`cluster diags ${flag}`, { name: "calicoctl" });
    assert.equal(exit, 1);
    assert.match(err, /^--[a-z-]+ is not taken by calicoctl cluster diags here: /);
  }
  const away = await cluster.run("cluster diags --store /nowhere.sock");
  assert.equal(away.exit, 3);
});
