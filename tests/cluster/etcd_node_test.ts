/**
 * The built executable on a real etcd with TLS: commands find it by environment and by calicoctl.cfg, a
 * node service runs on it without a store of its own, pods come and go, with the service and without
 * it, while the datastore is locked, lost and back.
 */
import assert from "node:assert/strict";
import { EtcdCluster, makeCertificates } from "../store/etcd_server.ts";
import { binary, httpGet, pause, tool, until } from "./harness.ts";
import { conf, World } from "./world.ts";
import { RUN_MODULE } from "../tools/run_module.ts";

const decoder = new TextDecoder();
const options = { sanitizeResources: false, sanitizeOps: false, ignore: Deno.uid() !== 0 };
const POOL = "{apiVersion: projectcalico.org/v3, kind: IPPool, metadata: {name: p}, " +
  "spec: {cidr: 10.244.0.0/24, natOutgoing: true}}";

Deno.test(
  "the built executable on etcd with TLS: commands, a node service, pods",
  options,
  async (t) => {
    const tls = await makeCertificates();
    const id = `w${Deno.pid}n`;
    const cluster = await EtcdCluster.start({ tls, netns: id, deferred: true });
    const [member] = cluster.members;
    const world = new World(cluster.env);
    // Each step goes on from the one before.
    const step = async (name: string, run: () => Promise<void>) => {
      if (await t.step(name, run)) return;
      throw new Error(`${name} failed; the logs:\n${world.log()}\n${await member.log()}`);
    };

    try {
      await world.namespace(world.node);
      await tool(world.node, "ip", "link", "add", "eth0", "type", "veth", "peer", "name", "wire");
      await tool(world.node, "ip", "link", "set", "wire", "up");
      await tool(world.node, "ip", "address", "add", "10.20.0.1/24", "dev", "eth0");
      await tool(world.node, "ip", "link", "set", "eth0", "up");
      for (const pod of ["a", "b", "c"]) await world.namespace(`${world.id}${pod}`);

      await step(
        "without its datastore a node does not start, or waits where it is told to",
        async () => {
          await world.start();
          assert.equal(await world.ended(), 3);
          await world.end();
          assert.match(world.log(), /error: the datastore \(etcd at https:.*nobody listens there/);
          assert.match(world.log(), /WAIT_FOR_DATASTORE=true/);
          const absent = await world.tortie("get ippools");
          assert.equal(absent.exit, 3);
          assert.match(absent.err, /etcd at https:\/\/127.*nobody listens there/);
          await world.start({ WAIT_FOR_DATASTORE: "true", CALICO_IPV4POOL_CIDR: "none" });
          await until("it waits", 20_000, () => /cannot register yet/.test(world.log()));
          member.start();
          await until("it runs", 30_000, async () => (await world.status()).ready === true);
        },
      );

      await step("commands find it by environment and by calicoctl.cfg", async () => {
        const applied = await world.tortie("apply -f -", POOL);
        assert.equal(applied.exit, 0, applied.err);
        const got = await world.tortie("get ippools");
        assert.match(got.out, /^p +10\.244\.0\.0\/24 +all\(\)/m);
        const nodes = await world.tortie("get nodes -o name");
        assert.equal(nodes.out, "node/node1\n");
        const cfg = `${world.folder}/calicoctl.cfg`;
        const { ETCD_ENDPOINTS, ETCD_CA_CERT_FILE, ETCD_CERT_FILE, ETCD_KEY_FILE } = cluster.env;
        await Deno.writeTextFile(
          cfg,
          "apiVersion: projectcalico.org/v3\nkind: CalicoAPIConfig\nmetadata:\nspec:\n" +
            `  datastoreType: etcdv3\n  etcdEndpoints: ${ETCD_ENDPOINTS}\n` +
            `  etcdCACertFile: ${ETCD_CA_CERT_FILE}\n  etcdCertFile: ${ETCD_CERT_FILE}\n` +
            `  etcdKeyFile: ${ETCD_KEY_FILE}\n`,
        );
        const by = await world.tortie(`get ippools -o name -c ${cfg}`, "", {});
        assert.equal(by.out, "ippool/p\n", by.err);
      });

      const socket = `${world.folder}/run/tortie.sock`;
      let address = "";
      await step("a pod is attached and reached", async () => {
        const added = await world.cni("ADD", "a", conf(socket));
        assert.equal(added.exit, 0, added.out + added.err);
        address = JSON.parse(added.out).ips[0].address.split("/")[0];
        assert.match(address, /^10\.244\.0\./);
        await tool(world.node, "ping", "-c", "1", "-W", "2", address);
        const endpoints = await world.tortie("get wep -A -o wide");
        assert.match(endpoints.out, new RegExp(`node1 +${address.replaceAll(".", "\\.")}/32`));
      });

      await step("a lock is kept: no ADD, no turn, until it is taken away", async () => {
        await setReady(world, false);
        const refused = await world.cni("ADD", "b", conf(socket));
        assert.equal(JSON.parse(refused.out).code, 11, refused.out);
        assert.match(refused.out, /not ready to process requests/);
        await until("it is told", 10_000, async () => {
          return (await world.status()).warnings.some((one: string) => /is locked/.test(one));
        });
        await tool(world.node, "ping", "-c", "1", "-W", "2", address);
        // That ClusterInformation is gone is no word that it is over: neither for pods nor for the kernel.
        await setReady(world, "gone");
        const still = await world.cni("ADD", "b", conf(socket));
        assert.equal(JSON.parse(still.out).code, 11, still.out);
        assert.match(still.out, /not ready to process requests/);
        assert.ok((await world.status()).warnings.some((one: string) => /is locked/.test(one)));
        await setReady(world, true);
        const added = await world.cni("ADD", "b", conf(socket));
        assert.equal(added.exit, 0, added.out);
      });

      await step(
        "the datastore's loss leaves the pods alone, and is over when it is back",
        async () => {
          await member.stop("SIGKILL");
          await tool(world.node, "ping", "-c", "1", "-W", "2", address);
          const refused = await world.cni("ADD", "c", conf(socket));
          assert.equal(JSON.parse(refused.out).code, 11, refused.out);
          // A service that starts meanwhile goes on from what it knew.
          await world.end();
          await world.start();
          await until("it waits", 20_000, async () => {
            await world.status();
            return /cannot register yet/.test(world.log());
          });
          await tool(world.node, "ping", "-c", "1", "-W", "2", address);
          member.start();
          await until("a pod is attached", 30_000, async () => {
            return (await world.cni("ADD", "c", conf(socket))).exit === 0;
          });
        },
      );

      await step(
        "a service that starts beside half-written objects does all that does not hang on them",
        async () => {
          const at = (key: string) => `/calico/resources/v3/projectcalico.org/${key}`;
          const keys = ["nodes/node1", "felixconfigurations/default", "ippools/p"].map(at);
          await writeTexts(world, Object.fromEntries(keys.map((key) => [key, '{"kind":"Half'])));
          await world.end();
          await world.start();
          const errors = async (): Promise<string[]> => (await world.status()).errors ?? [];
          await until("it runs", 30_000, async () => (await world.status()).datastore.ok === true);
          assert.match((await errors()).join(), /not registered: .*nodes\/node1 .*cannot be read/);
          const warnings = (await world.status()).warnings.join("\n");
          for (const key of keys) assert(warnings.includes(`${key}: it is not JSON`), warnings);
          // Policy goes on.
          const reached = () =>
            tool(`${world.id}b`, "ping", "-c", "1", "-W", "1", address).then(
              () => true,
              () => false,
            );
          assert(await reached());
          const denied = "{apiVersion: projectcalico.org/v3, kind: GlobalNetworkPolicy, " +
            "metadata: {name: none}, spec: {selector: all(), types: [Ingress]}}";
          assert.equal((await world.tortie("apply -f -", denied)).exit, 0);
          await until("it is denied", 20_000, async () => !await reached());
          await world.tortie("delete gnp none");
          // What a pod gets depends on the Node; what one gives back does not.
          assert.equal((await world.cni("DEL", "c", conf(socket))).exit, 0);
          const refused = await world.cni("ADD", "c", conf(socket));
          assert.match(JSON.parse(refused.out).msg, /nodes\/node1 .*cannot be read/);
          await writeTexts(world, Object.fromEntries(keys.map((key) => [key, ""])));
          assert.equal((await world.tortie("apply -f -", POOL)).exit, 0);
          await until("it is registered", 30_000, async () => {
            return (await errors()).length === 0 &&
              (await world.tortie("get nodes -o name")).out === "node/node1\n";
          });
          assert.equal((await world.cni("ADD", "c", conf(socket))).exit, 0);
        },
      );

      await step(
        "a half-written IPAM configuration, or pool, is told wherever one looks",
        async () => {
          const reason = /no new pod is given an address: .*is damaged: .*tortie ipam configure/;
          const readiness = () => httpGet(world.node, 9099, "/readiness");
          await writeTexts(world, { "/calico/ipam/v2/config": '{"str' });
          await until("it is told", 20_000, async () => reason.test((await readiness()).body));
          assert.equal((await readiness()).status, 200, "pods that are there have what they need");
          const { errors } = await world.status();
          assert(errors.some((one: string) => reason.test(one)), errors.join("\n"));
          assert.equal((await world.cni("DEL", "c", conf(socket))).exit, 0);
          const refused = await world.cni("ADD", "c", conf(socket));
          assert.equal(JSON.parse(refused.out).code, 104, refused.out);
          const mended = await world.tortie("ipam configure --strictaffinity=false");
          assert.equal(mended.exit, 0, mended.err);
          await until("it is well", 20_000, async () => !reason.test((await readiness()).body));
          assert.equal((await world.cni("ADD", "c", conf(socket))).exit, 0);
          // So is the only pool.
          const pool =
            /no new pod is given an IPv4 address: .*IPPool p cannot be read: it is not JSON/;
          await writeTexts(world, { "/calico/resources/v3/projectcalico.org/ippools/p": '{"str' });
          await until("it is told", 20_000, async () => pool.test((await readiness()).body));
          assert.ok((await world.status()).errors.some((one: string) => pool.test(one)));
          assert.equal((await world.cni("DEL", "c", conf(socket))).exit, 0);
          const poolless = await world.cni("ADD", "c", conf(socket));
          assert.match(JSON.parse(poolless.out).msg, /IPPool p cannot be read: it is not JSON/);
          assert.equal((await world.tortie("apply -f -", POOL)).exit, 0);
          await until("it is well again", 20_000, async () => !pool.test((await readiness()).body));
          assert.equal((await world.cni("ADD", "c", conf(socket))).exit, 0);
        },
      );

      await step(
        "a node whose Node is gone is not ready and makes none, until it begins anew",
        async () => {
          const readiness = () => httpGet(world.node, 9099, "/readiness");
          const node = async () => {
            const { exit, out } = await world.tortie("get node node1 -o json");
            return exit === 0 ? JSON.parse(out) : undefined;
          };
          /** The tunnel's address, where the Node names one that is on record. */
          const tunnel = async () => {
            const ip = (await node())?.spec.ipv4VXLANTunnelAddr;
            if (ip === undefined) return undefined;
            const { out } = await world.tortie(`ipam show --ip ${ip}`);
            return /is in use/.test(out) ? ip : undefined;
          };
          const vxlan = await world.tortie('patch ippool p -p {"spec":{"vxlanMode":"Always"}}');
          assert.equal(vxlan.exit, 0, vxlan.err);
          await until("a tunnel address is on record", 20_000, tunnel);
          const answer = "/tortie/nodes/node1/held";
          const isAnswered = async () => (await readText(world, answer)).includes("asked");
          const isGone = async () => {
            const why =
              /no new pod is given an address: Node node1 is not in the datastore .*restart/;
            await until("it is not ready, and says why", 30_000, async () => {
              const { status, body } = await readiness();
              return status === 503 && why.test(body);
            });
            await until("its status says so", 30_000, async () => {
              const { ready, errors } = await world.status();
              return !ready && errors.some((one: string) => why.test(one));
            });
            const refused = await world.cni("ADD", "d", conf(socket));
            assert.match(JSON.parse(refused.out).msg, /Node\(node1\)/);
            assert.equal(await node(), undefined);
          };
          await world.namespace(`${world.id}d`);
          // As an older copy of the datastore has it: neither the Node nor its answer to the controllers.
          const key = "/calico/resources/v3/projectcalico.org/nodes/node1";
          await writeTexts(world, { [key]: "", [answer]: "" });
          await until("it can be asked", 20_000, isAnswered);
          await isGone();
          // Settings that want a new start begin no new process.
          const port = "patch felixconfiguration default -p ";
          await world.tortie(port + '{"spec":{"vxlanVNI":4097}}');
          await until("it has begun anew", 30_000, () => /want a new start/.test(world.log()));
          await until("it runs", 30_000, async () => (await world.status()).datastore.ok === true);
          await isGone();
          await world.tortie(port + '{"spec":{"vxlanVNI":4096}}');
          // Somebody makes it, without what others must know of it.
          const bare = "{apiVersion: projectcalico.org/v3, kind: Node, metadata: {name: node1}}";
          await until("the Node is made", 20_000, async () => {
            return (await world.tortie("apply -f -", bare)).exit === 0;
          });
          await until("it is ready", 30_000, async () => (await readiness()).status === 200);
          await until("others find it", 30_000, async () => {
            const { bgp } = (await node()).spec;
            return bgp?.ipv4Address.startsWith("10.20.0.1/") && await tunnel();
          });
          assert.equal((await world.cni("ADD", "d", conf(socket))).exit, 0);
          assert.equal((await world.cni("DEL", "d", conf(socket))).exit, 0);
          // Or it is registered by a service that is started again.
          await writeTexts(world, { [key]: "" });
          await isGone();
          await world.end();
          await world.start();
          await until("a tunnel address is on record again", 30_000, tunnel);
          await until("it is ready again", 30_000, async () => (await readiness()).status === 200);
          await world.tortie('patch ippool p -p {"spec":{"vxlanMode":"Never"}}');
          await until("nobody has a tunnel", 20_000, async () => {
            return (await node())?.spec.ipv4VXLANTunnelAddr === undefined;
          });
        },
      );

      await step("without a service DEL and the IPAM plugin work on etcd", async () => {
        await world.end();
        const { ETCD_ENDPOINTS, ETCD_CA_CERT_FILE, ETCD_CERT_FILE, ETCD_KEY_FILE } = cluster.env;
        const keys = {
          datastore_type: "etcdv3",
          etcd_endpoints: ETCD_ENDPOINTS,
          etcd_ca_cert_file: ETCD_CA_CERT_FILE,
          etcd_cert_file: ETCD_CERT_FILE,
          etcd_key_file: ETCD_KEY_FILE,
        };
        const refused = await world.cni("ADD", "a", conf(socket, keys));
        assert.equal(JSON.parse(refused.out).code, 11, "no address without policy");
        const deleted = await world.cni("DEL", "a", conf(socket, keys));
        assert.equal(deleted.exit, 0, deleted.out);
        assert.match(
          (await world.tortie(`ipam show --ip ${address}`)).out,
          /not (assigned|in use)/i,
        );
        const ipam = `${world.folder}/tortie-ipam`;
        await Deno.copyFile(binary(), ipam);
        const plugin = conf(socket, { ...keys, type: "ptp" });
        const given = await world.cni("ADD", "a", plugin, { program: ipam });
        assert.equal(given.exit, 0, given.out);
        const [ip] = JSON.parse(given.out).ips;
        assert.match(ip.address, /^10\.244\.0\.\d+\/26$/);
        assert.equal((await world.cni("DEL", "a", plugin, { program: ipam })).exit, 0);
        for (const pod of ["b", "c"]) {
          assert.equal((await world.cni("DEL", pod, conf(socket, keys))).exit, 0);
        }
        assert.equal((await world.tortie("get wep -A -o name")).out, "");
      });
      await pause(0);
    } finally {
      await world.close();
      await cluster.stop();
      await Deno.remove(tls.folder, { recursive: true });
    }
  },
);

Deno.test(
  "a node that waits for its datastore writes nothing into one of the layout before v3",
  options,
  async () => {
    const cluster = await EtcdCluster.start({ netns: `w${Deno.pid}n`, deferred: true });
    const world = new World(cluster.env);
    const old = "/calico/v1/Ready", ours = "/calico/resources/v3/projectcalico.org/nodes/node1";
    try {
      await world.namespace(world.node);
      await tool(world.node, "ip", "link", "add", "eth0", "type", "veth", "peer", "name", "wire");
      await tool(world.node, "ip", "address", "add", "10.20.0.1/24", "dev", "eth0");
      await tool(world.node, "ip", "link", "set", "eth0", "up");
      cluster.members[0].start();
      await writeTexts(world, { [old]: "true" });
      await world.start({ WAIT_FOR_DATASTORE: "true", CALICO_IPV4POOL_CIDR: "none" });
      await until("it says why it waits", 30_000, async () => {
        const { out } = await world.tortie("node status -o json");
        return out !== "" && /layout of Calico before v3/.test(JSON.parse(out).datastore.error);
      });
      const { status, body } = await httpGet(world.node, 9099, "/readiness");
      assert.equal(status, 503);
      assert.match(body, /waiting for the datastore: .*layout of Calico before v3/);
      assert.match(world.log(), /cannot register yet.*layout of Calico before v3/);
      await pause(3000);
      assert.equal(await readText(world, ours), "");

      await writeTexts(world, { [old]: "" });
      await until("it runs", 30_000, async () => (await world.status()).ready === true);
      assert.notEqual(await readText(world, ours), "");
    } finally {
      await world.close();
      await cluster.stop();
    }
  },
);

/** What stands under a key; empty: nothing. */
function readText(world: World, key: string): Promise<string> {
  return beside(world, "etcd_text_process.ts", key);
}

/** Writes these texts under these keys, or takes the keys away where they are empty. */
async function writeTexts(world: World, texts: Record<string, string>): Promise<void> {
  await beside(world, "etcd_text_process.ts", ...Object.entries(texts).flat());
}

/** Sets datastoreReady as `datastore migrate lock` does, or takes its object away, from a process beside the etcd. */
async function setReady(world: World, ready: boolean | "gone"): Promise<void> {
  await beside(world, "etcd_lock_process.ts", `${ready}`);
}

async function beside(world: World, name: string, ...args: string[]): Promise<string> {
  const script = new URL(`../store/${name}`, import.meta.url).pathname;
  const { success, stdout, stderr } = await new Deno.Command("ip", {
    args: [
      ...[
        "netns",
        "exec",
        world.node,
        Deno.execPath(),
        ...RUN_MODULE,
        script,
      ],
      ...args,
    ],
    env: world.env,
    stdout: "piped",
    stderr: "piped",
  }).output();
  assert(success, decoder.decode(stderr));
  return decoder.decode(stdout);
}
