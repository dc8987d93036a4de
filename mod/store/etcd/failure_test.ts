import assert from "node:assert/strict";
import { type FailureKind, failureOfAnswer, failureOfFetch, toStoreError } from "./failure.ts";

Deno.test("what an etcd answers has a kind, and a write is in doubt only where it may be done", () => {
  const cases: [number, number, string, FailureKind, boolean][] = [
    [503, 14, "etcdserver: no leader", "member", false],
    [503, 14, "etcdserver: request timed out", "member", true],
    [
      503,
      14,
      "etcdserver: request timed out, possibly due to previous leader failure",
      "member",
      true,
    ],
    [503, 14, "etcdserver: leader changed", "member", true],
    [429, 8, "etcdserver: too many requests", "member", false],
    [429, 8, "etcdserver: mvcc: database space exceeded", "full", false],
    [400, 11, "etcdserver: mvcc: required revision has been compacted", "compacted", false],
    [400, 11, "etcdserver: mvcc: required revision is a future revision", "future", false],
    [404, 5, "etcdserver: requested lease not found", "lease", false],
    [401, 16, "etcdserver: invalid auth token", "token", false],
    [400, 3, "etcdserver: revision of auth store is old", "token", false],
    [400, 3, "etcdserver: user name is empty", "anonymous", false],
    [400, 3, "etcdserver: authentication failed, invalid user ID or password", "denied", false],
    [403, 7, "etcdserver: permission denied", "denied", false],
    [400, 3, "etcdserver: request is too large", "invalid", false],
    [404, 0, "", "denied", false],
    [502, 0, "", "member", true],
  ];
  for (const [status, code, message, kind, uncertain] of cases) {
    const failure = failureOfAnswer(status, code, message);
    assert.equal(failure.kind, kind, message);
    assert.equal(failure.uncertain, uncertain, message);
    assert(failure.message.length > 5);
  }
});

Deno.test("a connection that was never there leaves no write in doubt", () => {
  const cause = (text: string) =>
    new TypeError("error sending request", { cause: new Error(text) });
  const refused = failureOfFetch(
    cause("client error (Connect): tcp connect error: Connection refused (os error 111)"),
    true,
  );
  assert.equal(refused.uncertain, false);
  assert.match(refused.message, /nobody listens/);
  const broken = failureOfFetch(
    cause("client error (SendRequest): connection closed before message completed"),
    true,
  );
  assert.equal(broken.kind, "member");
  assert.equal(broken.uncertain, true);
  const alert = "client error (SendRequest): received fatal alert: CertificateRequired";
  assert.match(failureOfFetch(cause(alert), true, false).message, /wants a client certificate/);
  assert.match(failureOfFetch(cause(alert), true, true).message, /does not accept our client/);
  assert.equal(failureOfFetch(cause(alert), true).kind, "tls");
  const eof =
    "client error (SendRequest): peer closed connection without sending TLS close_notify: " +
    "https://docs.rs/rustls/latest/rustls/manual/_03_howto/index.html#unexpected-eof";
  assert.match(failureOfFetch(cause(eof), true).message, /without sending TLS close_notify$/);
  const go = "Client sent an HTTP request to an HTTPS server.\n";
  assert.match(failureOfAnswer(400, 0, "", go).message, /speaks TLS at this port; write https:/);
});

Deno.test("the caller hears where, what and whether the outcome is known", () => {
  const unknown = failureOfAnswer(503, 14, "etcdserver: request timed out");
  const error = toStoreError(unknown, "http://e:2379", "update of /calico/a");
  assert.equal(error.kind, "unavailable");
  assert.equal(
    error.message,
    "the outcome of update of /calico/a is unknown, read the object again: etcd at http://e:2379: " +
      "request timed out",
  );
  assert.equal(toStoreError(failureOfAnswer(403, 7, "permission denied"), "x", "y").kind, "denied");
});
