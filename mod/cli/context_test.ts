import assert from "node:assert/strict";
import type { DatastoreLocation } from "../store/location.ts";
import type { Call } from "./command.ts";
import { kubeconfigAlone, locateStore } from "./context.ts";
import type { Io } from "./io.ts";
import type { Program } from "./voice.ts";

interface Asked {
  readonly env?: Record<string, string>;
  readonly config?: string;
  readonly context?: string;
  readonly program?: Program;
}

/** On a machine without configuration files: kinds of the datastores that are tried, and who named them. */
async function places(folder: string, { env = {}, config, context, program = "tortie" }: Asked) {
  const all: Record<string, string> = {
    TORTIE_RUN_DIR: folder,
    TORTIE_STATE_DIR: folder,
    HOME: folder,
    ...env,
  };
  const io = { env: (name: string) => all[name] } as Io;
  const options = { ...config && { config }, ...context && { context } };
  const call: Call = { args: [], options, io, program };
  const node = await kubeconfigAlone(io, program);
  const found = await locateStore(call);
  return { said: found.map(({ location, from }) => `${location.kind}: ${from}`), found, node };
}

function kubeconfigOf(location: DatastoreLocation | undefined): string | undefined {
  return location?.kind === "kubernetes" ? location.kubeconfig : undefined;
}

Deno.test("a kubeconfig that is named means Kubernetes, without a type beside it", async () => {
  const folder = await Deno.makeTempDir({ prefix: "tortie-where-" });
  try {
    const config = `${folder}/calicoctl.cfg`;
    await Deno.writeTextFile(
      config,
      "apiVersion: projectcalico.org/v3\nkind: CalicoAPIConfig\nmetadata:\nspec:\n  kubeconfig: /k\n",
    );
    const own = ["socket: the node's socket", "kv: the embedded store"];
    const file = await places(folder, { config });
    assert.deepEqual(file.said, [`kubernetes: -c ${config}`]);
    assert.equal(kubeconfigOf(file.found[0].location), "/k");

    const env = { KUBECONFIG: "/k" };
    const alone = await places(folder, { env });
    assert.deepEqual(alone.said, ["kubernetes: KUBECONFIG"]);
    assert.equal(kubeconfigOf(alone.found[0].location), "/k");
    assert.equal(kubeconfigOf(alone.node), "/k");
    // What else names a datastore counts before it.
    const etcd = await places(folder, { env: { ...env, ETCD_ENDPOINTS: "http://e:1" } });
    assert.deepEqual([etcd.said, etcd.node], [["etcd: the environment"], undefined]);
    const kv = await places(folder, { env: { ...env, DATASTORE_TYPE: "kv" } });
    assert.deepEqual([kv.said, kv.node], [own, undefined]);

    // With nothing named, the cluster of kubectl comes last.
    assert.deepEqual((await places(folder, {})).said, own);
    await Deno.mkdir(`${folder}/.kube`);
    await Deno.writeTextFile(`${folder}/.kube/config`, "{}");
    const home = await places(folder, {});
    assert.deepEqual(home.said, [...own, "kubernetes: the default"]);
    assert.equal(kubeconfigOf(home.found[2].location), `${folder}/.kube/config`);
    assert.equal(home.node, undefined, "a node service never goes by it");

    // An embedded store must not seem gone because kubectl has been set up.
    await Deno.writeTextFile(`${folder}/store.kv`, "");
    const embedded = await places(folder, { env });
    assert.deepEqual(embedded.said, own);
    assert.equal(embedded.node, undefined);
    const calicoctl = await places(folder, { env, program: "calicoctl" });
    assert.deepEqual(calicoctl.said, ["kubernetes: KUBECONFIG"]);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test("as calicoctl a context chooses of the Kubernetes API, and never another datastore", async () => {
  const folder = await Deno.makeTempDir({ prefix: "tortie-where-" });
  try {
    const [program, context] = ["calicoctl", "q"] as const;
    const etcd = { DATASTORE_TYPE: "etcdv3", ETCD_ENDPOINTS: "http://e:1", KUBECONFIG: "/k" };
    const asked = async (more: Asked) => {
      const { said, found } = await places(folder, { program, context, ...more });
      const [{ location }] = found;
      return [said[0], location.kind === "kubernetes" && location.context];
    };
    assert.deepEqual(await asked({ env: etcd }), ["etcd: the environment", false]);
    assert.deepEqual(
      await asked({ env: { ...etcd, TORTIE_STORE: `kv:${folder}/x.kv` } }),
      ["kv: TORTIE_STORE", false],
    );
    const file = `${folder}/etcd.cfg`;
    await Deno.writeTextFile(file, "etcdEndpoints: http://e:1\n");
    assert.deepEqual(await asked({ config: file }), [`etcd: -c ${file}`, false]);
    const named = `${folder}/kubernetes.cfg`;
    await Deno.writeTextFile(named, "kubeconfig: /k\n");
    assert.deepEqual(await asked({ config: named, env: etcd }), [`kubernetes: -c ${named}`, "q"]);
    // So is the file of whatever names one by itself.
    const { found: [{ location }] } = await places(folder, {
      ...{ program, context },
      env: { TORTIE_STORE: "kubernetes:/k1", KUBECONFIG: "/k2" },
    });
    assert.equal(kubeconfigOf(location), "/k1");
    assert.equal(location.kind === "kubernetes" && location.context, "q");
    // The Kubernetes API that is named anyway, and that of kubectl where nothing is.
    const environments: Record<string, string>[] = [{ KUBECONFIG: "/k" }, {
      DATASTORE_TYPE: "kubernetes",
    }, {}];
    for (const env of environments) {
      assert.deepEqual(await asked({ env }), ["kubernetes: --context q", "q"]);
    }
    // tortie's own says where the datastore is.
    assert.deepEqual(await asked({ env: etcd, program: "tortie" }), [
      "kubernetes: --context q",
      "q",
    ]);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});
