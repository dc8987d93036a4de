/**
 * What the tests of the kubernetes driver run against: the API server of the tests, in this process,
 * with Calico's CRDs; and the conformance suite's keys and values as custom resources, in one of two
 * forms: any key and any value at all, as text in one field of a kind that takes it (a key's name
 * becomes the hexadecimal of its bytes, which keeps order and prefixes); or, of a kind as people use it,
 * names as they are and values that are specs of the kind.
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

export async function startCalico(
  options: KubeOptions = {},
  definitions = calicoDefinitions(),
): Promise<Kube> {
  const kube = await startKube(options);
  await Promise.all(definitions.map((definition) => kube.crds([definition])));
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
const BASE = "/calico/resources/v3/projectcalico.org/";
const OUTSIDE = "/calico/test/";

/** How the suite's keys (without their common beginning) and values become objects of a kind. */
export interface Form {
  readonly plural: string;
  /** What the names begin with, the same text for every key. */
  readonly begin: string;
  name(key: string): string;
  key(name: string): string;
  /** Throws for what is no JSON. */
  spec(value: unknown): unknown;
  value(spec: unknown): unknown;
}

/** Any key, in the hexadecimal of its bytes, and any value, as text. */
export const TEXTS: Form = {
  plural: "clusterinformations",
  begin: RUN,
  name(key) {
    const bytes = new TextEncoder().encode(key);
    return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
  },
  key(name) {
    const pairs = name.match(/../g) ?? [];
    return new TextDecoder().decode(Uint8Array.from(pairs, (pair) => parseInt(pair, 16)));
  },
  spec: (value) => ({ clusterType: printJson(value) }),
  value: (spec) => parseJson((spec as { clusterType: string }).clusterType),
};

/** Names and specs of a kind as they are: what its rules and its schema take. */
export function plainForm(plural: string): Form {
  const same = <T>(one: T) => one;
  return {
    plural,
    begin: `${RUN}.`,
    name: same,
    key: same,
    spec: same,
    value: same,
  };
}

/** The suite's keys and values on a store that holds v3 objects. */
export class Wrapped implements Store {
  #writes = 0;

  constructor(readonly inner: Store, readonly form: Form = TEXTS) {}

  get epoch(): number {
    return this.inner.epoch;
  }

  /** Takes away what the suite has left, by its label; ten thousand at once would take minutes. */
  async clear(): Promise<void> {
    const { plural } = this.form;
    const path = `/apis/crd.projectcalico.org/v1/${plural}?limit=500&labelSelector=` +
      encodeURIComponent(`${LABEL}=${RUN}`);
    const ask = (method: "GET" | "DELETE") =>
      (this.inner as KubernetesStore).api.connection.text({
        method,
        path,
        request: { verb: method.toLowerCase(), group: "", resource: plural },
      });
    while (JSON.parse(await ask("GET")).items.length > 0) await ask("DELETE");
  }

  async get<T>(key: string) {
    const entry = await this.inner.get(this.#inside(key));
    return entry && this.#unwrap<T>(entry);
  }

  async list<T>(prefix: string) {
    const { entries, revision } = await this.inner.list(this.#inside(prefix));
    return { entries: entries.map((entry) => this.#unwrap<T>(entry)), revision };
  }

  create(key: string, value: unknown, options?: WriteOptions) {
    return this.#told(
      key,
      () => this.inner.create(this.#inside(key), this.#wrap(key, value), options),
    );
  }

  update(key: string, value: unknown, revision: string, options?: WriteOptions) {
    return this.#told(
      key,
      () => this.inner.update(this.#inside(key), this.#wrap(key, value), revision, options),
    );
  }

  put(key: string, value: unknown, options?: WriteOptions) {
    return this.#told(
      key,
      () => this.inner.put(this.#inside(key), this.#wrap(key, value), options),
    );
  }

  delete(key: string, revision?: string) {
    return this.#told(key, () => this.inner.delete(this.#inside(key), revision));
  }

  async *watch<T>(prefix: string, options: WatchOptions): AsyncGenerator<WatchEvent<T>> {
    for await (const event of this.inner.watch(this.#inside(prefix), options)) {
      if (event.type === "delete") yield { ...event, key: this.#outside(event.key) };
      else yield { type: "put", ...this.#unwrap<T>(event) };
    }
  }

  close() {
    return this.inner.close();
  }

  get #begin(): string {
    return `${BASE}${this.form.plural}/${this.form.begin}`;
  }

  #inside(key: string): string {
    if (!key.startsWith(OUTSIDE)) return key;
    return this.#begin + this.form.name(key.slice(OUTSIDE.length));
  }

  #outside(key: string): string {
    return OUTSIDE + this.form.key(key.slice(this.#begin.length));
  }

  #wrap(key: string, value: unknown): unknown {
    // A write that changes nothing is none to the API, so each says which it is.
    const annotations = { "test.projectcalico.org/write": `${++this.#writes}` };
    try {
      const spec = this.form.spec(value);
      return { metadata: { name: "", labels: { [LABEL]: RUN }, annotations }, spec };
    } catch {
      throw new StoreError("invalid", `the value of ${key} is not JSON`, key);
    }
  }

  #unwrap<T>({ key, value, revision }: Entry): Entry<T> {
    const { spec } = value as { spec: unknown };
    return { key: this.#outside(key), value: this.form.value(spec) as T, revision };
  }

  async #told<T>(key: string, run: () => Promise<T>): Promise<T> {
    try {
      return await run();
    } catch (error) {
      if (!(error instanceof StoreError)) throw error;
      const { kind, message, current } = error;
      throw new StoreError(kind, `${message} (${key})`, key, current && this.#unwrap(current));
    }
  }
}
