/**
 * What goes wrong between the kubernetes driver and its API server: kinds that are not served, missing
 * permissions, tokens and certificates, a server that is away, slow, overloaded, left behind or set
 * back. Every message names cause, object and remedy; nothing is lost and nothing is told twice.
 */
import assert from "node:assert/strict";
import { Collector, pause, refusal } from "../../mod/store/conformance/case.ts";
import { Picture } from "../../mod/store/conformance/picture.ts";
import { follow } from "../../mod/store/follow.ts";
import { KINDS } from "../../mod/model/kinds.ts";
import type { KubernetesConfig, KubernetesOptions } from "../../mod/store/kubernetes/mod.ts";
import type { Store } from "../../mod/store/store.ts";
import { type Kube, type KubeOptions, startKube } from "../kube/kube.ts";
import { Authority } from "../kube/certificates.ts";
import { calicoDefinitions, clusterNetworkPolicyDefinition } from "../kube/calico_definitions.ts";
import { openStore, startCalico } from "./kubernetes_harness.ts";
import { Relay } from "./relay.ts";

interface Setting {
  kube?: KubeOptions;
  options?: KubernetesOptions;
  config?: (kube: Kube) => KubernetesConfig;
  start?: (options?: KubeOptions) => Promise<Kube>;
}

async function on(setting: Setting, run: (kube: Kube, store: Store) => Promise<void>) {
  const kube = await (setting.start ?? startCalico)(setting.kube);
  const store = await openStore(kube, setting.options, setting.config?.(kube));
  try {
    await run(kube, store);
  } finally {
    await store.close();
    await kube.close();
  }
}

/** Times for tests: seconds become tenths. */
const QUICK = {
  answerMs: 1000,
  patienceMs: 1000,
  silenceMs: 400,
  outageMs: 3000,
  missingMs: 300,
  tokenMs: 60_000,
};

/** For tests with a watch that nothing but the fault in question may end, on a busy machine too. */
const UNHURRIED = { ...QUICK, answerMs: 20_000, patienceMs: 20_000, silenceMs: 20_000 };

const POOLS = "/calico/resources/v3/projectcalico.org/ippools/";
const pool = (n: number) => ({ spec: { cidr: "192.0.2.0/24", blockSize: n } });
const isPools = ({ resource }: { resource: string }) => resource === "ippools";

async function until(what: string, isSo: () => boolean | Promise<boolean>): Promise<void> {
  for (let i = 0; i < 1500; i++) {
    if (await isSo()) return;
    await pause(10);
  }
  assert.fail(`not so within 15 s: ${what}`);
}

/** By the API itself, as kubectl would. */
function makePool(kube: Kube, name: string, n: number) {
  return kube.call("POST", "/apis/crd.projectcalico.org/v1/ippools", {
    apiVersion: "crd.projectcalico.org/v1",
    kind: "IPPool",
    metadata: { name },
    ...pool(n),
  });
}

/** What forgets connections on the way to the API. */
function relayed(kube: Kube) {
  const { hostname, port } = new URL(kube.url);
  const relay = new Relay(
    { transport: "tcp", hostname: "127.0.0.1", port: 0 },
    { transport: "tcp", hostname, port: Number(port) },
  );
  const kubeconfigInline = kube.kubeconfig().replaceAll(`:${port}`, `:${relay.port}`);
  return { relay, kubeconfigInline };
}

Deno.test("without Calico's CRDs everything is empty, and they are found when they come", () =>
  on({ start: startKube, options: { timing: UNHURRIED } }, async (kube, store) => {
    const { entries } = await store.list("/");
    assert(entries.length > 0 && entries.every(({ key }) => !key.includes("ippools")));
    assert.deepEqual((await store.list(POOLS)).entries, []);
    assert.equal(await store.get(`${POOLS}a`), undefined);
    const error = await refusal("invalid", store.create(`${POOLS}a`, pool(1)));
    assert.match(error.message, /does not serve ippools.*CustomResourceDefinition.*install/s);
    const picture = new Picture(store, "/");
    const told = (key: string) => picture.until(key, () => picture.entries.has(key));
    await picture.until("the first list", () => picture.lists > 0);
    await kube.crds(calicoDefinitions().filter((d: any) => d.spec.names.plural === "ippools"));
    await makePool(kube, "a", 1);
    await told(`${POOLS}a`);
    await kube.crds([clusterNetworkPolicyDefinition()]);
    const policies = "/apis/policy.networking.k8s.io/v1alpha2/clusternetworkpolicies";
    await kube.call("POST", policies, {
      apiVersion: "policy.networking.k8s.io/v1alpha2",
      kind: "ClusterNetworkPolicy",
      metadata: { name: "p" },
      spec: { tier: "Admin", priority: 10, subject: { namespaces: {} } },
    });
    await told("/tortie/kubernetes/clusternetworkpolicies/p");
    await store.create(`${POOLS}b`, pool(2));
    await told(`${POOLS}b`);
    await picture.mustBeTrue();
    await picture.end();
    assert.deepEqual(picture.gone, []);
  }));

Deno.test("native v3 CRDs are not taken for an empty datastore", async () => {
  const kube = await startKube();
  try {
    await kube.crds([{
      apiVersion: "apiextensions.k8s.io/v1",
      kind: "CustomResourceDefinition",
      metadata: { name: "ippools.projectcalico.org" },
      spec: {
        group: "projectcalico.org",
        names: { plural: "ippools", kind: "IPPool" },
        scope: "Cluster",
        versions: [{
          name: "v3",
          served: true,
          storage: true,
          schema: {
            openAPIV3Schema: { type: "object", "x-kubernetes-preserve-unknown-fields": true },
          },
        }],
      },
    }]);
    const why = /native projectcalico.org\/v3 CRDs and not as crd\.projectcalico\.org\/v1/;
    assert.match((await refusal("invalid", openStore(kube))).message, why);
    const lazy = await openStore(kube, { lazily: true, timing: QUICK });
    for (const prefix of ["/", POOLS]) {
      assert.match((await refusal("invalid", lazy.list(prefix))).message, why);
    }
    assert.match((await refusal("invalid", lazy.create(`${POOLS}a`, pool(1)))).message, why);
    assert.match((await refusal("invalid", lazy.get(`${POOLS}a`))).message, why);
    await lazy.close();
    // An etcd datastore whose resources Calico's own API server serves under this name.
    const beside = await openStore(kube, { beside: true });
    assert((await beside.list("/tortie/kubernetes/")).entries.length > 0);
    await beside.close();
    // Both are there: Calico takes v1.
    await kube.crds(calicoDefinitions().filter((d: any) => d.spec.names.plural === "ippools"));
    const store = await openStore(kube);
    assert.deepEqual((await store.list(POOLS)).entries, []);
    await store.close();
  } finally {
    await kube.close();
  }
});

Deno.test("what is forbidden is named with the role that is missing", async () => {
  const everything = { verbs: ["get", "list", "watch"], groups: ["*"], resources: ["*"] };
  const kube = await startCalico();
  const account = "system:serviceaccount:default:default";
  const config = () => ({
    kubeconfigInline: kube.kubeconfig({ token: kube.accountToken("default", "default") }),
  });
  const error = await refusal("denied", openStore(kube, {}, config()));
  assert.match(error.message, /clusterinformations/);
  const { grants } = kube;
  const resources = KINDS.map((kind) => kind.plural).filter((p) => p !== "networkpolicies");
  grants.push({ to: account, rules: [{ ...everything, resources }] });
  const store = await openStore(kube, {}, config());
  try {
    const message = (await refusal("denied", store.create(`${POOLS}a`, pool(1)))).message;
    assert.match(message, /create ippools.crd.projectcalico.org "a".*"create" on "ippools"/s);
    const listed = (await refusal("denied", store.list("/"))).message;
    // Served, and not for us: a door that would stay open.
    assert.match(listed, /list networkpolicies|list (\w+)\.crd/);
    grants.push({ to: account, rules: [everything] });
    // A kind that is not served may be forbidden; it is not missed.
    grants.splice(0, 2, {
      to: account,
      rules: [
        everything,
      ].map((rule) => ({
        ...rule,
        groups: ["", "crd.projectcalico.org", "networking.k8s.io", "discovery.k8s.io"],
      })),
    });
    assert((await store.list("/")).entries.length > 0);
  } finally {
    await store.close();
    await kube.close();
  }
});

Deno.test("a token's file is read again when the token is refused", async () => {
  const kube = await startCalico();
  const folder = await Deno.makeTempDir();
  const file = `${folder}/token`;
  const [first, second] = [kube.user("a", ["system:masters"]), kube.user("a", ["system:masters"])];
  await Deno.writeTextFile(file, `${first}\n`);
  const access = {
    "current-context": "c",
    contexts: [{ name: "c", context: { cluster: "c", user: "u" } }],
    clusters: [{
      name: "c",
      cluster: { server: kube.url, "certificate-authority-data": btoa(kube.ca) },
    }],
    users: [{ name: "u", user: { tokenFile: file } }],
  };
  const timing = { ...UNHURRIED, tokenMs: 60_000 };
  const store = await openStore(kube, { timing }, { kubeconfigInline: JSON.stringify(access) });
  try {
    await store.create(`${POOLS}a`, pool(1));
    const { revision } = await store.list(POOLS);
    const watch = new Collector(store, POOLS, revision);
    await Deno.writeTextFile(file, second);
    kube.revoke(first);
    await store.create(`${POOLS}b`, pool(2));
    await watch.first(1);
    kube.endWatches();
    await store.create(`${POOLS}c`, pool(3));
    await watch.first(2);
    kube.revoke(second);
    const { message } = await refusal("denied", store.get(`${POOLS}a`));
    assert.match(message, /does not accept our credentials.*expired.*get a new one/s);
    // In the middle of an exchange the file may be empty: the former token still does.
    const third = kube.user("a", ["system:masters"]);
    await Deno.writeTextFile(file, third);
    await store.get(`${POOLS}a`);
    await Deno.writeTextFile(file, "");
    await store.get(`${POOLS}a`);
    await watch.end();
  } finally {
    await store.close();
    await kube.close();
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test("a service account's token is exchanged before it ends", async () => {
  let time = Date.now();
  const kube = await startCalico({ now: () => time });
  const folder = await Deno.makeTempDir();
  const env = await kube.mountAccount(folder, "default", "default", 600);
  kube.grants.push({
    to: "system:serviceaccount:default:default",
    rules: [{ verbs: ["*"], groups: ["*"], resources: ["*"] }],
  });
  const inPod = (path: string) =>
    path.replace("/var/run/secrets/kubernetes.io/serviceaccount", folder);
  const surroundings = {
    env: (name: string) => (env as Record<string, string>)[name],
    readFile: (path: string) => Deno.readTextFile(inPod(path)).catch(() => undefined),
  };
  const store = await openStore(
    kube,
    { surroundings, timing: { tokenMs: 50 } },
    { kubeconfigInline: undefined },
  );
  try {
    await store.create(`${POOLS}a`, pool(1));
    // The kubelet writes a new one in time; ours is older than it may be by then.
    time += 500_000;
    await kube.mountAccount(folder, "default", "default", 600);
    await pause(60);
    time += 500_000;
    await store.create(`${POOLS}b`, pool(2));
    time += 700_000;
    await refusal("denied", store.create(`${POOLS}c`, pool(3)));
  } finally {
    await store.close();
    await kube.close();
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test("a server that another authority vouches for, or none, is refused", async () => {
  const kube = await startCalico();
  const other = btoa(new Authority("other").certificate);
  const text = kube.kubeconfig().replace(
    /certificate-authority-data: \S+/,
    `certificate-authority-data: ${other}`,
  );
  const { message } = await refusal("denied", openStore(kube, {}, { kubeconfigInline: text }));
  assert.match(message, /not signed by the authority.*certificate-authority.*context "test"/s);
  const insecure = text.replace(
    /certificate-authority-data: \S+/,
    "insecure-skip-tls-verify: true",
  );
  const said = await refusal("invalid", openStore(kube, {}, { kubeconfigInline: insecure }));
  assert.match(said.message, /insecure-skip-tls-verify.*certificate-authority/s);
  const broken = text.replace(
    /certificate-authority-data: \S+/,
    "certificate-authority-data: eA==",
  );
  await refusal("invalid", openStore(kube, {}, { kubeconfigInline: broken }));
  await kube.close();
});

Deno.test("a client certificate is as good as a token", async () => {
  const kube = await startCalico();
  const certificate = kube.authority.client("admin", ["system:masters"]);
  const config = { kubeconfigInline: kube.kubeconfig({ certificate }) };
  try {
    const store = await openStore(kube, {}, config);
    await store.create(`${POOLS}a`, pool(1));
    await store.close();
  } finally {
    await kube.close();
  }
});

Deno.test("while the server is away operations say so, and a follower goes on afterwards", () =>
  on(
    { options: { timing: { ...QUICK, silenceMs: 20_000, outageMs: 60_000 } } },
    async (kube, store) => {
      await store.create(`${POOLS}a`, pool(0));
      const picture = new Picture(store, POOLS);
      for (let n = 1; n <= 3; n++) {
        await store.put(`${POOLS}a`, pool(n));
        await picture.mustBeTrue();
        await kube.stop();
        const { message } = await refusal("unavailable", store.get(`${POOLS}a`));
        assert.match(message, /the Kubernetes API https:\/\/127\.0\.0\.1:\d+: /);
        await refusal("unavailable", store.put(`${POOLS}a`, pool(n)));
        await kube.start();
        await until(
          "it answers",
          async () => await store.get(`${POOLS}a`).then(() => true, () => false),
        );
        await store.put(`${POOLS}a`, pool(10 + n));
        await picture.mustBeTrue();
      }
      await picture.end();
      assert.deepEqual(picture.gone, []);
      assert(picture.lists >= 4, `${picture.lists} lists`);
    },
  ));

Deno.test("a reader of a watch hears of a long outage, and follows on when it is over", () =>
  on(
    { options: { timing: { ...QUICK, silenceMs: 20_000, outageMs: 300 } } },
    async (kube, store) => {
      await store.create(`${POOLS}a`, pool(0));
      const { revision } = await store.list(POOLS);
      const watch = new Collector(store, POOLS, revision);
      const state = new Map<string, unknown>();
      let lost = 0, synced = 0;
      const abort = new AbortController();
      const following = follow(store, "/", {
        put: ({ key, value }) => void state.set(key, (value as any).spec?.blockSize),
        delete: (key) => void state.delete(key),
        synced: () => void synced++,
        unavailable: () => void lost++,
      }, { signal: abort.signal });
      await until("synced", () => synced === 1);
      await kube.stop();
      const failure = await watch.failure();
      await refusal("unavailable", Promise.reject(failure));
      await until("the follower has heard", () => lost > 0);
      await kube.start();
      await until(
        "it answers",
        async () => await store.put(`${POOLS}b`, pool(7)).then(() => true, () => false),
      );
      await until("synced again", () => synced > 1 && state.get(`${POOLS}b`) === 7);
      await store.delete(`${POOLS}a`);
      await until("the deletion", () => !state.has(`${POOLS}a`));
      abort.abort();
      await following;
    },
  ));

Deno.test("a server that never answers is given up on", () =>
  on({ options: { timing: { ...QUICK, answerMs: 300, patienceMs: 700 } } }, async (kube, store) => {
    const clear = kube.faults.add({ match: isPools, delay: 3000 });
    const began = performance.now();
    const { message } = await refusal("unavailable", store.get(`${POOLS}a`));
    assert.match(message, /no answer within 0.3 s/);
    assert(performance.now() - began < 3000);
    await refusal("unavailable", store.create(`${POOLS}a`, pool(1)));
    clear();
    await store.put(`${POOLS}b`, pool(1));
  }));

Deno.test("a watch that has gone dumb ends, so that all is listed again", () =>
  on({ options: { timing: QUICK }, kube: { bookmarks: 0 } }, async (kube, store) => {
    const { revision } = await store.list(POOLS);
    const watch = new Collector(store, POOLS, revision);
    await store.create(`${POOLS}a`, pool(1));
    await watch.first(1);
    kube.stallWatches();
    const picture = new Picture(store, POOLS);
    await picture.until("it knows what is there", () => picture.entries.has(`${POOLS}a`));
    await until("it watches", () => kube.watches.length === 2);
    kube.stallWatches();
    await store.create(`${POOLS}b`, pool(2));
    await picture.mustBeTrue();
    await picture.end();
    const { message } = await refusal("compacted", Promise.reject(await watch.failure()));
    assert.match(message, /was silent for 0.4 s/);
  }));

Deno.test("an overloaded server's wishes are respected", () =>
  on({}, async (kube, store) => {
    kube.faults.add({ match: isPools, status: 429, retryAfter: 1, times: 1 });
    let began = performance.now();
    await store.create(`${POOLS}a`, pool(1));
    assert(performance.now() - began >= 950, "a write that was refused for now comes later");
    kube.faults.add({ match: isPools, status: 503, times: 3 });
    began = performance.now();
    await store.get(`${POOLS}a`);
    kube.faults.add({
      match: (call) => isPools(call) && call.verb === "watch",
      status: 429,
      times: 2,
    });
    const watch = new Collector(store, POOLS, (await store.list(POOLS)).revision);
    await store.put(`${POOLS}a`, pool(2));
    await watch.first(1);
    await watch.end();
    // A write that may have been carried out is not repeated.
    kube.faults.add({ match: isPools, status: 500, times: 1 });
    await refusal("unavailable", store.create(`${POOLS}b`, pool(1)));
  }));

Deno.test("a write whose answer was lost is unavailable, and done once", () =>
  on({ options: { timing: QUICK } }, async (kube, store) => {
    kube.faults.add({ match: isPools, drop: "answer", times: 1 });
    await refusal("unavailable", store.create(`${POOLS}a`, pool(1)));
    const { revision } = (await store.get(`${POOLS}a`))!;
    kube.faults.add({ match: isPools, drop: "answer", times: 1 });
    await refusal("unavailable", store.update(`${POOLS}a`, pool(2), revision));
    await refusal("conflict", store.update(`${POOLS}a`, pool(3), revision));
    // A read is repeated.
    kube.faults.add({ match: isPools, drop: "answer", times: 2 });
    assert.equal((await store.get<any>(`${POOLS}a`))!.value.spec.blockSize, 2);
  }));

Deno.test("a list whose moment is compacted away is begun anew", () =>
  on({}, async (kube, store) => {
    await Promise.all(
      Array.from({ length: 1200 }, (_, i) => store.create(`${POOLS}p${i}`, pool(i))),
    );
    let compactions = 0;
    kube.faults.add({
      match: (call) => {
        if (isPools(call) && call.path.includes("continue=") && compactions < 2) {
          compactions++;
          kube.compact();
          // The counter goes on, so that the page's moment is past.
          kube.cluster.revisions.put("/events", `e${compactions}`, { metadata: {} } as any);
          kube.compact();
        }
        return false;
      },
    });
    const { entries } = await store.list(POOLS);
    assert.equal(entries.length, 1200);
    assert.equal(compactions, 2);
  }));

Deno.test("a watch that the history has left behind says so, and a bookmark keeps one with it", () =>
  on({ kube: { bookmarks: 0 } }, async (kube, store) => {
    const { revision } = await store.list(POOLS);
    const watch = new Collector(store, POOLS, revision);
    await until("it watches", () => kube.watches.length === 1);
    // Others write; this kind is quiet, and hears only bookmarks.
    for (let i = 0; i < 3; i++) await store.put("/calico/ipam/v2/handle/h", { block: { a: i } });
    kube.bookmark();
    await pause(50);
    kube.compact();
    kube.endWatches();
    await until("it watches again", () => kube.watches.length === 1);
    await store.create(`${POOLS}a`, pool(1));
    await watch.first(1);
    kube.expireWatches();
    await refusal("compacted", Promise.reject(await watch.failure()));
    const late = new Collector(store, POOLS, revision);
    await refusal("compacted", Promise.reject(await late.failure()));
  }));

Deno.test("HTTP 410 is as good as an ERROR event", () =>
  on({ kube: { goneAs: "status" } }, async (kube, store) => {
    const { revision } = await store.list(POOLS);
    await store.create(`${POOLS}a`, pool(1));
    kube.compact();
    const watch = new Collector(store, "/", revision);
    await refusal("compacted", Promise.reject(await watch.failure()));
  }));

Deno.test("a datastore that was set back is noticed, and read again", () =>
  on(
    { options: { timing: { ...QUICK, silenceMs: 20_000, outageMs: 60_000 } } },
    async (kube, store) => {
      await store.create(`${POOLS}a`, pool(1));
      const backup = kube.snapshot();
      for (let i = 0; i < 5; i++) await store.put(`${POOLS}b`, pool(i));
      const { revision } = await store.list(POOLS);
      const watch = new Collector(store, POOLS, revision);
      await until("it watches", () => kube.watches.length === 1);
      await kube.stop();
      await kube.start(backup);
      const { message } = await refusal("compacted", Promise.reject(await watch.failure()));
      assert.match(message, /set back/);
      assert.deepEqual((await store.list(POOLS)).entries.map(({ key }) => key), [`${POOLS}a`]);
    },
  ));

Deno.test("a reader that is too slow for the server misses nothing", () =>
  on({ kube: { watchBuffer: 20 } }, async (_kube, store) => {
    const { revision } = await store.list(POOLS);
    const reader = store.watch<any>(POOLS, { from: revision })[Symbol.asyncIterator]();
    const first = reader.next();
    const text = "x".repeat(20_000);
    const written: string[] = [];
    for (let n = 0; n < 400; n += 50) {
      const batch = Array.from(
        { length: 50 },
        (_, i) => store.put(`${POOLS}p${i}`, { spec: { cidr: text, blockSize: n + i } }),
      );
      written.push(...await Promise.all(batch));
    }
    const seen = [(await first).value.revision];
    while (seen.length < written.length) {
      seen.push((await reader.next()).value.revision);
      if (seen.length % 50 === 0) await pause(5);
    }
    await reader.return?.();
    assert.deepEqual(seen, written.toSorted((a, b) => Number(a) - Number(b)));
  }));

Deno.test("a closed store leaves nothing behind at the server", () =>
  on({}, async (kube, store) => {
    const { revision } = await store.list("/");
    const watch = new Collector(store, "/", revision);
    await until("it watches", () => kube.watches.length > 25);
    await store.close();
    await refusal("unavailable", Promise.reject(await watch.failure()));
    await until("no watch is left", () => kube.watches.length === 0);
  }));

Deno.test("a connection that is dead without a word is found by one question, and the reader hears of it", async () => {
  const kube = await startCalico({ http2: true, bookmarks: 0 });
  const { relay, kubeconfigInline } = relayed(kube);
  const timing = { ...UNHURRIED, pulseMs: 500, answerMs: 1500, silenceMs: 60_000, outageMs: 1000 };
  const store = await openStore(kube, { timing }, { kubeconfigInline });
  const seen = new Set<string>(), lost: string[] = [];
  let lists = 0;
  const abort = new AbortController();
  const following = follow(store, "/", {
    put: ({ key }) => void seen.add(key),
    delete: () => {},
    synced: () => void lists++,
    unavailable: ({ message }) => void lost.push(message),
  }, { signal: abort.signal });
  try {
    await until("it follows", () => lists > 0);
    await makePool(kube, "a", 1);
    await until("a is seen", () => seen.has(`${POOLS}a`));
    assert(relay.forget() > 0);
    await makePool(kube, "b", 2);
    await until("b is seen", () => seen.has(`${POOLS}b`));
    assert.match(lost.join("\n"), /nothing was heard for \d+ s: no answer within 1\.5 s/);
  } finally {
    abort.abort();
    await following;
    await store.close();
    relay.close();
    await kube.close();
  }
});

Deno.test("a late answer puts the watches of its pool in doubt: none is vouched for by new connections", async () => {
  for (const http2 of [true, false]) {
    const kube = await startCalico({ http2, bookmarks: 0 });
    const { relay, kubeconfigInline } = relayed(kube);
    // No silence is long enough to ask a question by itself.
    const timing = { ...UNHURRIED, answerMs: 1500, pulseMs: 60_000, silenceMs: 60_000 };
    const store = await openStore(kube, { timing }, { kubeconfigInline });
    const { revision } = await store.list("/");
    const watch = new Collector(store, "/", revision);
    try {
      await until("it watches", () => kube.watches.length > 25);
      await makePool(kube, "a", 1);
      await until("a is told", () => watch.events.length > 0);
      relay.forget();
      await store.get(`${POOLS}a`);
      await makePool(kube, "b", 2);
      // Whoever answers the new connections, what it missed it cannot have: all is to be listed again.
      let failure = "";
      watch.failure().then((error) => failure = (error as Error).message);
      await until(`the reader hears of it (HTTP/2: ${http2})`, () => failure !== "");
      assert.match(failure, /nothing was heard for \d+ s|no answer within/);
    } finally {
      await store.close();
      relay.close();
      await kube.close();
    }
  }
});
