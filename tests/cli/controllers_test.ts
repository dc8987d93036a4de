/** `controllers run` as a process: its probes, its end, its successor, and a datastore that goes away. */
import assert from "node:assert/strict";
import { LEASE_KEY } from "../../mod/controllers/lease.ts";
import { kubeControllersConfigurationKind } from "../../mod/model/kube_controllers_configuration.ts";
import { profileKind } from "../../mod/model/profile.ts";
import { remoteStore } from "../../mod/store/remote.ts";
import { Resources } from "../../mod/store/resources.ts";
import { EtcdCluster } from "../store/etcd_server.ts";
import { startCalico } from "../store/kubernetes_harness.ts";
import { command } from "./harness.ts";
import { RUN_MODULE } from "../tools/run_module.ts";

const ROOT = new URL("../../", import.meta.url).pathname;
const options = { sanitizeResources: false, sanitizeOps: false };

/** The built executable where there is one, else the program from its source. */
function program(): [string, string[]] {
  const binary = Deno.env.get("TORTIE_BINARY");
  const source = [...RUN_MODULE, `${ROOT}main.ts`];
  try {
    if (binary && Deno.statSync(binary)) return [binary, []];
  } catch {
    // Not built.
  }
  return [Deno.execPath(), source];
}

class Processes {
  readonly folder = Deno.makeTempDirSync({ prefix: "tortie-controllers-" });
  readonly #children: Deno.ChildProcess[] = [];

  start(args: string[], env: Record<string, string> = {}): Deno.ChildProcess {
    const [path, own] = program();
    const child = new Deno.Command(path, {
      args: [...own, ...args],
      env: {
        TORTIE_STATE_DIR: this.folder,
        TORTIE_RUN_DIR: this.folder,
        TORTIE_STORE: args[0] === "datastore" ? "" : `${this.folder}/store.sock`,
        NO_COLOR: "1",
        ...env,
      },
      cwd: ROOT,
      stdin: "null",
      stdout: "null",
      stderr: "null",
    }).spawn();
    this.#children.push(child);
    return child;
  }

  async close(): Promise<void> {
    for (const child of this.#children) {
      try {
        child.kill("SIGKILL");
      } catch {
        // Ended already.
      }
      await child.status;
    }
    await Deno.remove(this.folder, { recursive: true });
  }
}

async function until(what: string, is: () => Promise<boolean>): Promise<void> {
  for (let i = 0; i < 1200; i++) {
    if (await is().catch(() => false)) return;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  assert.fail(what);
}

async function get(port: number, path: string): Promise<[number, string]> {
  const response = await fetch(`http://127.0.0.1:${port}${path}`);
  return [response.status, await response.text()];
}

Deno.test(
  "controllers run: probes, SIGTERM, kill -9, a store that goes and comes",
  options,
  async () => {
    const processes = new Processes();
    const socket = `${processes.folder}/store.sock`;
    const store = remoteStore(socket);
    const resources = new Resources(store);
    const [a, b] = [19097, 19098];
    const controllers = (port: number) =>
      processes.start(["controllers", "run"], {
        TORTIE_CONTROLLERS_HEALTH_PORT: `${port}`,
        TORTIE_CONTROLLERS_LEASE_SECONDS: "3",
      });
    const holder = async () => (await store.get<any>(LEASE_KEY))?.value.spec.holderIdentity;
    try {
      // The datastore comes later: it is waited for.
      const first = controllers(a);
      let served = processes.start(["datastore", "serve"]);
      await until("the first is ready", async () => (await get(a, "/readiness"))[1] === "ready\n");
      assert.deepEqual(await get(a, "/liveness"), [200, "ok\n"]);
      const leader = await holder();
      const same = processes.start(["controllers", "run"], {
        TORTIE_CONTROLLERS_HEALTH_PORT: `${a}`,
      });
      assert.equal((await same.status).code, 1);
      // The metrics' port follows the configuration.
      await until(
        "the configuration is made",
        async () => await resources.get(kubeControllersConfigurationKind, "default") !== undefined,
      );
      await resources.modify(kubeControllersConfigurationKind, "default", undefined, (stored) => ({
        ...stored,
        spec: { ...stored.spec, prometheusMetricsPort: 19094 },
      }));
      await until(
        "metrics",
        async () => (await get(19094, "/metrics"))[1].includes("controllers_leading 1"),
      );

      const second = controllers(b);
      await until(
        "the second stands by",
        async () => (await get(b, "/readiness"))[1].startsWith("standing by"),
      );
      // Told to end, the first gives the lease up: the second leads at once.
      first.kill("SIGTERM");
      assert.equal((await first.status).code, 0);
      await until("the second leads", async () => (await get(b, "/readiness"))[1] === "ready\n");
      assert.notEqual(await holder(), leader);

      // Killed, the second is followed when its lease has run out.
      const third = controllers(a);
      await until(
        "the third stands by",
        async () => (await get(a, "/readiness"))[1].startsWith("standing by"),
      );
      second.kill("SIGKILL");
      await second.status;
      await until("the third leads", async () => (await get(a, "/readiness"))[1] === "ready\n");

      // The datastore goes, and comes back.
      served.kill("SIGKILL");
      await served.status;
      await until("the outage is told", async () => (await get(a, "/readiness"))[0] === 503);
      assert.equal((await get(a, "/liveness"))[0], 200);
      served = processes.start(["datastore", "serve"]);
      await until("all is well again", async () => (await get(a, "/readiness"))[1] === "ready\n");
      third.kill("SIGTERM");
      assert.equal((await third.status).code, 0);
      assert.equal(await holder(), undefined);
    } finally {
      await store.close();
      await processes.close();
    }
  },
);

Deno.test("controllers run: called wrongly", async () => {
  const { exit, err } = await command(["controllers", "run", "--log-level", "loud"]);
  assert.equal(exit, 2);
  assert.match(err, /the log level "loud" is not one of debug, info, warning, error/);
});

Deno.test("controllers run --kubeconfig: an etcd, and the cluster beside it", options, async () => {
  const processes = new Processes();
  const [kube, etcd] = [await startCalico({ bookmarks: 0 }), await EtcdCluster.start()];
  const store = await etcd.open();
  try {
    const file = `${processes.folder}/kubeconfig`;
    await Deno.writeTextFile(file, kube.kubeconfig());
    const made = await kube.call("POST", "/api/v1/namespaces", {
      apiVersion: "v1",
      kind: "Namespace",
      metadata: { name: "blue", labels: { team: "x" } },
    });
    assert.equal(made.status, 201);
    const port = 19099;
    const env = { ...etcd.env, TORTIE_STORE: "", TORTIE_CONTROLLERS_HEALTH_PORT: `${port}` };
    // Named by the option, by KUBECONFIG, and while the API is away.
    const named = processes.start(["controllers", "run", "--kubeconfig", file], env);
    const profile = async () => (await new Resources(store).get(profileKind, "kns.blue"))?.spec;
    await until("the profile", async () => await profile() !== undefined);
    assert.equal((await profile())!.labelsToApply!["pcns.team"], "x");
    named.kill("SIGTERM");
    assert.equal((await named.status).code, 0);
    await kube.stop();
    const inherited = processes.start(["controllers", "run"], { ...env, KUBECONFIG: file });
    await until(
      "it says so",
      async () => /Kubernetes API/.test((await get(port, "/readiness"))[1]),
    );
    await kube.start();
    await until("it goes on", async () => (await get(port, "/readiness"))[1] === "ready\n");
    inherited.kill("SIGTERM");
    assert.equal((await inherited.status).code, 0);
  } finally {
    await processes.close();
    await store.close();
    await etcd.stop();
    await kube.close();
  }
});
