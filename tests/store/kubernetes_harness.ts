/**
 * What the tests of the kubernetes driver run against: the API server of the tests, in this process,
 * with Calico's CRDs; and the conformance suite's keys and values as custom resources. A key's name
 * becomes the hexadecimal of its bytes, which keeps order and prefixes, and a value becomes the text of
 * one field, with a number beside it that makes each write differ from the last: a write that changes
 * nothing is none to the API.
 */
import { type Kube, type KubeOptions, startKube } from "../kube/kube.ts";
import {
  type KubernetesConfig,
  type KubernetesOptions,
  openKubernetes,
} from "../../mod/store/kubernetes/mod.ts";
import type { KubernetesStore } from "../../mod/store/kubernetes/store.ts";
import { parseJson, printJson } from "../../mod/store/json.ts";
import {
  type Entry,
  type Store,
  StoreError,
  type WatchEvent,
  type WatchOptions,
  type WriteOptions,
} from "../../mod/store/store.ts";
import { calicoDefinitions } from "../kube/calico_definitions.ts";

/** The kubeconfig of a real cluster with Calico's CRDs, where the tests are to run against one. */
export const REAL = Deno.env.get("TORTIE_TEST_KUBERNETES")
  ? Deno.env.get("TORTIE_TEST_KUBECONFIG") || Deno.env.get("KUBECONFIG")
  : undefined;

export async function startCalico(options: KubeOptions = {}): Promise<Kube> {
  const kube = await startKube(options);
  await Promise.all(calicoDefinitions().map((definition) => kube.crds([definition])));
  return kube;
}

export function openStore(
  kube: Kube,
  options: KubernetesOptions = {},
  config: KubernetesConfig = {},
): Promise<Store> {
  return openKubernetes({ kubeconfigInline: kube.kubeconfig(), ...config }, options);
}

/** Names of each run are its own, so that a cluster that is shared stays as it was. */
const RUN = `t${crypto.randomUUID().slice(0, 8)}`;
const LABEL = "test.projectcalico.org/run";
const INSIDE = `/calico/resources/v3/projectcalico.org/clusterinformations/${RUN}`;
const OUTSIDE = "/calico/test/";

/** The suite's keys and values on a store that holds v3 objects. */
export class Wrapped implements Store {
  #writes = 0;

  constructor(readonly inner: Store) {}

  /** Takes away what the suite has left, all at once, by its label. */
  async clear(): Promise<void> {
    await (this.inner as KubernetesStore).api.connection.text({
      method: "DELETE",
      path: "/apis/crd.projectcalico.org/v1/clusterinformations?labelSelector=" +
        encodeURIComponent(`${LABEL}=${RUN}`),
      request: { verb: "deletecollection", group: "", resource: "clusterinformations" },
    });
  }

  async get<T>(key: string) {
    const entry = await this.inner.get(wrapKey(key));
    return entry && unwrap<T>(entry);
  }

  async list<T>(prefix: string) {
    const { entries, revision } = await this.inner.list(wrapKey(prefix));
    return { entries: entries.map((entry) => unwrap<T>(entry)), revision };
  }

  create(key: string, value: unknown, options?: WriteOptions) {
    return this.#told(key, () => this.inner.create(wrapKey(key), this.#wrap(key, value), options));
  }

  update(key: string, value: unknown, revision: string, options?: WriteOptions) {
    return this.#told(
      key,
      () => this.inner.update(wrapKey(key), this.#wrap(key, value), revision, options),
    );
  }

  put(key: string, value: unknown, options?: WriteOptions) {
    return this.#told(key, () => this.inner.put(wrapKey(key), this.#wrap(key, value), options));
  }

  delete(key: string, revision?: string) {
    return this.#told(key, () => this.inner.delete(wrapKey(key), revision));
  }

  async *watch<T>(prefix: string, options: WatchOptions): AsyncGenerator<WatchEvent<T>> {
    for await (const event of this.inner.watch(wrapKey(prefix), options)) {
      const key = unwrapKey(event.key);
      if (event.type === "delete") yield { ...event, key };
      else yield { type: "put", ...unwrap<T>(event) };
    }
  }

  close() {
    return this.inner.close();
  }

  #wrap(key: string, value: unknown): unknown {
    let text: string | undefined;
    try {
      text = printJson({ n: ++this.#writes, value: value ?? refuse(key) });
    } catch (error) {
      if (value === null) text = printJson({ n: this.#writes, value });
      else if (error instanceof StoreError) throw error;
      else throw new StoreError("invalid", `the value of ${key} is not JSON`, key);
    }
    if (typeof value === "function" || typeof value === "symbol") refuse(key);
    return { metadata: { name: "", labels: { [LABEL]: RUN } }, spec: { clusterType: text } };
  }

  async #told<T>(key: string, run: () => Promise<T>): Promise<T> {
    try {
      return await run();
    } catch (error) {
      if (!(error instanceof StoreError)) throw error;
      const { kind, message, current } = error;
      throw new StoreError(kind, `${message} (${key})`, key, current && unwrap(current));
    }
  }
}

function refuse(key: string): never {
  throw new StoreError("invalid", `the value of ${key} is not JSON`, key);
}

function wrapKey(key: string): string {
  if (!key.startsWith(OUTSIDE)) return key;
  const bytes = new TextEncoder().encode(key.slice(OUTSIDE.length));
  return INSIDE + Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

function unwrapKey(key: string): string {
  const hex = key.slice(INSIDE.length).match(/../g) ?? [];
  return OUTSIDE + new TextDecoder().decode(Uint8Array.from(hex, (pair) => parseInt(pair, 16)));
}

function unwrap<T>({ key, value, revision }: Entry): Entry<T> {
  const text = (value as { spec: { clusterType: string } }).spec.clusterType;
  return {
    key: unwrapKey(key),
    value: (parseJson(text) as { value: unknown }).value as T,
    revision,
  };
}
