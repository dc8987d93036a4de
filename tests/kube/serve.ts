/**
 * The Kubernetes API of the tests as a program, for labs whose parts are processes of their own:
 *
 *     deno run -A tests/kube/serve.ts [--port N] [--host ADDRESS] [--advertise ADDRESS] [--folder DIR]
 *                                     [--calico]
 *
 * Serves until it is told to end (SIGTERM, SIGINT). In the folder (a new one, where none is named) stand
 * `kubeconfig` (the admin's) and `ca.crt`; one line on standard output says where, once it serves.
 * `--advertise` is the address by which the kubeconfig finds the server, where that is not the one to
 * listen on. `--calico` serves Calico's kinds and ClusterNetworkPolicy too.
 */
import { parseArgs } from "node:util";
import { calicoDefinitions, clusterNetworkPolicyDefinition } from "./calico_definitions.ts";
import { startKube } from "./kube.ts";

const { values } = parseArgs({
  args: Deno.args,
  options: {
    port: { type: "string", default: "0" },
    host: { type: "string", default: "127.0.0.1" },
    advertise: { type: "string" },
    folder: { type: "string" },
    calico: { type: "boolean", default: false },
  },
});

const kube = await startKube({
  host: values.host,
  port: Number(values.port),
  advertise: values.advertise,
});
if (values.calico) await kube.crds([...calicoDefinitions(), clusterNetworkPolicyDefinition()]);
const folder = values.folder ?? await Deno.makeTempDir({ prefix: "kube-" });
await Deno.mkdir(folder, { recursive: true });
await Deno.writeTextFile(`${folder}/kubeconfig`, kube.kubeconfig(), { mode: 0o600 });
await Deno.writeTextFile(`${folder}/ca.crt`, kube.ca);
console.log(`KUBECONFIG=${folder}/kubeconfig`);

const ended = new Promise<void>((resolve) => {
  for (const signal of ["SIGTERM", "SIGINT"] as const) {
    Deno.addSignalListener(signal, () => resolve());
  }
});
await ended;
await kube.close();
Deno.exit(0);
