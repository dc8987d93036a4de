/**
 * The conformance suite on the kubernetes driver: against the API server of the tests, or, with
 * `deno task test:kubernetes`, against the cluster of $KUBECONFIG, which nobody else may write to. Once with any keys and values, kept
 * as text, and once with what a kind's own rules and schema take.
 */
import { type Need, storeConformance, type Subject } from "../../mod/store/conformance.ts";
import { openKubernetes } from "../../mod/store/kubernetes/mod.ts";
import type { Store } from "../../mod/store/store.ts";
import { Relay } from "./relay.ts";
import {
  type Form,
  openStore,
  plainForm,
  REAL,
  startCalico,
  TEXTS,
  Wrapped,
} from "./kubernetes_harness.ts";

const NO_TTL = "the Kubernetes API has no time to live; Calico stores no such key there";
const NO_SUCH_VALUE = "its values are none that the kind's schema takes";
const NO_SUCH_NAME = "its names are none that Kubernetes takes";
const NO_COMPACTION = "a real cluster's history is not ours to compact";

async function open(form: Form): Promise<Subject> {
  if (REAL) {
    const openReal = async () => new Wrapped(await openKubernetes({ kubeconfig: REAL }), form);
    const store = await openReal();
    return {
      store,
      compact: () => Promise.reject(new Error(NO_COMPACTION)),
      async close() {
        const cleaner = await openReal();
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
    const store = new Wrapped(await openStore(kube, {}, config), form);
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
        const other = new Wrapped(await openStore(kube), form);
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

// A real cluster stands behind no relay of ours.
const has: readonly Need[] = REAL ? [] : ["reopen", "breakConnection", "outage", "backUp"];

const except = {
  "an entry with a time to live goes away, as a deletion": NO_TTL,
  "a time to live ends also while the store is closed": NO_TTL,
  "keys and values that cannot be held are refused":
    "a key is a Kubernetes name of at most 253 characters; kubernetes_test.ts says what is refused",
  ...(REAL && {
    "a watch from before the log is told so": NO_COMPACTION,
    "a reader that falls behind misses nothing, or is told that it did": NO_COMPACTION,
  }),
};

storeConformance("kubernetes", () => open(TEXTS), { has, except });

storeConformance("kubernetes, sets of networks", () => open(plainForm("globalnetworksets")), {
  has,
  // Names have no slash.
  key: (name) => `/calico/test/${name.replaceAll("/", ".")}`,
  value: (n) => ({
    nets: ["192.0.2.0/24", `2001:db8::${(n >>> 16).toString(16)}:${(n & 0xffff).toString(16)}`],
  }),
  except: {
    ...except,
    "values come back as they were written, members in their order": NO_SUCH_VALUE,
    "integers beyond 2^53 stay exact": NO_SUCH_VALUE,
    "what a caller does to a value changes nothing in the store": NO_SUCH_VALUE,
    "large values are kept whole, too large ones are refused": NO_SUCH_VALUE,
    "large values are told in full": NO_SUCH_VALUE,
    "increments by compare-and-swap are all counted": NO_SUCH_VALUE,
    "an opened store holds what it held, and its history": NO_SUCH_VALUE,
    "keys of all kinds are kept apart": NO_SUCH_NAME,
    "a list holds what begins with the prefix, ordered by key": NO_SUCH_NAME,
    "ten thousand objects are written, listed and deleted": NO_SUCH_NAME,
  },
});
