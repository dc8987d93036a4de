/**
 * `ipam.type: host-local` beside the real plugin (Debian's containernetworking-plugins): the same calls
 * leave the same bytes, both work on one folder in turns and at the same time, and the whole attachment
 * works with packets.
 */
import assert from "node:assert/strict";
import { parseAttachment } from "../../cni/environment.ts";
import { CniError } from "../../cni/errors.ts";
import { handleId } from "../../cni/identity.ts";
import { parseHostLocal } from "../../cni/host_local/conf.ts";
import { HostLocalIpam } from "../../cni/host_local/ipam.ts";
import { formatIp } from "../../mod/net/mod.ts";
import { CniHarness, missingForCni, run, stockPlugin } from "./harness.ts";

const REAL = stockPlugin("host-local");
const missing = missingForCni() ?? (REAL ? undefined : "the stock host-local is not installed");

function test(name: string, body: () => Promise<void>): void {
  Deno.test({
    name: missing ? `${name} (skipped: ${missing})` : name,
    ignore: missing !== undefined,
    fn: body,
    sanitizeResources: false,
    sanitizeOps: false,
  });
}

type Ipam = Record<string, unknown>;
type Plugin = (
  command: "ADD" | "DEL",
  container: string,
  ipam: Ipam,
  args?: string,
) => Promise<string[] | undefined>;

const env = (command: string, container: string, args: string) => ({
  CNI_COMMAND: command,
  CNI_CONTAINERID: container,
  CNI_IFNAME: "eth0",
  CNI_NETNS: "/var/run/netns/none",
  CNI_PATH: "/usr/lib/cni",
  CNI_ARGS: args,
});

/** Addresses of an ADD, none of a DEL; undefined where it was refused. */
const real: Plugin = async (command, container, ipam, args = "") => {
  const conf = { cniVersion: "1.0.0", name: "net", type: "calico", ipam };
  const { code, stdout } = await run([REAL!], {
    stdin: JSON.stringify(conf),
    env: env(command, container, args),
    clearEnv: true,
  });
  if (code !== 0) return undefined;
  if (stdout.trim() === "") return [];
  return JSON.parse(stdout).ips.map((ip: any) => ip.address.replace(/\/.*/, ""));
};

const ours: Plugin = async (command, container, ipam, args = "") => {
  const attachment = parseAttachment(command, env(command, container, args));
  const hostLocal = new HostLocalIpam(
    "net",
    parseHostLocal(ipam),
    attachment,
    async () => [],
    async () => [],
  );
  try {
    if (command === "DEL") {
      await hostLocal.releaseByHandle(handleId("net", container, "eth0"));
      return [];
    }
    // The interface plugin refuses a second ADD by itself.
    if (await hostLocal.ipsByHandle(handleId("net", container, "eth0"))) return undefined;
    return (await hostLocal.assign({ host: "n", use: "Workload" })).map(({ ip }) => formatIp(ip));
  } catch (error) {
    if (error instanceof CniError) return undefined;
    throw error;
  }
};

/** Names, modes and bytes of a folder. */
async function tree(folder: string): Promise<string[]> {
  const found: string[] = [];
  for await (const { name } of Deno.readDir(`${folder}/net`)) {
    const path = `${folder}/net/${name}`;
    const { mode } = await Deno.stat(path);
    found.push(`${name} ${(mode! & 0o777).toString(8)} ${await Deno.readTextFile(path)}`);
  }
  return found.sort();
}

async function withFolders(count: number, body: (folders: string[]) => Promise<void>) {
  const folders = await Promise.all(
    Array.from({ length: count }, () => Deno.makeTempDir({ prefix: "tortie-hl-" })),
  );
  try {
    await body(folders);
  } finally {
    for (const folder of folders) await Deno.remove(folder, { recursive: true });
  }
}

test("the same calls leave the same bytes as the real plugin, alone and in turns with it", async () => {
  const range = {
    ranges: [
      [
        { subnet: "10.1.0.0/29", rangeStart: "10.1.0.3" },
        { subnet: "10.2.0.0/29", gateway: "10.2.0.4" },
      ],
      [{ subnet: "fd00::/124", rangeStart: "fd00::4" }],
    ],
  };
  await withFolders(3, async ([a, b, c]) => {
    let seed = 7;
    const below = (n: number) => (seed = (seed * 1_103_515_245 + 12_345) >>> 0) % n;
    const living: string[] = [];
    for (let step = 0; step < 60; step++) {
      const add = living.length === 0 || below(5) < 3;
      const container = add ? `c${step}` : living.splice(below(living.length), 1)[0];
      const command = add ? "ADD" : "DEL";
      const args = add && below(6) === 0 ? `IP=10.1.0.${3 + below(4)}` : "";
      const answers = [];
      for (
        const [folder, plugin] of [[a, real], [b, ours], [c, step % 2 === 0 ? ours : real]] as const
      ) {
        answers.push(
          await plugin(command, container, { type: "host-local", dataDir: folder, ...range }, args),
        );
      }
      const what = `${step}: ${command} ${container} ${args}`;
      assert.deepEqual(answers[1], answers[0], what);
      assert.deepEqual(answers[2], answers[0], what);
      if (add && answers[0]) living.push(container);
      const wanted = await tree(a);
      assert.deepEqual(await tree(b), wanted, what);
      assert.deepEqual(await tree(c), wanted, what);
    }
  });
});

test("both at the same time on one folder give no address twice", async () => {
  await withFolders(1, async ([folder]) => {
    const ipam = { type: "host-local", dataDir: folder, subnet: "10.3.0.0/26" };
    const given = await Promise.all(
      Array.from({ length: 70 }, async (_, i) => {
        const plugin = i % 2 === 0 ? real : ours;
        const got = await plugin("ADD", `c${i}`, ipam);
        // Some go at once, so that addresses are used again meanwhile.
        if (got && i % 7 === 0) {
          assert.deepEqual(await (i % 3 === 0 ? real : ours)("DEL", `c${i}`, ipam), []);
          return undefined;
        }
        return got?.[0];
      }),
    );
    const held = given.filter((ip) => ip !== undefined);
    assert.equal(new Set(held).size, held.length, "an address was given twice");
    const onRecord = (await tree(folder)).filter((line) => line.startsWith("10."))
      .map((line) => line.split(" ")[0]);
    assert.deepEqual(onRecord.sort(), [...held].sort());
    // 61 addresses are in the range: all are used, or none was refused.
    assert.ok(held.length <= 61 && held.length >= 50, `${held.length}`);
    await Promise.all(
      Array.from({ length: 70 }, (_, i) => (i % 2 ? real : ours)("DEL", `c${i}`, ipam)),
    );
    assert.deepEqual((await tree(folder)).filter((line) => line.startsWith("10.")), []);
  });
});

test("a lock that another program holds is waited for", async () => {
  await withFolders(1, async ([folder]) => {
    const ipam = { type: "host-local", dataDir: folder, subnet: "10.3.0.0/26" };
    await real("ADD", "first", ipam);
    const holder = new Deno.Command("flock", {
      args: ["--exclusive", `${folder}/net/lock`, "cat"],
      stdin: "piped",
      stdout: "piped",
    }).spawn();
    const writer = holder.stdin.getWriter();
    await writer.write(new TextEncoder().encode("held\n"));
    const reader = holder.stdout.getReader();
    await reader.read();
    let done = false;
    const adding = ours("ADD", "second", ipam).then((ips) => {
      done = true;
      return ips;
    });
    await new Promise((resolve) => setTimeout(resolve, 300));
    assert.equal(done, false, "it did not wait");
    await writer.close();
    assert.deepEqual(await adding, ["10.3.0.3"]);
    await reader.cancel();
    await holder.status;
  });
});

test("pods of a node with host-local and usePodCidr talk, and leave nothing", async () => {
  await using h = await CniHarness.start();
  const key = "/calico/resources/v3/projectcalico.org/nodes/harness-1";
  const node = (await h.store.get<any>(key))!.value;
  await h.store.put(key, {
    ...node,
    status: { podCIDRs: ["10.77.3.0/24", "fd00:77:3::/64"] },
  });
  const dataDir = `${h.folder}/networks`;
  const more = {
    type: "calico",
    ipam: {
      type: "host-local",
      dataDir,
      ranges: [[{ subnet: "usePodCidr" }], [{ subnet: "usePodCidrIPv6" }]],
    },
  };
  const conf = h.conf(more);
  const a = await h.add({ plugin: "calico", container: "a", conf });
  const b = await h.add({ plugin: "calico", container: "b", conf });
  assert.deepEqual(a.json.ips.map((ip: any) => ip.address), ["10.77.3.2/32", "fd00:77:3::2/128"]);
  for (const { address } of b.json.ips) {
    const ping = ["ping", "-c", "1", "-W", "5", address.replace(/\/.*/, "")];
    await h.inNamespace(a.netns, ping);
  }
  const check = await h.call({
    command: "CHECK",
    plugin: "calico",
    container: "a",
    netns: a.netns,
    conf: h.conf({ ...more, prevResult: a.json }),
  });
  assert.equal(check.code, 0, check.stdout);
  // The real plugin knows our records, and we give its containers' addresses to nobody.
  const folder = { type: "host-local", dataDir, subnet: "10.77.3.0/24" };
  const stock = await run([REAL!], {
    stdin: JSON.stringify({ cniVersion: "1.0.0", name: "testnet", type: "ptp", ipam: folder }),
    env: env("ADD", "stock", ""),
    clearEnv: true,
  });
  assert.equal(JSON.parse(stock.stdout).ips[0].address, "10.77.3.4/24");
  const c = await h.add({ plugin: "calico", container: "c", conf });
  assert.equal(c.json.ips[0].address, "10.77.3.5/32");

  // The service is killed; the plugin alone does DEL and GC on the same files.
  await h.killService();
  const gone = await h.call({
    command: "DEL",
    plugin: "calico",
    container: "a",
    netns: a.netns,
    conf,
  });
  assert.equal(gone.code, 0, gone.stdout);
  const gc = await h.call({
    command: "GC",
    plugin: "calico",
    conf: h.conf({
      ...more,
      cniVersion: "1.1.0",
      "cni.dev/valid-attachments": [{ containerID: "c", ifname: "eth0" }],
    }),
  });
  assert.equal(gc.code, 0, gc.stdout);
  const left = [];
  for await (const { name } of Deno.readDir(`${dataDir}/testnet`)) {
    if (/^(10|fd00)/.test(name)) left.push(name);
  }
  assert.deepEqual(left.sort(), ["10.77.3.5", "fd00:77:3::4"]);
  await h.startService();
  const last = await h.call({
    command: "DEL",
    plugin: "calico",
    container: "c",
    netns: c.netns,
    conf,
  });
  assert.equal(last.code, 0, last.stdout);
  assert.deepEqual((await h.traces()).filter((t) => !t.startsWith("link")), []);
});
