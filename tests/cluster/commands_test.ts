/** The executable's commands as a user types them, against a lab that runs. */
import assert from "node:assert/strict";
import { binary, pod, until, withLab } from "./harness.ts";

const options = { sanitizeResources: false, sanitizeOps: false };

Deno.test("commands show what runs", options, async (t) => {
  await withLab({ subnets: "2" }, async (lab) => {
    const [node1] = lab.record.layout.nodes;
    const [a] = await lab.run(pod("a", { ports: [80] }), { node: "node1" });
    const [b] = await lab.run(pod("b", { ports: [80] }), { node: "node2" });
    const tortie = async (args: string[], stdin = "") => {
      const child = new Deno.Command(binary(), {
        args,
        env: {
          TORTIE_STORE: lab.record.layout.storeSocket,
          TORTIE_RUN_DIR: `${node1.directory}/run`,
        },
        stdin: "piped",
        stdout: "piped",
        stderr: "piped",
      }).spawn();
      const writer = child.stdin.getWriter();
      await writer.write(new TextEncoder().encode(stdin));
      await writer.close();
      const { code, stdout, stderr } = await child.output();
      const text = (bytes: Uint8Array) => new TextDecoder().decode(bytes);
      return { code, stdout: text(stdout), stderr: text(stderr) };
    };

    await t.step("node status", async () => {
      const { code, stdout } = await tortie(["node", "status"]);
      assert.equal(code, 0);
      assert.match(stdout, /10\.10\.1\.12 .*node-to-node mesh .*up/);
      assert.match(stdout, new RegExp(`default .*a .*cali.* ${a.addresses[0]}/32 .*up`));
      const json = JSON.parse((await tortie(["node", "status", "-o", "json"])).stdout);
      assert.equal(json.node, "node1");
    });

    await t.step("bgp peers and routes", async () => {
      assert.match((await tortie(["bgp", "peers"])).stdout, /10\.10\.1\.12 .*Established/i);
      const { stdout } = await tortie(["bgp", "routes"]);
      assert.match(stdout, /10\.244\.\d+\.\d+\/26/);
      assert.match(stdout, /10\.10\.1\.12/);
    });

    await t.step("bgp refresh", async () => {
      const received = async () =>
        JSON.parse((await tortie(["bgp", "peers", "-o", "json"])).stdout)[0].messages.received;
      const before = await received();
      const { code, stdout } = await tortie(["bgp", "refresh", "10.10.1.12"]);
      assert.equal(code, 0);
      assert.equal(stdout, "10.10.1.12 (Mesh_10_10_1_12): asked for its ipv4 routes\n");
      // Begin, the block, end.
      await until("node2's answer", 10_000, async () => await received() >= before + 3);
      const nobody = await tortie(["bgp", "refresh", "10.10.1.99"]);
      assert.equal(nobody.code, 1);
      assert.match(nobody.stderr, /"10\.10\.1\.99" is neither address nor name of a peer/);
    });

    await t.step("ipam show", async () => {
      const { stdout } = await tortie(["ipam", "show", "--show-blocks"]);
      assert.match(stdout, /IP Pool.*10\.244\.0\.0\/16/);
      assert.match(stdout, /Block.*10\.244\.\d+\.\d+\/26/);
      const one = await tortie(["ipam", "show", "--ip", a.addresses[0]]);
      assert.match(one.stdout, /in use/);
      assert.match(one.stdout, /k8s-pod-network\./);
    });

    await t.step("get shows the endpoint with its pod's labels, which follow the pod", async () => {
      const get = async () => {
        const said = await tortie(["get", "wep", "-o", "json"]);
        const weps = JSON.parse(said.stdout);
        return (Array.isArray(weps) ? weps : weps.items ?? [weps])
          .find((w: any) => w.spec.pod === "a").metadata.labels.app;
      };
      assert.equal(await get(), "a");
      assert.equal((await tortie(["label", "pod", "a", "app=z", "--overwrite"])).code, 0);
      for (let i = 0; i < 100 && await get() !== "z"; i++) {
        await new Promise((r) => setTimeout(r, 50));
      }
      assert.equal(await get(), "z", "the node writes the copy in its WorkloadEndpoint");
    });

    await t.step("policy explain names the rule that decides", async () => {
      const deny = {
        apiVersion: "networking.k8s.io/v1",
        kind: "NetworkPolicy",
        metadata: { name: "no-b", namespace: "default" },
        spec: { podSelector: { matchLabels: { app: "b" } }, policyTypes: ["Ingress"] },
      };
      const ask = ["policy", "explain", "--from", "default/a", "--to", "default/b"];
      assert.match((await tortie([...ask, "--port", "80/tcp"])).stdout, /allow/i);
      assert.equal((await tortie(["apply", "-f", "-"], JSON.stringify(deny))).code, 0);
      const { stdout } = await tortie([...ask, "--port", "80/tcp"]);
      assert.match(stdout, /den(y|ied)|drop/i);
      assert.match(stdout, /no-b/);
      assert.match((await tortie(["get", "knp"])).stdout, /no-b/);
      assert.doesNotMatch((await tortie(["get", "networkpolicy"])).stdout, /no-b/);
    });

    await t.step("a broken document in the middle: nothing of the file is written", async () => {
      const pool = (name: string, cidr: string) =>
        `apiVersion: projectcalico.org/v3\nkind: IPPool\nmetadata: {name: ${name}}\n` +
        `spec: {cidr: ${cidr}}\n`;
      const file = [
        pool("one", "10.60.0.0/16"),
        "kind: IPPool\nmetadata: {name: [\n",
        pool("two", "10.61.0.0/16"),
      ].join("---\n");
      const broken = await tortie(["apply", "-f", "-"], file);
      assert.notEqual(broken.code, 0);
      assert.match(broken.stderr, /standard input:\d+/);
      const wrong = [
        pool("one", "10.60.0.0/16"),
        pool("bad", "10.60.0.1/16"),
        pool("two", "10.61.0.0/16"),
      ].join("---\n");
      const refused = await tortie(["apply", "-f", "-"], wrong);
      assert.notEqual(refused.code, 0);
      assert.match(refused.stderr, /document 2.*"bad".*10\.60\.0\.0\/16/);
      assert.doesNotMatch((await tortie(["get", "ippool"])).stdout, /one|two|bad/);
    });

    await t.step("nobody answers: exit code 3 and what to do", async () => {
      const { code, stderr } = await new Deno.Command(binary(), {
        args: ["get", "nodes"],
        env: { TORTIE_STORE: "/nowhere/store.sock" },
        stdout: "piped",
        stderr: "piped",
      }).output();
      assert.equal(code, 3);
      assert.match(new TextDecoder().decode(stderr), /\/nowhere\/store\.sock/);
    });
    assert.ok(b);
  });
});
