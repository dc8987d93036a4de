import assert from "node:assert/strict";
import { EtcdClient } from "./client.ts";
import { type HttpServer, serveHttp } from "../../node/http_server.ts";

const HEADER = { cluster_id: "1", member_id: "1", revision: "7", raft_term: "1" };

/** A member of an etcd with users: logs in, and answers ranges to those whose token it knows. */
class FakeMember {
  logins = 0;
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
    const token = request.headers.get("authorization") ?? "";
    await request.text();
    if (this.hangs || this.stale.has(token)) {
      await new Promise<void>((resolve) => {
        request.signal.addEventListener("abort", () => resolve());
        this.#over.signal.addEventListener("abort", () => resolve());
      });
    }
    if (new URL(request.url).pathname === "/v3/auth/authenticate") {
      const error = "etcdserver: authentication is not enabled";
      if (this.usersAreOff) return Response.json({ error, code: 9 }, { status: 400 });
      return Response.json({ header: HEADER, token: `${this.name}.${++this.logins}` });
    }
    if (!this.usersAreOff && !token.startsWith(`${this.name}.`)) {
      const error = "etcdserver: invalid auth token";
      return Response.json({ error, code: 16 }, { status: 401 });
    }
    return Response.json({ header: HEADER });
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

const read = (client: EtcdClient) => client.call("/v3/kv/range", {}, { what: "a read" });

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
