/**
 * Answers that the API would not give: pages of proxies, half of a JSON text, a 404 for a kind that is
 * there, files of certificates that are just being exchanged. Each is told as what it is, nothing is
 * taken for deleted, and a follower goes on as soon as it can.
 */
import assert from "node:assert/strict";
import { pause, refusal } from "../../mod/store/conformance/case.ts";
import { follow } from "../../mod/store/follow.ts";
import type { Store } from "../../mod/store/store.ts";
import { command } from "../cli/harness.ts";
import type { Fault } from "../kube/faults.ts";
import type { Kube } from "../kube/kube.ts";
import { openStore, startCalico } from "./kubernetes_harness.ts";
import { serveHttp } from "../../mod/node/http_server.ts";

const QUICK = {
  answerMs: 2000,
  patienceMs: 100,
  silenceMs: 2000,
  outageMs: 300,
  missingMs: 300,
  tokenMs: 100,
};
const POOLS = "/calico/resources/v3/projectcalico.org/ippools/";
const pool = (n: number) => ({ spec: { cidr: "192.0.2.0/24", blockSize: n } });

async function until(what: string, isSo: () => boolean | Promise<boolean>): Promise<void> {
  for (let i = 0; i < 3000; i++) {
    if (await isSo()) return;
    await pause(10);
  }
  assert.fail(`not so within 30 s: ${what}`);
}

/** Somebody who follows everything, and what he was told. */
class Follower {
  readonly pools = new Set<string>();
  deletions = 0;
  syncs = 0;
  readonly told: string[] = [];
  readonly #abort = new AbortController();
  readonly #done: Promise<void>;

  constructor(store: Store, prefix = "/") {
    this.#done = follow(store, prefix, {
      put: ({ key }) => void (key.startsWith(POOLS) && this.pools.add(key.slice(POOLS.length))),
      delete: (key) => {
        this.deletions++;
        if (key.startsWith(POOLS)) this.pools.delete(key.slice(POOLS.length));
      },
      synced: () => void this.syncs++,
      unavailable: ({ kind, message }) => void this.told.push(`${kind}: ${message}`),
    }, { signal: this.#abort.signal });
    this.#done.catch(() => {}); // it is looked at in the end
  }

  async [Symbol.asyncDispose]() {
    this.#abort.abort();
    await this.#done;
  }
}

async function on(run: (kube: Kube, store: Store) => Promise<void>) {
  const kube = await startCalico();
  const store = await openStore(kube, { timing: QUICK });
  try {
    await run(kube, store);
  } finally {
    await store.close();
    await kube.close();
  }
}

const TEXTS = [
  "<html>one bad answer</html>",
  "",
  "{}",
  "[]",
  "null",
  `{"kind":"IPPoolList","metadata":{"resourceVersion":"7"},"items":[{"metadata":`,
  `{"kind":"IPPoolList","metadata":{"resourceVersion":"7"},"items":[5]}`,
  `{"kind":"IPPoolList","metadata":{"resourceVersion":"7"},"items":[{"spec":{}}]}`,
  `{"kind":"IPPoolList","metadata":{},"items":[]}`,
];
const EVENTS = [
  "<html>\n",
  "{}\n",
  "[]\n",
  `{"type":"ADDED"}\n`,
  `{"type":"ADDED","object":{"spec":{}}}\n`,
  `{"type":"DELETED","object":7}\n`,
];
const STATUSES = [302, 400, 401, 403, 404, 405, 410, 413, 415, 422, 429, 500, 503];

Deno.test("whatever is answered in the API's place, a follower loses nothing and goes on", () =>
  on(async (kube, store) => {
    await store.create(`${POOLS}p`, pool(26));
    await using follower = new Follower(store);
    await until("synced", () => follower.syncs > 0);
    let n = 0;
    const suffer = async (what: string, verb: string, fault: Fault) => {
      const match = (call: { verb: string; resource: string }) =>
        call.verb === verb && call.resource === "ippools";
      let met = 0;
      const clear = kube.faults.add({ ...fault, match: (call) => match(call) && ++met > 0 });
      await until(`${what} was met`, () => {
        // One may be about to be opened.
        if (met === 0) kube.endWatches();
        return met > 0;
      });
      clear();
      const name = `p${++n}`;
      await until(
        "written",
        () => store.create(`${POOLS}${name}`, pool(n)).then(() => true, () => false),
      );
      await until(`${name} is told after ${what}`, () => follower.pools.has(name));
    };
    for (const verb of ["list", "watch"]) {
      for (const text of verb === "list" ? TEXTS : EVENTS) {
        await suffer(`${verb} ${JSON.stringify(text)}`, verb, { text });
      }
      for (const status of STATUSES) await suffer(`${verb} ${status}`, verb, { status });
      await suffer(`${verb} 404 of a proxy`, verb, { status: 404, text: "404 page not found\n" });
    }
    assert.equal(follower.deletions, 0);
    assert.equal(follower.pools.size, n + 1);
  }));

Deno.test("an answer that is none is unavailable, in a sentence that says what came", () =>
  on(async (kube, store) => {
    const proxy = serveHttp(
      { port: 0, hostname: "127.0.0.1" },
      () => new Response(TEXTS[0]),
    );
    const env = {
      DATASTORE_TYPE: "kubernetes",
      K8S_API_TOKEN: "t",
      K8S_API_ENDPOINT: `http://127.0.0.1:${proxy.port}`,
    };
    await store.create(`${POOLS}a`, pool(1));
    for (const text of TEXTS) {
      const clear = kube.faults.add({ match: ({ resource }) => resource === "ippools", text });
      const listed = (await refusal("unavailable", store.list(POOLS))).message;
      assert.match(
        listed,
        /the answer to list ippools\.crd.* is (no|a list that) .*\((it is empty|it begins with ")/,
      );
      if (!text.startsWith(`{"kind`)) await refusal("unavailable", store.get(`${POOLS}a`));
      // Nobody knows whether a write was done, and it is not repeated.
      const before = kube.server.calls.length;
      if (!text.startsWith(`{"kind`)) {
        await refusal("unavailable", store.create(`${POOLS}b`, pool(2)));
        assert.equal(kube.server.calls.length, before + 1);
      }
      clear();
    }
    for (const status of [400, 405, 413, 415, 422]) {
      const clear = kube.faults.add({ match: ({ resource }) => resource === "ippools", status });
      await refusal("unavailable", store.list(POOLS));
      await refusal("invalid", store.create(`${POOLS}b`, pool(2)));
      clear();
    }
    const said = await command(["get", "ippools"], { env });
    await proxy.close();
    assert.equal(said.exit, 3, said.err);
    assert.equal(said.err.trim().split("\n").length, 1, said.err);
    assert.match(said.err, /is no JSON \(it begins with "<html>/);
  }));

Deno.test("a 404 counts as no such kind where discovery says so, and nowhere else", () =>
  on(async (kube, store) => {
    for (const n of [1, 2, 3]) await store.create(`${POOLS}p${n}`, pool(n));
    await using follower = new Follower(store);
    await until("synced", () => follower.syncs > 0);
    const calico = (path: string) => path.startsWith("/apis/crd.projectcalico.org/");
    const faults: [string, (path: string) => boolean][] = [
      ["Calico's kinds, discovery as ever", (path) => calico(path) && /v1\/./.test(path)],
      ["all of Calico's group, its discovery too", calico],
      ["everything", () => true],
    ];
    for (const [what, match] of faults) {
      const clear = kube.faults.add({
        match: ({ path }) => match(path),
        status: 404,
        text: "404\n",
      });
      const { length } = follower.told;
      await until(`${what}: told`, () => {
        if (follower.told.length === length) kube.endWatches();
        return follower.told.length > length + 1;
      });
      const { message } = await refusal("unavailable", store.list(POOLS));
      assert.match(
        message,
        /it answers 404 (to list ippools|for \/api)|404 .*\/apis|failed to discover/,
        what,
      );
      // One that is not found now has not gone.
      await refusal("unavailable", store.get(`${POOLS}p1`));
      clear();
      const { syncs } = follower;
      await until(`${what}: back`, () => follower.syncs > syncs);
      assert.equal(follower.deletions, 0, what);
    }
    // The kind does go, with all that was of it.
    const path =
      "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/ippools.crd.projectcalico.org";
    assert((await kube.call("DELETE", path)).status < 300);
    await until("its pools are gone", () => follower.pools.size === 0);
  }));

Deno.test("certificates that are half exchanged are told, and the former pair stays in use", async () => {
  const kube = await startCalico();
  const [a, b] = ["a", "b"].map((name) => kube.authority.client(name, ["system:masters"]));
  const files: Record<string, string> = { "/ca": kube.ca, "/crt": a.certificate, "/key": a.key };
  const config = {
    kubeconfigInline: [
      "current-context: t",
      `clusters: [{name: t, cluster: {server: "${kube.url}", certificate-authority: /ca}}]`,
      "users: [{name: t, user: {client-certificate: /crt, client-key: /key}}]",
      "contexts: [{name: t, context: {cluster: t, user: t}}]",
    ].join("\n"),
  };
  const surroundings = {
    env: () => undefined,
    readFile: (path: string) => Promise.resolve(files[path]),
  };
  const troubles: string[] = [];
  const onTrouble = (message: string) => void troubles.push(message);
  const options = { timing: { ...QUICK, tokenMs: 1 }, surroundings, onTrouble };
  const store = await openStore(kube, options, config);
  try {
    await using follower = new Follower(store);
    await until("synced", () => follower.syncs > 0);
    const mixed: [string, string, RegExp][] = [
      [
        "/key",
        b.key,
        /client certificate and key of context "t".*do not belong together.*stays in/,
      ],
      ["/crt", "", /no PEM: the file \/crt.*stays in use/],
      ["/ca", "", /no PEM: the file \/ca.*stays in use/],
      ["/ca", "-----BEGIN CERTIFICATE-----\naGVsbG8=\n-----END CERTIFICATE-----\n", /certificate/],
    ];
    for (const [i, [file, text, words]] of mixed.entries()) {
      const before = files[file];
      files[file] = text;
      await pause(5);
      await store.create(`${POOLS}p${i}`, pool(i));
      assert.match(troubles.at(-1) ?? "none", words);
      kube.endWatches();
      await until(`p${i} is told`, () => follower.pools.has(`p${i}`));
      assert.equal(troubles.length, i + 1, "each is told once");
      files[file] = before;
      await pause(5);
      await store.get(`${POOLS}p0`);
    }
    // The whole of the other pair is taken.
    [files["/crt"], files["/key"]] = [b.certificate, b.key];
    await pause(5);
    await store.get(`${POOLS}p0`);
    assert.equal(kube.server.calls.at(-1)!.user, "b");
    // Who begins with such a pair is told so, and lives.
    files["/key"] = a.key;
    const { message } = await refusal("invalid", openStore(kube, options, config));
    assert.match(message, /client certificate and key of context "t".*do not belong together/);
  } finally {
    await store.close();
    await kube.close();
  }
});
