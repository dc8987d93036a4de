/** Who may speak to an etcd, and what is said where one may not: certificates, users, addresses. */
import assert from "node:assert/strict";
import { type Store, StoreError, type StoreErrorKind } from "../../mod/store/store.ts";
import { type EtcdStore, openEtcd } from "../../mod/store/etcd/mod.ts";
import { follow } from "../../mod/store/follow.ts";
import { openKubernetes } from "../../mod/store/kubernetes/mod.ts";
import { Authority } from "../kube/certificates.ts";
import { command } from "../cli/harness.ts";
import { type Certificates, EtcdCluster, freePorts, makeCertificates } from "./etcd_server.ts";
import { RUN_MODULE } from "../tools/run_module.ts";
import { type HttpServer, serveHttp } from "../../mod/node/http_server.ts";

let certificates: Certificates;

Deno.test.beforeAll(async () => {
  certificates = await makeCertificates();
});
Deno.test.afterAll(async () => {
  await Deno.remove(certificates.folder, { recursive: true });
});

async function refused(kind: StoreErrorKind, message: RegExp, opening: Promise<unknown>) {
  await assert.rejects(opening, (error: Error) => {
    assert(error instanceof StoreError, String(error));
    assert.match(error.message, message);
    assert.equal(error.kind, kind, error.message);
    return true;
  });
}

Deno.test("certificates: both sides must know each other, and each fault is named", async () => {
  const tls = certificates;
  const cluster = await EtcdCluster.start({ tls });
  const plain = await EtcdCluster.start();
  try {
    const store = await cluster.open();
    const revision = await store.create("/calico/a", { x: 1 });
    assert.equal((await store.get("/calico/a"))?.revision, revision);
    const watch = store.watch("/calico/", { from: revision });
    const next = watch.next();
    await store.delete("/calico/a");
    assert.equal((await next).value?.type, "delete");
    await watch.return(undefined);
    await store.close();

    const url = cluster.endpoints[0], port = new URL(url).port;
    const { client, otherClient } = tls;
    const ca = { file: tls.ca };
    const file = ({ cert, key }: { cert: string; key: string }) => ({
      cert: { file: cert },
      key: { file: key },
    });
    const open = (tls: Parameters<typeof cluster.location>[0], endpoints = cluster.endpoints) =>
      openEtcd(cluster.location({ endpoints, ...tls }), { patienceMs: 5000 });
    const own = { ca, ...file(client) };
    // Inline PEM does as well as files.
    const pem = (path: string) => ({ pem: Deno.readTextFileSync(path) });
    await (await open({ tls: { ca: pem(tls.ca), cert: pem(client.cert), key: pem(client.key) } }))
      .close();
    await (await open({ tls: own }, [`https://localhost:${port}`])).close();

    await refused(
      "denied",
      /authority that we do not know; name it with ETCD_CA_CERT_FILE/,
      open({
        tls: { ca: { file: tls.otherCa }, ...file(client) },
      }),
    );
    await refused(
      "denied",
      /wants a client certificate; set ETCD_CERT_FILE/,
      open({ tls: { ca } }),
    );
    await refused(
      "denied",
      /does not accept our client certificate/,
      open({
        tls: { ca, ...file(otherClient) },
      }),
    );
    await refused(
      "denied",
      /not made out to the host that the endpoint names/,
      open({ tls: own }, [`https://127.0.0.2:${port}`]),
    );
    await refused(
      "unavailable",
      /perhaps it speaks no TLS at this port, then write http:/,
      open({ tls: own }, [
        plain.endpoints[0].replace("http:", "https:"),
      ]),
    );
    await refused(
      "unavailable",
      /perhaps it speaks TLS at this port, then write https:/,
      open({ tls: {} }, [url.replace("https:", "http:")]),
    );
    await refused(
      "denied",
      /CA certificate of etcd cannot be read from \/nowhere/,
      open({
        tls: { ...own, ca: { file: "/nowhere" } },
      }),
    );
    await refused(
      "denied",
      /client key of etcd in .*server\.csr is no PEM|cannot be used/,
      open({
        tls: { ...own, key: { file: tls.ca } },
      }),
    );
    await refused(
      "denied",
      /client certificate \(.*\) and key \(.*\) for etcd cannot be used: they do not belong together/,
      open({ tls: { ...own, key: { file: otherClient.key } } }),
    );
    const mixed = await command(["get", "nodes"], {
      env: { ...cluster.env, ETCD_KEY_FILE: otherClient.key },
    });
    assert.equal(mixed.exit, 3);
    assert.match(mixed.err, /do not belong together/);
    // On the command line all of them are exit code 3.
    const wrong = { ...cluster.env, ETCD_CA_CERT_FILE: tls.otherCa };
    const answer = await command(["get", "ippools"], { env: wrong });
    assert.equal(answer.exit, 3);
    assert.match(answer.err, /etcd at https:.*authority that we do not know/);
  } finally {
    await plain.stop();
    await cluster.stop();
  }
});

Deno.test("an authority that is named counts alone, and the system's where none is", async () => {
  const { ca, otherCa, client } = certificates;
  const cluster = await EtcdCluster.start({ tls: certificates });
  const script = new URL("./etcd_lock_process.ts", import.meta.url).pathname;
  const open = async (more: Record<string, string>) => {
    const { ETCD_CA_CERT_FILE: _, ...env } = cluster.env;
    const { success, stderr } = await new Deno.Command(Deno.execPath(), {
      args: [...RUN_MODULE, "--cached-only", script, "true"],
      env: { ...env, ETCD_CERT_FILE: client.cert, ETCD_KEY_FILE: client.key, ...more },
      stdin: "null",
      stdout: "null",
      stderr: "piped",
    }).output();
    return success ? "" : new TextDecoder().decode(stderr);
  };
  try {
    const unknown = /authority that we do not know; name it with ETCD_CA_CERT_FILE/;
    // Whatever store the runtime is told to take by itself.
    const system = { DENO_TLS_CA_STORE: "system", SSL_CERT_FILE: ca };
    assert.match(await open({ ...system, ETCD_CA_CERT_FILE: otherCa }), unknown);
    assert.equal(await open(system), "");
    assert.equal(await open({ ...system, DENO_TLS_CA_STORE: "mozilla" }), "");
    assert.match(await open({ ...system, SSL_CERT_FILE: "/nowhere" }), unknown);
  } finally {
    await cluster.stop();
  }
});

Deno.test("a certificate out of its time is named so, of an etcd and of a Kubernetes API", async () => {
  const authority = new Authority();
  for (
    const [valid, words] of [
      [[-10, -1], /certificate has expired; renew it, or check the clocks/],
      [[1, 10], /certificate is not valid yet; check the clocks/],
    ] as const
  ) {
    const { certificate: cert, key } = authority.server(["127.0.0.1"], valid);
    const at = { hostname: "127.0.0.1", port: 0, cert, key };
    const server = serveHttp(at, () => new Response("{}"));
    const url = `https://127.0.0.1:${server.port}`;
    const ca = { pem: authority.certificate };
    try {
      const etcd = { kind: "etcd", endpoints: [url], tls: { ca } } as const;
      await refused("denied", words, openEtcd(etcd, { patienceMs: 3000 }));
      const config = { apiEndpoint: url, token: "x", tls: { ca } };
      await refused("denied", words, openKubernetes(config, { patienceMs: 3000 }));
    } finally {
      await server.close();
    }
  }
});

Deno.test("certificates that are exchanged on disk are taken up", async () => {
  const tls = certificates;
  const cluster = await EtcdCluster.start({ tls });
  const folder = await Deno.makeTempDir();
  try {
    const [cert, key] = [`${folder}/cert`, `${folder}/key`];
    const exchange = async (by: { cert: string; key: string }) => {
      await Deno.copyFile(by.cert, cert);
      await Deno.copyFile(by.key, key);
    };
    await exchange(tls.otherClient);
    const store = await cluster.open({ lazily: true }, {
      tls: { ca: { file: tls.ca }, cert: { file: cert }, key: { file: key } },
    });
    await refused("denied", /does not accept our client certificate/, store.put("/calico/a", 1));
    // Half exchanged: the former pair stays, and both is said.
    await Deno.copyFile(tls.client.cert, cert);
    await refused(
      "denied",
      /does not accept our client certificate.*; and the client certificate \(.*cert\) and key \(.*key\) for etcd cannot be used: they do not belong together/,
      store.put("/calico/a", 1),
    );
    await exchange(tls.client);
    await store.put("/calico/a", 1);
    await store.close();
  } finally {
    await cluster.stop();
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test("users: wrong ones are refused, tokens are renewed, rights are kept", async () => {
  const cluster = await EtcdCluster.start({
    // A token lasts two seconds.
    flags: ["--auth-token-ttl", "2", "--bcrypt-cost", "4"],
  });
  try {
    // Nobody is asked yet: a user does no harm.
    const early = await cluster.open({}, { username: "calico", password: "s3cret" });
    await early.put("/calico/early", 1);
    const auth = (path: string, body: unknown) => cluster.raw(`/v3/auth/${path}`, body);
    for (const name of ["root", "calico", "guest"]) {
      await auth("user/add", { name, password: "s3cret" });
    }
    await auth("user/grant", { user: "root", role: "root" });
    await auth("role/add", { name: "network" });
    for (const prefix of ["/calico/", "/tortie/"]) {
      const key = new TextEncoder().encode(prefix), end = key.slice();
      end[end.length - 1]++;
      await auth("role/grant", {
        name: "network",
        perm: { permType: "READWRITE", key: key.toBase64(), range_end: end.toBase64() },
      });
    }
    await auth("user/grant", { user: "calico", role: "network" });
    // Of our two folders it may read one alone.
    await auth("user/add", { name: "half", password: "s3cret" });
    await auth("role/add", { name: "half" });
    const half = { permType: "READWRITE", key: btoa("/calico/"), range_end: btoa("/calico0") };
    await auth("role/grant", { name: "half", perm: half });
    await auth("user/grant", { user: "half", role: "half" });
    await auth("enable", {});

    const open = (username?: string, password?: string) => cluster.open({}, { username, password });
    await refused("denied", /asks who we are; set ETCD_USERNAME/, open());
    await refused("denied", /refuses the user or the password/, open("calico", "wrong"));
    await refused("denied", /refuses the user or the password/, open("nobody", "s3cret"));
    await refused(
      "denied",
      /has not the permission; grant its role readwrite/,
      open("guest", "s3cret"),
    );

    const store = await open("calico", "s3cret");
    const revision = await store.put("/calico/a", 1);
    await refused("denied", /put|permission/, store.put("/registry/x", 1));
    const watch = store.watch<number>("/", { from: revision });
    for (let i = 2; i <= 3; i++) {
      const next = watch.next();
      // Longer than a token lasts.
      await new Promise((resolve) => setTimeout(resolve, 2500));
      await store.put("/calico/a", i);
      const { value: event } = await next;
      assert(event?.type === "put" && event.value === i);
    }
    assert.equal((await early.get("/calico/early"))?.value, 1, "who came before logs in now");
    await watch.return(undefined);
    // Of what is asked in one turn, what one may not read is refused alone.
    const some = await open("half", "s3cret");
    const [mine, theirs, all] = await Promise.allSettled([
      some.get("/calico/a"),
      some.get("/tortie/a"),
      some.list("/calico/"),
    ]);
    assert.equal(mine.status === "fulfilled" && mine.value?.value, 3);
    assert.equal(all.status === "fulfilled" && all.value.entries.length, 2);
    assert.match(String((theirs as PromiseRejectedResult).reason), /has not the permission/);
    await some.close();
    await early.close();
    await store.close();
    const env = { ...cluster.env, ETCD_USERNAME: "calico", ETCD_PASSWORD: "s3cret" };
    assert.equal((await command(["get", "ippools"], { env })).exit, 0);
    const wrong = await command(["get", "ippools"], { env: { ...env, ETCD_PASSWORD: "x" } });
    assert.equal(wrong.exit, 3);
    assert(!wrong.err.includes("s3cret"));
  } finally {
    await cluster.stop();
  }
});

Deno.test("users and certificates: one with a name is refused with what to do, one without is taken", async () => {
  const tls = certificates;
  const cluster = await EtcdCluster.start({ tls, flags: ["--bcrypt-cost", "4"] });
  try {
    const auth = (path: string, body: unknown) => cluster.raw(`/v3/auth/${path}`, body);
    await auth("user/add", { name: "root", password: "s3cret" });
    await auth("user/grant", { user: "root", role: "root" });
    await auth("enable", {});
    const user = { username: "root", password: "s3cret" };
    const wrong = /has users.*certificate with a CommonName.*one without CN in ETCD_CERT_FILE/;
    await refused("denied", wrong, cluster.open({}, user));
    const env = { ...cluster.env, ETCD_USERNAME: "root", ETCD_PASSWORD: "s3cret" };
    const answer = await command(["get", "ippools"], { env });
    assert.equal(answer.exit, 3);
    assert.match(answer.err, wrong);
    const { cert, key } = tls.namelessClient;
    const files = { ca: { file: tls.ca }, cert: { file: cert }, key: { file: key } };
    const store = await cluster.open({}, { ...user, tls: files });
    const revision = await store.put("/calico/a", 1);
    const watch = store.watch("/calico/", { from: revision });
    const next = watch.next();
    await store.put("/calico/a", 2);
    assert.equal((await next).value?.type, "put");
    await watch.return(undefined);
    await store.close();
  } finally {
    await cluster.stop();
  }
});

Deno.test("what is no etcd for us is named: nobody, no gateway, another layout, no answer", async () => {
  await refused(
    "unavailable",
    /etcd at http:\/\/127\.0\.0\.1:9: nobody listens there/,
    openEtcd({ kind: "etcd", endpoints: ["http://127.0.0.1:9"], tls: {} }),
  );
  await refused(
    "unavailable",
    /etcd at http:\/\/127\.0\.0\.1:9, http:\/\/127\.0\.0\.1:10: all of them: nobody/,
    openEtcd({
      kind: "etcd",
      endpoints: ["http://127.0.0.1:9", "http://127.0.0.1:10"],
      tls: {},
    }, { random: () => 0 }),
  );
  await refused(
    "unavailable",
    /its name cannot be resolved/,
    openEtcd({ kind: "etcd", endpoints: ["http://no-such-host.invalid:1"], tls: {} }),
  );
  const cluster = await EtcdCluster.start();
  try {
    await cluster.putText("/calico/v1/Ready", "true");
    await refused("denied", /layout of Calico before v3/, cluster.open());
    await cluster.putText("/calico/resources/v3/projectcalico.org/nodes/n", "{}");
    await (await cluster.open()).close();

    cluster.members[0].kill("SIGSTOP");
    const began = performance.now();
    await refused("unavailable", /no answer within 1000 ms/, cluster.open({ patienceMs: 1000 }));
    assert(performance.now() - began < 5000);
    cluster.members[0].kill("SIGCONT");
  } finally {
    await cluster.stop();
  }
  const http = serveHttp({ port: 0, hostname: "127.0.0.1" }, (request) => {
    if (new URL(request.url).pathname === "/version") {
      return Response.json({ etcdserver: "3.3.27", etcdcluster: "3.3.0" });
    }
    return new Response("404 page not found\n", { status: 404 });
  });
  try {
    const endpoints = [`http://127.0.0.1:${http.port}`];
    await refused(
      "denied",
      /no JSON gateway at \/v3 \(it is etcd 3\.3\.27\); use etcd 3\.4 or later, started with --enable/,
      openEtcd({ kind: "etcd", endpoints, tls: {} }),
    );
  } finally {
    await http.close();
  }
});

Deno.test("what answers in an etcd's place is named, and nothing of it is believed", async () => {
  const header = { cluster_id: "1", member_id: "1", revision: "7", raft_term: "1" };
  const answers: [string, RegExp][] = [
    ["<html>one bad answer</html>", /no JSON object \(it begins with "<html>/],
    ["", /no JSON object \(it is empty\)/],
    ["{}", /without a header/],
    ["[]", /no JSON object/],
    ["null", /no JSON object/],
    [`{"header":{"revision":"7"},"respon`, /no JSON object \(it begins with/],
    [JSON.stringify({ header: {} }), /without a revision/],
    [JSON.stringify({ header: { revision: "seven" } }), /without a revision/],
    [JSON.stringify({ header, responses: {} }), /a list that is none/],
    [JSON.stringify({ header, responses: [7] }), /an item that is no object/],
    [JSON.stringify({ header, responses: [] }), /half of what it was asked/],
  ];
  let text = "", status = 200;
  /** What is said of the layout, where that is to be in order. */
  let layout: string | undefined;
  const http = serveHttp({ port: 0, hostname: "127.0.0.1" }, (request) => {
    if (layout !== undefined && request.url.endsWith("/v3/kv/txn")) return new Response(layout);
    const headers = new Headers();
    if (status === 302) headers.set("location", "http://127.0.0.1:9/elsewhere");
    return new Response(text, { status, headers });
  });
  const endpoints = [`http://127.0.0.1:${http.port}`];
  const open = () => openEtcd({ kind: "etcd", endpoints, tls: {} }, { patienceMs: 300 });
  try {
    for (const [answer, words] of answers) {
      text = answer;
      await refused("unavailable", words, open());
    }
    const none = { response_range: { header } };
    layout = JSON.stringify({ header, succeeded: true, responses: [none, none] });
    text = JSON.stringify({ header, kvs: [{ key: "!", mod_revision: "7" }] });
    const location = { kind: "etcd" as const, endpoints, tls: {} };
    const store = await openEtcd(location, { lazily: true, patienceMs: 300 });
    await refused("unavailable", /is not base64/, store.list("/"));
    text = JSON.stringify({ header, kvs: [{ key: btoa("/calico/a"), mod_revision: 7 }] });
    await refused("unavailable", /a key without its revision/, store.get("/calico/a"));
    await store.close();
    [layout, status] = [undefined, 302];
    await refused(
      "unavailable",
      /etcd at http:\S+: it points to http:\/\/127\.0\.0\.1:9\/elsewhere \(HTTP status 302\); name the endpoints/,
      open(),
    );
    [text, status] = ["{}", 200];
    const env = { DATASTORE_TYPE: "etcdv3", ETCD_ENDPOINTS: endpoints[0] };
    const said = await command(["get", "ippools"], { env });
    assert.equal(said.exit, 3, said.err);
    assert.equal(said.err.trim().split("\n").length, 1, said.err);
  } finally {
    await http.close();
  }
});

Deno.test("an etcd of the layout before v3 is written to by nobody who found it later", async () => {
  const cluster = await EtcdCluster.start({ deferred: true });
  const [member] = cluster.members;
  const key = "/calico/resources/v3/projectcalico.org/nodes/n";
  const stores: EtcdStore[] = [];
  const open = async () => {
    const store = await cluster.open({ lazily: true, patienceMs: 2000 });
    stores.push(store);
    return store;
  };
  try {
    const early = await open();
    await refused("unavailable", /nobody listens there/, early.create(key, {}));
    member.start();
    await cluster.serves(member);
    await cluster.putText("/calico/v1/Ready", "true");
    const late = await open();
    for (const store of [early, late]) {
      for (
        const use of [
          () => store.get(key),
          () => store.list("/calico/"),
          () => store.create(key, {}),
          () => store.update(key, {}, "1"),
          () => store.put(key, {}, { ttlSeconds: 60 }),
          () => store.delete("/calico/v1/Ready"),
        ]
      ) await refused("denied", /layout of Calico before v3/, use());
    }
    assert.deepEqual([...(await cluster.texts("/")).keys()], ["/calico/v1/Ready"]);
    assert.deepEqual((await cluster.raw("/v3/lease/leases", {})).leases ?? [], []);

    // Upgraded, it is used at once; and one that takes its place is looked at as well.
    await cluster.putText(key, "{}");
    for (const store of [early, late]) await store.put(key, { a: 1 });
    await member.stop();
    await Deno.remove(`${member.folder}/data`, { recursive: true });
    await refused("unavailable", /nobody listens there/, early.get(key));
    member.start();
    await cluster.serves(member);
    await cluster.putText("/calico/v1/Ready", "true");
    await refused("denied", /layout of Calico before v3/, early.create(key, {}));
    assert.deepEqual([...(await cluster.texts("/")).keys()], ["/calico/v1/Ready"]);
  } finally {
    for (const store of stores) await store.close();
    await cluster.stop();
  }
});

/** An etcd of one layout or the other; the test may answer in its place, or have it wait. */
class FakeEtcd {
  layout: "v3" | "v1" = "v3";
  /** Writes that it has carried out. */
  writes = 0;
  /** Told of each request before it is answered. */
  instead: (path: string, isLook: boolean) => Promise<Response | undefined> = () =>
    Promise.resolve(undefined);
  #server: HttpServer | undefined;
  readonly #port: number;

  constructor() {
    const [port] = freePorts(1);
    this.#port = port;
  }

  start(): void {
    const at = { hostname: "127.0.0.1", port: this.#port };
    this.#server = serveHttp(at, (request) => this.#answer(request));
  }

  async stop(): Promise<void> {
    await this.#server?.close();
  }

  get endpoint(): string {
    return `http://127.0.0.1:${this.#port}`;
  }

  open(patienceMs: number): Promise<EtcdStore> {
    const endpoints = [this.endpoint];
    return openEtcd({ kind: "etcd", endpoints, tls: {} }, { lazily: true, patienceMs });
  }

  async #answer(request: Request): Promise<Response> {
    const { pathname } = new URL(request.url);
    const body = await request.json();
    const isLook = body.success?.[0]?.requestRange?.count_only === true;
    const other = await this.instead(pathname, isLook);
    if (other) return other;
    if (isLook) return this.seen();
    if (pathname.endsWith("/txn")) {
      this.writes++;
      const responses = [{ response_delete_range: { header, deleted: "1" } }];
      return Response.json({ header, succeeded: true, responses });
    }
    return Response.json({ header, ID: "1" });
  }

  /** What a look finds. */
  seen(): Response {
    const count = (layout: string) => ({
      response_range: layout === this.layout ? { header, count: "1" } : { header },
    });
    return Response.json({ header, responses: [count("v3"), count("v1")] });
  }
}

const header = { cluster_id: "1", member_id: "1", revision: "7", raft_term: "1" };
const awayAs = (error: string) => Response.json({ error, code: 14 }, { status: 503 });

Deno.test("a write that is repeated where another etcd has come meanwhile is not written into the old layout", async () => {
  const etcd = new FakeEtcd();
  etcd.start();
  const key = "/calico/resources/v3/projectcalico.org/nodes/n";
  const writes: ((store: EtcdStore) => Promise<unknown>)[] = [
    (store) => store.create(key, {}),
    (store) => store.update(key, {}, "1"),
    (store) => store.put(key, {}),
    (store) => store.put(key, {}, { ttlSeconds: 60 }),
    (store) => store.delete(key),
    (store) => store.delete(key, "1"),
  ];
  try {
    for (const write of writes) {
      const store = await etcd.open(5000);
      etcd.layout = "v3";
      etcd.instead = () => Promise.resolve(undefined);
      await write(store);
      const before = etcd.writes;
      etcd.instead = (path) => {
        if (etcd.layout === "v1" || !/\/(txn|grant)$/.test(path)) return Promise.resolve(undefined);
        etcd.layout = "v1";
        return Promise.resolve(awayAs("etcdserver: no leader"));
      };
      await refused("denied", /layout of Calico before v3/, write(store));
      assert.equal(etcd.writes, before);
      await store.close();
    }
  } finally {
    await etcd.stop();
  }
});

Deno.test("a look at an etcd's layout that others wait for says nothing of the etcd after it", async () => {
  const etcd = new FakeEtcd();
  etcd.start();
  const store = await etcd.open(5000);
  const asked = Promise.withResolvers<void>(), answer = Promise.withResolvers<void>();
  etcd.instead = async (path, isLook) => {
    if (path.endsWith("/watch")) return awayAs("etcdserver: no leader");
    if (!isLook || etcd.layout === "v1") return undefined;
    asked.resolve();
    const seen = etcd.seen();
    etcd.layout = "v1";
    await answer.promise;
    return seen;
  };
  const abort = new AbortController();
  try {
    const first = refused("denied", /layout of Calico before v3/, store.get("/calico/a"));
    await asked.promise;
    const { epoch } = store;
    const watching = store.watch("/calico/", { from: "1", signal: abort.signal }).next();
    while (store.epoch === epoch) await new Promise((resolve) => setTimeout(resolve, 5));
    abort.abort();
    await watching;
    const uses = [store.get("/calico/a"), store.list("/calico/"), store.create("/calico/a", {})];
    const others = uses.map((use) => refused("denied", /layout of Calico before v3/, use));
    answer.resolve();
    await Promise.all([first, ...others]);
    assert.equal(etcd.writes, 0);
  } finally {
    abort.abort();
    answer.resolve();
    await store.close();
    await etcd.stop();
  }
});

Deno.test("who waits for a look that others began has his own patience all the same", async () => {
  const etcd = new FakeEtcd();
  const store = await etcd.open(2000);
  try {
    const first = refused("unavailable", /nobody listens there/, store.get("/calico/a"));
    await new Promise((resolve) => setTimeout(resolve, 100));
    const second = store.get("/calico/a");
    await first;
    etcd.start();
    assert.equal(await second, undefined);
  } finally {
    await store.close();
    await etcd.stop();
  }
});

Deno.test("while a member hangs its writes go to another, however many of its requests are lost", async () => {
  const members = [new FakeEtcd(), new FakeEtcd()];
  for (const member of members) member.start();
  const endpoints = members.map(({ endpoint }) => endpoint);
  const at = { kind: "etcd", endpoints, tls: {} } as const;
  const store = await openEtcd(at, { lazily: true, random: () => 0 });
  let hangs = true;
  const slow = (milliseconds: number) => new Promise<void>((end) => setTimeout(end, milliseconds));
  try {
    await store.delete("/calico/x/0");
    // Whichever it was that answered: the answers of both take a while, and one of them none any more.
    const [first] = members[0].writes > 0 ? members : members.toReversed();
    for (const member of members) {
      member.instead = async () => {
        await slow(5);
        while (member === first && hangs) await slow(20);
        return undefined;
      };
    }
    const done: Promise<string>[] = [];
    for (let i = 0; i < 30; i++) {
      const made = store.create(`/calico/x/${i}`, {});
      done.push(made.then(() => "done", (error) => `${error.message}`));
      await slow(2);
    }
    assert.deepEqual((await Promise.all(done)).filter((word) => word !== "done"), []);
  } finally {
    hangs = false;
    await store.close();
    for (const member of members) await member.stop();
  }
});

/** An etcd, and a store whose requests to it are noted by their paths. */
async function observed(run: (store: Store, paths: string[]) => Promise<void>): Promise<void> {
  const cluster = await EtcdCluster.start();
  const own = cluster.endpoints[0];
  const paths: string[] = [];
  const proxy = serveHttp({ port: 0, hostname: "127.0.0.1" }, async (request) => {
    const { pathname } = new URL(request.url);
    if (request.method === "GET") return await fetch(own + pathname);
    const body = await request.text();
    // A sign of life is asked for where it was silent for a while, as on a slow machine.
    const isSign = pathname === "/v3/kv/range" && JSON.parse(body).count_only === true;
    if (!isSign) paths.push(pathname);
    return await fetch(own + pathname, { method: "POST", body });
  });
  const location = { endpoints: [`http://127.0.0.1:${proxy.port}`] };
  const store = await cluster.open({ lazily: true }, location);
  try {
    await run(store, paths);
  } finally {
    await store.close();
    await proxy.close();
    await cluster.stop();
  }
}

Deno.test("that the layout is ours costs no request for each write", async () => {
  await observed(async (store, paths) => {
    await Promise.all(Array.from({ length: 8 }, (_, i) => store.put(`/calico/a${i}`, {})));
    assert.equal(paths.length, 9);
    for (let i = 0; i < 8; i++) await store.get(`/calico/a${i}`);
    assert.equal(paths.length, 17);
  });
});

Deno.test("what is read in one turn is one request to etcd, and as many as it takes", async () => {
  await observed(async (store, paths) => {
    const keys = Array.from({ length: 150 }, (_, i) => `/calico/a${String(i).padStart(3, "0")}`);
    let last = "";
    for (const [i, key] of keys.entries()) last = await store.put(key, i);
    paths.length = 0;
    const [found, list, none] = await Promise.all([
      Promise.all(keys.slice(0, 8).map((key) => store.get(key))),
      store.list("/calico/a00"),
      store.get("/calico/none"),
    ]);
    assert.deepEqual(paths, ["/v3/kv/txn"]);
    assert.deepEqual(found.map((entry) => entry?.value), [0, 1, 2, 3, 4, 5, 6, 7]);
    assert.deepEqual(list.entries.map(({ value }) => value), [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
    assert.equal(list.revision, last);
    assert.equal(none, undefined);
    // More than etcd takes in one.
    paths.length = 0;
    const all = await Promise.all(keys.map((key) => store.get(key)));
    assert.deepEqual(all.map((entry) => entry?.value), keys.map((_, i) => i));
    assert.deepEqual(paths, ["/v3/kv/txn", "/v3/kv/txn", "/v3/kv/txn"]);
    // The rest of a list that is longer comes after it, as of the same moment; alone it comes at once.
    paths.length = 0;
    const [whole] = await Promise.all([store.list("/calico/"), store.get(keys[0])]);
    assert.equal(whole.entries.length, 150);
    assert.deepEqual(paths, ["/v3/kv/txn", "/v3/kv/range"]);
    paths.length = 0;
    assert.equal((await store.list("/calico/")).entries.length, 150);
    assert.deepEqual(paths, ["/v3/kv/range"]);
  });
});

Deno.test("a follower goes on after an etcd's place was taken by something else", async () => {
  const cluster = await EtcdCluster.start();
  const own = cluster.endpoints[0];
  let fault: { path: RegExp; text: string; status?: number } | undefined;
  const open = new Set<() => void>();
  const proxy = serveHttp({ port: 0, hostname: "127.0.0.1" }, async (request) => {
    const { pathname } = new URL(request.url);
    const body = await request.text();
    if (fault?.path.test(pathname)) return new Response(fault.text, { status: fault.status });
    const answer = await fetch(own + pathname, { method: "POST", body });
    const through = new TransformStream<Uint8Array, Uint8Array>({
      start: (controller) => void open.add(() => controller.terminate()),
    });
    answer.body!.pipeTo(through.writable).catch(() => {}); // it was cut off
    return new Response(through.readable, { status: answer.status });
  });
  const endpoints = [`http://127.0.0.1:${proxy.port}`];
  const store = await openEtcd({ kind: "etcd", endpoints, tls: {} }, { patienceMs: 200 });
  const direct = await cluster.open();
  const seen = new Set<string>(), told: string[] = [];
  const abort = new AbortController();
  const following = follow(store, "/calico/", {
    put: ({ key }) => void seen.add(key),
    delete: (key) => void told.push(`delete ${key}`),
    unavailable: ({ message }) => void told.push(message),
  }, { signal: abort.signal });
  const until = async (what: string, isSo: () => boolean) => {
    for (let i = 0; i < 3000; i++) {
      if (isSo()) return;
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
    assert.fail(`${what}: ${told.join("; ")}`);
  };
  const texts = ["<html>", "{}\n", "[]\n", "null\n", `{"result":{"events":[{"kv":{}}]}}\n`];
  const faults: NonNullable<typeof fault>[] = [
    ...texts.map((text) => ({ path: /watch/, text })),
    ...texts.map((text) => ({ path: /./, text })),
    ...[400, 404, 405].map((status) => ({ path: /./, text: "no", status })),
    { path: /./, status: 400, text: JSON.stringify({ error: "bad", message: "bad", code: 3 }) },
  ];
  try {
    for (const [i, one] of faults.entries()) {
      const { length } = told;
      fault = one;
      await until(`fault ${i} is told`, () => {
        // One may be about to be opened.
        for (const cut of open) cut();
        open.clear();
        return told.length > length;
      });
      fault = undefined;
      await direct.put(`/calico/k${i}`, i);
      await until(`k${i} after fault ${i}`, () => seen.has(`/calico/k${i}`));
      // What comes by the watch makes the next failure a first one.
      await direct.put(`/calico/w${i}`, i);
      await until(`w${i} after fault ${i}`, () => seen.has(`/calico/w${i}`));
    }
    assert.deepEqual(told.filter((one) => one.startsWith("delete")), []);
  } finally {
    abort.abort();
    await following;
    await store.close();
    await direct.close();
    await cluster.stop();
    await proxy.close();
  }
});
