/** Complaints about the CNI plugin itself: its credentials, and the node's name. */
import assert from "node:assert/strict";
import { runOffline } from "../../cni/offline.ts";
import { CniHarness, missingForCni } from "../cni/harness.ts";
import { serveHttp } from "../../mod/node/http_server.ts";

const missing = missingForCni();
const options = {
  sanitizeResources: false,
  sanitizeOps: false,
  ignore: missing !== undefined,
};

Deno.test(
  `24: the plugin holds no credentials, so none of its own can expire${
    missing ? ` (skipped: ${missing})` : ""
  }`,
  options,
  async () => {
    // calico#4857, #9428, #7220, #6546, #8757: "connection is unauthorized" once the token in
    // calico-kubeconfig is a day old.
    await using h = await CniHarness.start();
    const kubeconfig = `${h.folder}/calico-kubeconfig`;
    await Deno.writeTextFile(kubeconfig, "users:\n- name: calico\n  user: {token: expired}\n");
    const conf = h.conf({
      type: "calico",
      ipam: { type: "calico-ipam" },
      datastore_type: "kubernetes",
      kubernetes: { kubeconfig, k8s_api_root: "https://192.0.2.1:6443" },
      policy: { type: "", k8s_auth_token: "expired" },
      etcd_key_file: `${h.folder}/not-there.pem`,
    });
    const netns = await h.addNamespace();
    // What the process opens is seen by the kernel's own witness. By its front door it opens nothing at all.
    const trace = `${h.folder}/trace`;
    await Deno.writeTextFile(
      `${h.plugins}/traced`,
      `#!/bin/sh\nexec strace -f -e trace=execve,open,openat -o ${trace} ${h.plugins}/calico\n`,
      { mode: 0o755 },
    );
    const added = await h.call({ plugin: "traced", container: "a", netns, conf });
    assert.equal(added.code, 0, added.stdout + added.stderr);
    const opened = await Deno.readTextFile(trace);
    assert.match(opened, /execve\(.*calico/, "the trace is empty");
    assert.doesNotMatch(opened, /calico-kubeconfig|not-there\.pem|serviceaccount/);
    const gone = await h.call({ command: "DEL", plugin: "calico", container: "a", netns, conf });
    assert.equal(gone.code, 0, gone.stdout);
    assert.deepEqual(await h.traces(), []);
  },
);

Deno.test(
  "24: without the service too, an expired token is not what has to be mended",
  options,
  async () => {
    const asked: (string | null)[] = [];
    const api = serveHttp({ port: 0, hostname: "127.0.0.1" }, (request) => {
      asked.push(request.headers.get("authorization"));
      const status = { kind: "Status", apiVersion: "v1", status: "Failure", code: 401 };
      return Response.json({ ...status, reason: "Unauthorized", message: "Unauthorized" }, {
        status: 401,
      });
    });
    const folder = await Deno.makeTempDir();
    try {
      const kubeconfig = `${folder}/calico-kubeconfig`;
      await Deno.writeTextFile(
        kubeconfig,
        JSON.stringify({
          apiVersion: "v1",
          kind: "Config",
          clusters: [{ name: "c", cluster: { server: `http://127.0.0.1:${api.port}` } }],
          users: [{ name: "u", user: { token: "expired" } }],
          contexts: [{ name: "x", context: { cluster: "c", user: "u" } }],
          "current-context": "x",
        }),
      );
      const conf = {
        cniVersion: "1.1.0",
        name: "k8s-pod-network",
        type: "calico",
        datastore_type: "kubernetes",
        kubernetes: { kubeconfig },
        ipam: { type: "calico-ipam" },
        "cni.dev/valid-attachments": [],
      };
      for (const command of ["DEL", "GC"]) {
        const env = {
          CNI_COMMAND: command,
          CNI_CONTAINERID: "a",
          CNI_NETNS: "",
          CNI_IFNAME: "eth0",
          CNI_PATH: "/opt/cni/bin",
          CNI_ARGS: "K8S_POD_NAME=p;K8S_POD_NAMESPACE=d",
        };
        const stdin = new TextEncoder().encode(JSON.stringify(conf));
        const request = { argv0: "calico", env, stdin };
        const { exit, body } = await runOffline(request, {}, "/nowhere.sock", "no such socket");
        assert.equal(exit, 1);
        const { code, msg } = JSON.parse(body);
        // The runtime tries again, and what is said first is what helps.
        assert.equal(code, 11, msg);
        assert.match(
          msg,
          /^The datastore cannot be reached now: no node service answers at .*\. Start it with `systemctl start tortie`: it has credentials of its own\..* refused: /,
        );
      }
      assert(asked.includes("Bearer expired"));
    } finally {
      await api.close();
      await Deno.remove(folder, { recursive: true });
    }
  },
);

Deno.test(
  `39: a node's name is its service's, whatever configuration and files spell${
    missing ? ` (skipped: ${missing})` : ""
  }`,
  options,
  async () => {
    // calico#1093, #1795, #4515, calicoctl#967: nodename with a newline, an FQDN, capitals.
    await using h = await CniHarness.start();
    const node = async () => {
      const listing = await h.store.list<any>(
        "/calico/resources/v3/projectcalico.org/workloadendpoints/",
      );
      return listing.entries.map((e) => e.value.spec.node);
    };
    for (
      const [i, nodename] of ["HARNESS-1\n", "harness-1.example.com", "__KUBERNETES_NODE_NAME__"]
        .entries()
    ) {
      const conf = h.conf({ nodename });
      const { netns } = await h.add({ container: `c${i}`, conf });
      assert.deepEqual(await node(), ["harness-1"]);
      const gone = await h.call({ command: "DEL", container: `c${i}`, netns, conf });
      assert.equal(gone.code, 0, gone.stdout);
    }
    // Without the service the plugin reads the name that it wrote down, as somebody may have edited it.
    const added = await h.add({ container: "last" });
    await h.killService();
    await Deno.writeTextFile(`${h.folder}/nodename`, "  Harness-1 \r\n");
    const gone = await h.call({ command: "DEL", container: "last", netns: added.netns });
    assert.equal(gone.code, 0, gone.stdout);
    await h.startService();
    assert.deepEqual(await h.traces(), []);
  },
);
