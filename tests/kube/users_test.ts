/** Who asks and what they may do: tokens, their ends, and grants. */
import assert from "node:assert/strict";
import { startKube } from "./kube.ts";

const EVENTS = "/api/v1/namespaces/default/events";
const MAPS = "/api/v1/namespaces/default/configmaps";

Deno.test("a user may do what a grant says, and nothing else", async () => {
  await using kube = await startKube();
  const token = kube.user("reader", ["readers"]);
  using reader = kube.clientOf({ token });
  const refused = await reader.call("GET", MAPS);
  assert.equal(refused.status, 403);
  assert.equal(
    refused.body.message,
    'configmaps is forbidden: User "reader" cannot list resource "configmaps" in API group "" ' +
      'in the namespace "default"',
  );
  kube.grants.push({
    to: "readers",
    rules: [
      { verbs: ["get", "list"], resources: ["configmaps"], namespaces: ["default"] },
      { verbs: ["patch"], resources: ["pods/status"] },
    ],
  });
  assert.equal((await reader.call("GET", MAPS)).status, 200);
  const codes = [
    await reader.call("GET", "/api/v1/configmaps"),
    await reader.call("GET", `${MAPS}?watch=1`),
    await reader.call("POST", MAPS, { metadata: { name: "a" } }),
    await reader.call("GET", "/api/v1/nodes"),
    await reader.call("PATCH", "/api/v1/namespaces/default/pods/a", {}),
  ].map((o) => o.status);
  assert.deepEqual(codes, [403, 403, 403, 403, 403]);
  // The subresource alone is granted: there is no such pod.
  const patch = { "content-type": "application/merge-patch+json" };
  const status = await reader.call("PATCH", "/api/v1/namespaces/default/pods/a/status", {}, patch);
  assert.equal(status.status, 404);
  const nodes = await reader.call("GET", "/api/v1/nodes");
  assert.match(nodes.body.message, /at the cluster scope$/);
  kube.revoke(token);
  assert.equal((await reader.call("GET", MAPS)).status, 401);
});

Deno.test("a service account's token expires (401), and its account's grants are its own", async () => {
  let now = Date.now();
  await using kube = await startKube({
    now: () => now,
    grants: [{
      to: "system:serviceaccount:kube-system:node",
      rules: [{ verbs: ["*"], groups: ["*"], resources: ["*"] }],
    }],
  });
  const account = { metadata: { name: "node" } };
  await kube.call("POST", "/api/v1/namespaces/kube-system/serviceaccounts", account);
  using node = kube.clientOf({ token: kube.accountToken("kube-system", "node", 60) });
  assert.equal((await node.call("GET", "/api/v1/nodes")).status, 200);
  using other = kube.clientOf({ token: kube.accountToken("default", "default", 60) });
  assert.equal((await other.call("GET", "/api/v1/nodes")).status, 403);
  now += 61_000;
  const late = await node.call("GET", "/api/v1/nodes");
  assert.deepEqual([late.status, late.body.reason], [401, "Unauthorized"]);
});

Deno.test("a token of an account that was made anew is nobody's", async () => {
  await using kube = await startKube();
  const token = kube.accountToken("default", "default");
  const accounts = "/api/v1/namespaces/default/serviceaccounts";
  await kube.call("DELETE", `${accounts}/default`);
  await kube.call("POST", accounts, { metadata: { name: "default" } });
  using client = kube.clientOf({ token });
  assert.equal((await client.call("GET", MAPS)).status, 401);
});

Deno.test("without credentials one may ask for health and version alone", async () => {
  await using kube = await startKube();
  using nobody = kube.clientOf({});
  for (const path of ["/readyz", "/livez", "/healthz", "/version"]) {
    assert.equal((await nobody.call("GET", path)).status, 200, path);
  }
  const refused = await nobody.call("GET", MAPS);
  assert.equal(refused.status, 403);
  assert.match(refused.body.message, /User "system:anonymous"/);
  assert.equal((await nobody.call("GET", "/apis")).status, 403);
});

Deno.test("a client that does not know the authority refuses the server", async () => {
  await using kube = await startKube();
  await using stranger = await startKube();
  using client = Deno.createHttpClient({ caCerts: [stranger.ca] });
  await assert.rejects(fetch(`${kube.url}/version`, { client }), /certificate/);
});

Deno.test("what a pod finds of its account is written to a folder", async () => {
  await using kube = await startKube();
  const folder = await Deno.makeTempDir();
  try {
    const environment = await kube.mountAccount(folder, "default", "default");
    assert.equal(environment.KUBERNETES_SERVICE_PORT, String(kube.port));
    const read = (name: string) => Deno.readTextFile(`${folder}/${name}`);
    assert.equal(await read("namespace"), "default");
    assert.equal(await read("ca.crt"), kube.ca);
    using client = kube.clientOf({ token: await read("token") });
    assert.equal((await client.call("GET", MAPS)).status, 403);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test("a client certificate names user and groups; one that is not ours or is over is 401", async () => {
  await using kube = await startKube();
  using admin = kube.clientOf({ certificate: kube.certificate("root", ["system:masters"]) });
  assert.equal((await admin.call("GET", MAPS)).status, 200);
  using alice = kube.clientOf({ certificate: kube.certificate("alice", ["readers"]) });
  const refused = await alice.call("GET", MAPS);
  assert.equal(refused.status, 403);
  assert.match(refused.body.message, /User "alice" cannot list/);
  kube.grants.push({ to: "readers", rules: [{ verbs: ["list"], resources: ["configmaps"] }] });
  assert.equal((await alice.call("GET", MAPS)).status, 200);
  using late = kube.clientOf({ certificate: kube.certificate("late", ["system:masters"], -1) });
  assert.equal((await late.call("GET", MAPS)).status, 401);
  await using stranger = await startKube();
  const foreign = stranger.certificate("stranger", ["system:masters"]);
  using other = kube.clientOf({ certificate: foreign });
  assert.equal((await other.call("GET", MAPS)).status, 401);
  // A token that is somebody's stands beside it.
  const headers = { authorization: `Bearer ${kube.adminToken}` };
  assert.equal((await other.call("GET", MAPS, undefined, headers)).status, 200);
});

Deno.test("bodies of all sizes pass through TLS unchanged, both ways", async (t) => {
  for (const http2 of [false, true]) {
    await t.step(http2 ? "HTTP/2" : "HTTP/1.1", () => passBodies(http2));
  }
});

async function passBodies(http2: boolean): Promise<void> {
  await using kube = await startKube({ http2 });
  for (const size of [0, 1, 1000, 16_383, 16_384, 16_385, 100_000, 1_000_000, 2_900_000]) {
    const text = Array.from({ length: size }, (_, i) => "abcdefghij"[i % 10]).join("");
    // A ConfigMap would hold no more than 1 MiB.
    const event = { metadata: { name: `e${size}` }, message: text };
    assert.equal((await kube.call("POST", EVENTS, event)).status, 201, String(size));
    const { body } = await kube.call("GET", `${EVENTS}/e${size}`);
    assert.ok(body.message === text, String(size));
  }
}
