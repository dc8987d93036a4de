/**
 * Half-written records and records of strange shape in a real etcd: what the command line and the IPAM
 * plugin make of them, each call a process of its own that knows nothing yet.
 */
import assert from "node:assert/strict";
import { command } from "../cli/harness.ts";
import { EtcdCluster } from "./etcd_server.ts";

const BINARY = Deno.env.get("TORTIE_BINARY")!;
const BLOCKS = "/calico/ipam/v2/assignment/ipv4/block/";
const CLUSTER = "/calico/resources/v3/projectcalico.org/clusterinformations/default";

/** Of a pod. */
const NETNS = `damage-${Deno.pid}`;

async function ip(...args: string[]): Promise<void> {
  const { success, stderr } = await new Deno.Command("ip", { args }).output();
  assert(success, new TextDecoder().decode(stderr));
}

Deno.test.beforeAll(() => ip("netns", "add", NETNS));
Deno.test.afterAll(() => ip("netns", "delete", NETNS));

async function inCluster(run: (c: Calls) => Promise<void>): Promise<void> {
  const cluster = await EtcdCluster.start();
  const folder = await Deno.makeTempDir();
  try {
    await Deno.symlink(BINARY, `${folder}/tortie-ipam`);
    const calls = new Calls(cluster, folder);
    await calls.tortie(["create", "-f", "-"], {
      stdin: [
        "{apiVersion: projectcalico.org/v3, kind: IPPool, metadata: {name: p}, " +
        "spec: {cidr: 10.1.0.0/26, blockSize: 30}}",
        ...["n1", "n2"].map((name) =>
          `{apiVersion: projectcalico.org/v3, kind: Node, metadata: {name: ${name}}}`
        ),
      ].join("\n---\n"),
    });
    await run(calls);
  } finally {
    await cluster.stop();
    await Deno.remove(folder, { recursive: true });
  }
}

class Calls {
  constructor(readonly cluster: EtcdCluster, readonly folder: string) {}

  async tortie(args: string[], more: { stdin?: string } = {}) {
    const { exit: code, out: stdout, err: stderr } = await command(args, {
      env: this.cluster.env,
      ...more,
    });
    return { code, stdout, stderr };
  }

  /** `tortie-ipam` under an interface plugin named calico, without a node service. */
  async ipam(call: "ADD" | "DEL", container: string, node = "n1") {
    const conf = {
      cniVersion: "1.0.0",
      name: "net",
      type: "calico",
      etcd_endpoints: this.cluster.endpoints.join(),
      nodename: node,
      ipam: { type: "tortie-ipam" },
      tortie: { socket: `${this.folder}/nobody.sock` },
    };
    const process = new Deno.Command(`${this.folder}/tortie-ipam`, {
      clearEnv: true,
      env: {
        PATH: Deno.env.get("PATH")!,
        TORTIE_CALICO_DIR: this.folder,
        NODENAME: node,
        CNI_COMMAND: call,
        CNI_CONTAINERID: container,
        CNI_IFNAME: "eth0",
        CNI_NETNS: `/run/netns/${NETNS}`,
        CNI_PATH: "/opt/cni/bin",
        CNI_ARGS: "",
      },
      stdin: "piped",
      stdout: "piped",
      stderr: "piped",
    }).spawn();
    const writer = process.stdin.getWriter();
    await writer.write(new TextEncoder().encode(JSON.stringify(conf)));
    await writer.close();
    const { code, stdout, stderr } = await process.output();
    const text = (bytes: Uint8Array) => new TextDecoder().decode(bytes);
    const answer = text(stdout) ? JSON.parse(text(stdout)) : {};
    return { code, answer, error: text(stderr), address: answer.ips?.[0].address as string };
  }

  async holds(key: string): Promise<string> {
    return (await this.cluster.texts(key)).get(key)!;
  }

  check = () => this.tortie(["ipam", "check", "--show-problem-ips"]);

  /** Mends what a report of now says is damaged; its leaks stay: no container here has an endpoint. */
  async mend() {
    const file = `${this.folder}/report.json`;
    await this.tortie(["ipam", "check", "-o", file]);
    const report = { ...JSON.parse(await Deno.readTextFile(file)), allocations: {} };
    await Deno.writeTextFile(file, JSON.stringify(report));
    return await this.tortie(["ipam", "release", "--from-report", file, "--force"]);
  }
}

const cut = (text: string) => text.slice(0, text.length / 2);

Deno.test("a damaged block: neither ADD from others nor DEL stops, check says it, a report's release mends", () =>
  inCluster(async (c) => {
    for (let i = 0; i < 5; i++) assert.equal((await c.ipam("ADD", `c${i}`)).code, 0);
    const full = [...await c.cluster.texts(BLOCKS)].find(([, text]) => !text.includes("null,"))!;
    const [key, sound] = full;
    for (const bad of [cut(sound), "[]", "5", "{}"]) {
      await c.cluster.putText(key, bad);
      const added = await c.ipam("ADD", "more");
      assert.equal(added.code, 0, JSON.stringify(added.answer));
      assert.equal((await c.ipam("DEL", "more")).code, 0);
      assert.equal((await c.ipam("ADD", "theirs", "n2")).code, 0);
      assert.equal((await c.ipam("DEL", "theirs", "n2")).code, 0);
      const borrowed = await c.tortie(["ipam", "show", "--show-borrowed"]);
      assert.equal(borrowed.code, 0, borrowed.stderr);
      assert.match(borrowed.stderr, /warning: .*10\.1\.0\.\d+\/30 .* damaged: .*not known/);
      const { code, stdout } = await c.check();
      assert.equal(code, 1);
      assert.match(
        stdout,
        /10\.1\.0\.\d+\/30 .*(cannot be read|damaged).*ipam release --from-report/,
      );
      assert.match(stdout, /Found 0 handles with no matching IPs/);
      assert.doesNotMatch(stdout, /there is no such block/);
    }
    // All of the containers end; the ones whose addresses were in the block too.
    await c.cluster.putText(key, cut(sound));
    for (let i = 0; i < 5; i++) {
      const { code, answer } = await c.ipam("DEL", `c${i}`);
      assert.equal(code, 0, JSON.stringify(answer));
    }
    assert.match((await c.mend()).stdout, /: mended/);
    const { code, stdout } = await c.check();
    assert.equal(code, 0, stdout);
  }));

Deno.test("a damaged affinity or handle: ADD and DEL go on and make them anew", () =>
  inCluster(async (c) => {
    assert.equal((await c.ipam("ADD", "c1")).code, 0);
    for (
      const prefix of ["/calico/ipam/v2/host/n1/", "/calico/ipam/v2/handle/net.c1"]
    ) {
      const [[key, sound]] = await c.cluster.texts(prefix);
      for (const bad of [cut(sound), "[]", "5"]) {
        await c.cluster.putText(key, bad);
        const { code, stdout } = await c.check();
        assert.equal(code, 1);
        assert.match(stdout, /(affinity|handle) .*cannot be read/);
        const added = await c.ipam("ADD", "c2");
        assert.equal(added.code, 0, JSON.stringify(added.answer));
        assert.equal((await c.ipam("DEL", "c2")).code, 0);
        // Where ADD has made it anew already, there is nothing to mend.
        assert.equal((await c.mend()).code, 0);
        assert.equal((await c.check()).stdout.includes("cannot be read"), false);
        assert.equal(await c.holds(key), sound, bad);
      }
    }
    await c.cluster.putText("/calico/ipam/v2/handle/net.c1", "{");
    assert.equal((await c.ipam("DEL", "c1")).code, 0);
    assert.deepEqual([...await c.cluster.texts("/calico/ipam/v2/handle/")], []);
  }));

Deno.test("a damaged configuration: ADD says what to do, DEL works and says it, configure mends", () =>
  inCluster(async (c) => {
    for (const bad of ["{", "[]", "5"]) {
      assert.equal((await c.ipam("ADD", "c1")).code, 0);
      await c.cluster.putText("/calico/ipam/v2/config", bad);
      const { code, answer } = await c.ipam("ADD", "c2");
      assert.equal(code, 1);
      assert.match(answer.msg, /IPAM configuration .*damaged.*tortie ipam configure/);
      assert.equal(answer.code, 104);
      const removed = await c.ipam("DEL", "c1");
      assert.equal(removed.code, 0, JSON.stringify(removed.answer));
      assert.match(removed.error, /IPAM configuration .*damaged/);
      assert.match((await c.check()).stdout, /IPAM configuration .*cannot be read.*ipam configure/);
      const shown = await c.tortie(["ipam", "show", "--show-configuration"]);
      assert.match(shown.stderr, /IPAM configuration .*damaged.*tortie ipam configure/);
      assert.equal((await c.tortie(["ipam", "show", "--show-blocks"])).code, 0);
      const mended = await c.tortie(["ipam", "configure", "--strictaffinity=false"]);
      assert.equal(mended.code, 0, mended.stderr);
      assert.equal((await c.check()).code, 0);
    }
  }));

Deno.test("a half-written ClusterInformation: create goes on, pods wait, unlock writes it anew", () =>
  inCluster(async (c) => {
    const spoilt = JSON.stringify({ spec: { datastoreReady: "yes" } });
    for (const bad of ["5", "[]", "null", spoilt]) {
      await c.cluster.putText(CLUSTER, bad);
      const unlocked = await c.tortie(["datastore", "migrate", "unlock"]);
      assert.equal(unlocked.code, 0, `${bad}: ${unlocked.stderr}`);
      assert.equal(JSON.parse(await c.holds(CLUSTER)).spec.datastoreReady, true);
    }
    await c.cluster.putText(CLUSTER, '{"kind":"ClusterInf');
    const created = await c.tortie(["create", "-f", "-"], {
      stdin: "{apiVersion: projectcalico.org/v3, kind: GlobalNetworkSet, metadata: {name: g}}",
    });
    assert.equal(created.code, 0, created.stderr);
    const { code, answer } = await c.ipam("ADD", "c1");
    assert.equal(code, 1);
    assert.match(answer.msg, /not ready .*cannot be read.*datastore migrate unlock/);
    assert.equal(answer.code, 11);
    const unlocked = await c.tortie(["datastore", "migrate", "unlock"]);
    assert.equal(unlocked.code, 0, unlocked.stderr);
    assert.equal((await c.ipam("ADD", "c1")).code, 0);
    assert.equal(JSON.parse(await c.holds(CLUSTER)).spec.datastoreReady, true);
  }));

Deno.test("what is nested deeper than anybody reads is a damaged record, and no bug", () =>
  inCluster(async (c) => {
    const deep = '{"a":'.repeat(100_000) + "1" + "}".repeat(100_000);
    const v3 = "/calico/resources/v3/projectcalico.org/";
    const node = await c.holds(`${v3}nodes/n2`);
    const nodes = JSON.stringify({ ...JSON.parse(node), spec: "@" }).replace('"@"', deep);
    await c.cluster.putText(`${v3}nodes/n2`, nodes);
    await c.cluster.putText(`${v3}ipreservations/r`, `{"kind":"IPReservation","spec":${deep}}`);
    const told = /nested deeper than 1000 levels/;
    for (const words of [["get", "nodes"], ["get", "nodes", "n2"], ["ipam", "check"]]) {
      const { code, stderr, stdout } = await c.tortie(words);
      // A list is of those that can be read, and names the others.
      assert.equal(code, words.join(" ") === "get nodes" ? 0 : 1, `${words.join(" ")}: ${stderr}`);
      assert.match(stderr + stdout, told);
      assert.match(stderr + stdout, /nodes\/n2|Node\(n2\)|Node n2/);
      assert.doesNotMatch(stderr, /bug in tortie/);
    }
    assert.equal((await c.ipam("ADD", "c1")).code, 0);
    const mended = await c.tortie(["delete", "node", "n2"]);
    assert.equal(mended.code, 0, mended.stderr);
    assert.equal((await c.tortie(["get", "nodes"])).code, 0);
  }));

Deno.test("what is half-written is never left out of an export in silence", () =>
  inCluster(async (c) => {
    assert.equal((await c.ipam("ADD", "c1")).code, 0);
    const [[key, sound]] = [...await c.cluster.texts(BLOCKS)];
    await c.cluster.putText(key, cut(sound));
    const policy = "/calico/resources/v3/projectcalico.org/globalnetworkpolicies/default.old";
    await c.cluster.putText(policy, '{"kind":"GlobalNetwo');
    const lock = await c.tortie(["datastore", "migrate", "lock"]);
    assert.equal(lock.code, 0, lock.stderr);
    for (const words of [["datastore", "export"], ["datastore", "migrate", "export"]]) {
      const { code, stdout, stderr } = await c.tortie(words);
      assert.deepEqual([code, stdout], [1, ""], words.join(" "));
      assert.match(stderr, /nothing is exported, since 2 entries cannot be read/);
      for (const name of [key, policy]) assert(stderr.includes(`${name}: it is not JSON`), stderr);
    }
    // Nor does an import take the datastore for empty.
    const file = `${c.folder}/export.yaml`;
    await Deno.writeTextFile(file, '===\n{"metadata":{"name":"default"}}\n===\n{}\n');
    const imported = await c.tortie(["datastore", "import", "-f", file]);
    assert.equal(imported.code, 1);
    assert(imported.stderr.includes(key), imported.stderr);

    const names = await c.tortie(["datastore", "migrate-policy-names"]);
    assert.equal(names.code, 1, names.stdout);
    assert(names.stderr.includes(policy), names.stderr);
    const pod = "{apiVersion: v1, kind: Pod, metadata: {name: a, namespace: default}, " +
      "spec: {nodeName: n1, containers: [{name: c, image: i}]}, status: {phase: Running, " +
      "podIP: 10.1.0.1}}";
    assert.equal((await c.tortie(["apply", "-f", "-"], { stdin: pod })).code, 0);
    const matrix = await c.tortie(["policy", "matrix", "--port", "80/tcp"]);
    assert(matrix.stderr.includes(`warning: ${policy} is left out`), matrix.stderr);
    // The torn block is one of a pool still, so that no pool of another size gives its addresses.
    await c.cluster.putText("/calico/resources/v3/projectcalico.org/ippools/p", "{");
    const other = await c.tortie(["create", "-f", "-"], {
      stdin: "{apiVersion: projectcalico.org/v3, kind: IPPool, metadata: {name: q}, " +
        "spec: {cidr: 10.1.0.0/26, blockSize: 29}}",
    });
    assert.equal(other.code, 1);
    assert.match(other.stderr, /spec\.blockSize: 29 does not fit the block 10\.1\.0\.\d+\/30/);
  }));
