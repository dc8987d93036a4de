import assert from "node:assert/strict";
import { EtcdClient } from "./client.ts";
import { TurnReads } from "./turn_reads.ts";
import { type HttpServer, serveHttp } from "../../node/http_server.ts";

const HEADER = { cluster_id: "1", member_id: "1", revision: "7", raft_term: "1" };

/** A member of an etcd with users: logs in, and answers ranges to those whose token it knows. */
class FakeMember {
  logins = 0;
  readonly asked: string[] = [];
  /** It takes requests and answers none. */
  hangs = false;
  /** Of another time: it neither answers nor refuses who comes with them. */
  readonly stale = new Set<string>();
  usersAreOff = false;
  readonly #server: HttpServer;
  readonly #over = new AbortController();

  constructor(readonly name: string) {
    const at = { hostname: "127.0.0.1", port: 0 };
    this.#server = serveHttp(at, (request) => this.#answer(request));
  }

  get url(): string {
    return `http://127.0.0.1:${this.#server.port}`;
  }

  async #answer(request: Request): Promise<Response> {
    const { pathname } = new URL(request.url);
    const token = request.headers.get("authorization") ?? "";
    await request.text();
    this.asked.push(pathname);
    if (this.hangs || this.stale.has(token)) {
      await new Promise<void>((resolve) => {
        request.signal.addEventListener("abort", () => resolve());
        this.#over.signal.addEventListener("abort", () => resolve());
      });
    }
    // Nobody is asked who he is for this.
    if (pathname === "/version") return Response.json({ etcdserver: "3.5.9" });
    if (pathname === "/v3/auth/authenticate") {
      const error = "etcdserver: authentication is not enabled";
      if (this.usersAreOff) return Response.json({ error, code: 9 }, { status: 400 });
      return Response.json({ header: HEADER, token: `${this.name}.${++this.logins}` });
    }
    if (!this.usersAreOff && !token.startsWith(`${this.name}.`)) {
      const error = "etcdserver: invalid auth token";
      return Response.json({ error, code: 16 }, { status: 401 });
    }
    const responses = [{ response_range: {} }, { response_range: {} }];
    return Response.json({ header: HEADER, ...(pathname === "/v3/kv/txn" && { responses }) });
  }

  async stop(): Promise<void> {
    this.#over.abort();
    await this.#server.close();
  }
}

async function scene(
  names: string[],
  patienceMs: number,
  run: (client: EtcdClient, members: FakeMember[]) => Promise<void>,
): Promise<void> {
  const members = names.map((name) => new FakeMember(name));
  const endpoints = members.map(({ url }) => url);
  const user = { username: "calico", password: "s3cret" };
  const client = new EtcdClient({ kind: "etcd", endpoints, tls: {}, ...user }, {
    patienceMs,
    random: () => 0,
  });
  try {
    await run(client, members);
  } finally {
    client.close();
    for (const member of members) await member.stop();
  }
}

const read = (client: EtcdClient) => client.call("/v3/kv/range", {});

Deno.test("a member that hangs keeps nobody from logging in to the next one", async () => {
  await scene(["hung", "good"], 4000, async (client, [hung, good]) => {
    hung.hangs = true;
    // Those that come while the first one waits are served as well.
    await Promise.all([read(client), read(client), read(client)]);
    assert.equal(good.logins, 1, "all of them share one login");
    await read(client);
    assert.equal(good.logins, 1);
  });
});

Deno.test("a token that is neither taken nor refused is forgotten", async () => {
  await scene(["a"], 800, async (client, [a]) => {
    await read(client);
    a.stale.add("a.1");
    await assert.rejects(read(client), /no answer within/);
    await read(client);
    assert.equal(a.logins, 2);
    a.stale.add("a.2");
    a.usersAreOff = true;
    await assert.rejects(read(client), /no answer within/);
    await read(client);
  });
});

Deno.test("a member that does not say its version is one that failed: reads go on to the next, together", async () => {
  await scene(["hung", "good"], 8000, async (client, [hung, good]) => {
    const reads = new TurnReads(client);
    const both = () => Promise.all(["a", "b"].map((key) => reads.read({ key })));
    await both();
    assert.deepEqual(hung.asked.slice(-2), ["/version", "/v3/kv/txn"]);
    // It may be another since, and says nothing.
    client.interrupted();
    hung.hangs = true;
    await both();
    assert.equal(hung.asked.at(-1), "/version");
    assert.equal(good.asked.at(-1), "/v3/kv/txn");
  });
});

Deno.test("the only member's silence about its version is one failure of all that is read, and is asked again", async () => {
  await scene(["a"], 2500, async (client, [a]) => {
    const reads = new TurnReads(client);
    const both = () => Promise.allSettled(["a", "b"].map((key) => reads.read({ key })));
    const outcomes = async () => (await both()).map(({ status }) => status);
    await read(client);
    a.hangs = true;
    assert.deepEqual(await outcomes(), ["rejected", "rejected"]);
    assert(
      !a.asked.includes("/v3/kv/txn") &&
        a.asked.filter((one) => one.includes("range")).length === 1,
    );
    a.hangs = false;
    assert.deepEqual(await outcomes(), ["fulfilled", "fulfilled"]);
    assert.equal(a.asked.at(-1), "/v3/kv/txn");
  });
});
