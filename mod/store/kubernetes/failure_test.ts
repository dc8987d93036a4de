import assert from "node:assert/strict";
import { systemClock } from "../clock.ts";
import { StoreError } from "../store.ts";
import { KubernetesApi } from "./api.ts";
import { machine } from "./cluster.ts";
import { TIMING } from "./config.ts";
import { Connection } from "./connection.ts";
import { ApiError, explainFetch, storeError, Unreachable } from "./failure.ts";
import { serveHttp } from "../../node/http_server.ts";

const POOLS = {
  group: "crd.projectcalico.org",
  version: "v1",
  plural: "ippools",
  kind: "IPPool",
  namespaced: false,
};

/** The API as far as it goes, in front of a server that answers what the test says. */
async function on(
  answer: (request: Request) => Response,
  patienceMs: number,
  run: (api: KubernetesApi) => Promise<void>,
): Promise<void> {
  const at = { hostname: "127.0.0.1", port: 0 };
  const server = serveHttp(at, async (request) => {
    await request.body?.cancel();
    return answer(request);
  });
  const access = {
    server: `http://127.0.0.1:${server.port}`,
    insecure: false,
    origin: "the test",
  };
  const connection = new Connection(access, machine, { ...TIMING, patienceMs }, systemClock);
  try {
    await run(new KubernetesApi(connection, systemClock));
  } finally {
    connection.close();
    await server.close();
  }
}

Deno.test("who begins to try while the server is away does not begin at the shortest pause", async () => {
  let requests = 0, status = 503;
  const answer = () => {
    requests++;
    return Response.json({ metadata: { name: "a" } }, { status });
  };
  await on(answer, 500, async (api) => {
    const failing = () => assert.rejects(api.get(POOLS, "a"), ApiError);
    while (api.connection.failingMs < 1500) await failing();
    requests = 0;
    await failing();
    // From 50 ms on, four or five would be made in the time.
    assert(requests <= 3, `${requests} requests`);
    status = 200;
    await api.get(POOLS, "a");
    assert.equal(api.connection.failingMs, 0);
  });
});

Deno.test("of a write whose answer was lost it is said that its outcome is unknown, and of no other", async () => {
  const told = async (work: Promise<unknown>) => {
    const error = await work.then(() => assert.fail("it succeeds"), (error) => error);
    const store = storeError(error, "https://k") as StoreError;
    assert.equal(store.kind, "unavailable");
    return store.message;
  };
  const body = { metadata: { name: "a" } };
  const unknown =
    /^the outcome of create ippools\S* "a" is unknown, read the object again: the Kub/;
  await on(() => new Response("no", { status: 504 }), 100, async (api) => {
    assert.match(await told(api.create(POOLS, body)), unknown);
    assert.match(await told(api.get(POOLS, "a")), /^the Kubernetes API https:\/\/k failed to get/);
  });
  // Surely not carried out, or no write.
  const [sent, not] = [new Unreachable("x", true), new Unreachable("x", false)];
  for (const error of [sent, not]) {
    const { message } = storeError(error, "https://k") as StoreError;
    assert.equal(message, "the Kubernetes API https://k: x");
  }
  const lost = {
    async text() {
      throw new Unreachable("the connection broke", await Promise.resolve(true));
    },
    timing: TIMING,
    closed: false,
    failingMs: 0,
  };
  const api = new KubernetesApi(lost as unknown as Connection, systemClock);
  assert.match(await told(api.create(POOLS, body)), unknown);
});

Deno.test("who has named no authority is not told of one that he gave", () => {
  const error = new TypeError("error sending request: invalid peer certificate: UnknownIssuer");
  assert.match(explainFetch(error, "c").message, /authority that we were given/);
  assert.match(
    explainFetch(error, "c", false).message,
    /authority of this machine's; name the cluster's own \(certificate-authority\)/,
  );
  const eof =
    "client error (SendRequest): peer closed connection without sending TLS close_notify: " +
    "https://docs.rs/rustls/latest/rustls/manual/_03_howto/index.html#unexpected-eof";
  assert.doesNotMatch(explainFetch(new TypeError(eof), "c").message, /docs\.rs/);
});
