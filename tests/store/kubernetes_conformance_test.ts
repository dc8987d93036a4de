/**
 * The conformance suite on the kubernetes driver: against the API server of the tests, or, with
 * `deno task test:kubernetes`, against the cluster of $KUBECONFIG, which nobody else may write to.
 */
import { storeConformance } from "../../mod/store/conformance.ts";
import { openKubernetes } from "../../mod/store/kubernetes/mod.ts";
import type { Store } from "../../mod/store/store.ts";
import { Relay } from "./relay.ts";
import { openStore, REAL, startCalico, Wrapped } from "./kubernetes_harness.ts";

const NO_TTL = "the Kubernetes API has no time to live; Calico stores no such key there";
const NO_COMPACTION = "a real cluster's history is not ours to compact";

async function open() {
  if (REAL) {
    const store = new Wrapped(await openKubernetes({ kubeconfig: REAL }));
    return {
      store,
      compact: () => Promise.reject(new Error(NO_COMPACTION)),
      async close() {
        const cleaner = new Wrapped(await openKubernetes({ kubeconfig: REAL }));
        await cleaner.clear();
        await cleaner.close();
        await store.close();
      },
    };
  }
  const kube = await startCalico();
  const local = { transport: "tcp", hostname: "127.0.0.1" } as const;
  const relay = new Relay({ ...local, port: 0 }, { ...local, port: kube.port });
  const config = { apiEndpoint: `https://127.0.0.1:${relay.port}` };
  const opened: Wrapped[] = [];
  const reopen = async () => {
    const store = new Wrapped(await openStore(kube, {}, config));
    opened.push(store);
    return store;
  };
  return {
    store: await reopen(),
    reopen,
    breakConnection: (when: "now" | "answer") => relay.breakConnection(when),
    outage: async () => {
      await relay.goAway();
      return () => Promise.resolve(relay.comeBack());
    },
    backUp: () => {
      const copy = kube.snapshot();
      return Promise.resolve(async (others: (store: Store) => Promise<void>) => {
        await relay.goAway();
        await kube.stop();
        await kube.start(copy);
        const other = new Wrapped(await openStore(kube));
        await others(other);
        await other.close();
        relay.comeBack();
      });
    },
    compact: () => Promise.resolve(kube.compact()),
    async close() {
      for (const store of opened) await store.close();
      relay.close();
      await kube.close();
    },
  };
}

storeConformance("kubernetes", open, {
  // A real cluster stands behind no relay of ours.
  has: REAL ? [] : ["reopen", "breakConnection", "outage", "backUp"],
  except: {
    "an entry with a time to live goes away, as a deletion": NO_TTL,
    "a time to live ends also while the store is closed": NO_TTL,
    "keys and values that cannot be held are refused":
      "a key is a Kubernetes name of at most 253 characters; kubernetes_test.ts says what is refused",
    ...(REAL && {
      "a watch from before the log is told so": NO_COMPACTION,
      "a reader that falls behind misses nothing, or is told that it did": NO_COMPACTION,
    }),
  },
});
