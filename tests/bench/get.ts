/**
 * `get` of 1,000 endpoints as a whole process, from each datastore, beside etcdctl's get of the same
 * keys from the same etcd in the same run.
 *
 *     deno task bench get
 */
import { binary } from "../cluster/harness.ts";
import { ETCD_NOTE } from "../store/etcd_server.ts";
import { NAMES, putEndpoints, startDatastore } from "./datastores.ts";
import { interleave, ms, type Outcome, ratio, spread, timed } from "./report.ts";

const ENDPOINTS = 1000, ROUNDS = 10;

/** Runs it; what it printed is counted, so that nothing less than all was got. */
async function got(
  path: string,
  words: string[],
  env: Record<string, string>,
  word: string,
) {
  const { success, stdout, stderr } = await new Deno.Command(path, {
    args: words,
    env: { PATH: Deno.env.get("PATH") ?? "", ...env },
    clearEnv: true,
    stdin: "null",
    stdout: "piped",
    stderr: "piped",
  }).output();
  const decoder = new TextDecoder();
  if (!success) throw new Error(`${path} ${words.join(" ")}: ${decoder.decode(stderr)}`);
  const count = decoder.decode(stdout).split(word).length - 1;
  if (count !== ENDPOINTS) throw new Error(`${path} ${words.join(" ")}: ${count} endpoints`);
}

export async function run(): Promise<Outcome> {
  const stores = [];
  try {
    const candidates: Record<string, () => Promise<number>> = {};
    for (const name of NAMES) {
      const datastore = await startDatastore(name);
      stores.push(datastore);
      const store = await datastore.open();
      await putEndpoints(store, 0, ENDPOINTS);
      await store.close();
      if (datastore.endpoint) {
        const words = ["--endpoints", datastore.endpoint, "get", "--prefix"];
        const prefix = "/calico/resources/v3/projectcalico.org/workloadendpoints/";
        candidates["etcdctl get --prefix"] = () =>
          timed(() =>
            got(
              "/usr/bin/etcdctl",
              [...words, prefix],
              { ETCDCTL_API: "3" },
              '"orchestrator":"k8s"',
            )
          );
      }
      const outputs = { json: '"kind": "WorkloadEndpoint"', name: "workloadendpoint/" };
      for (const [output, word] of Object.entries(outputs)) {
        const words = ["get", "workloadendpoints", "-A", "-o", output];
        candidates[`${name}, -o ${output}`] = () =>
          timed(() => got(binary(), words, datastore.env, word));
      }
    }
    // The servers have their texts and the disk its pages.
    for (const candidate of Object.values(candidates)) await candidate();
    const times = await interleave(ROUNDS, candidates);
    const peer = spread(times["etcdctl get --prefix"]);
    return {
      tables: [{
        title: `get of ${ENDPOINTS} endpoints, the whole process, ms; the peer is etcdctl`,
        columns: ["", "least", "ratio", "p50", "ratio"],
        rows: Object.entries(times).map(([name, all]) => {
          const { min, p50 } = spread(all);
          return [name, ms(min), ratio(min, peer.min), ms(p50), ratio(p50, peer.p50)];
        }),
        notes: [ETCD_NOTE],
      }],
    };
  } finally {
    for (const datastore of stores) await datastore.close();
  }
}
