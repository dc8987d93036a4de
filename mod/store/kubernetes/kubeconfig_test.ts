/** Where the cluster is, and as whom we come: kubeconfigs, the pod's account, single settings. */
import assert from "node:assert/strict";
import { StoreError } from "../store.ts";
import { findAccess, type Surroundings } from "./cluster.ts";
import type { KubernetesConfig } from "./config.ts";

function around(files: Record<string, string>, env: Record<string, string> = {}): Surroundings {
  return { env: (name) => env[name], readFile: (path) => Promise.resolve(files[path]) };
}

const config = (user: object, cluster: object = {}) =>
  JSON.stringify({
    "current-context": "a",
    contexts: [{ name: "a", context: { cluster: "c", user: "u" } }],
    clusters: [{ name: "c", cluster: { server: "https://192.0.2.1:6443/", ...cluster } }],
    users: [{ name: "u", user }],
  });

async function refused(given: KubernetesConfig, files: Record<string, string>): Promise<string> {
  try {
    const access = await findAccess(given, around(files));
    assert.fail(`expected a refusal, got ${JSON.stringify(access)}`);
  } catch (error) {
    if (!(error instanceof StoreError)) throw error;
    assert.equal(error.kind, "invalid");
    return error.message;
  }
}

Deno.test("a kubeconfig gives server, authority and credentials", async () => {
  const files = {
    "/k/config": config({ "client-certificate": "u.crt", "client-key-data": btoa("KEY") }, {
      "certificate-authority-data": btoa("CA"),
    }),
  };
  assert.deepEqual(await findAccess({ kubeconfig: "/k/config" }, around(files)), {
    server: "https://192.0.2.1:6443",
    ca: { pem: "CA" },
    insecure: false,
    tlsServerName: undefined,
    cert: { file: "/k/u.crt" },
    key: { pem: "KEY" },
    origin: 'context "a" of /k/config',
  });
  const token = { "/k/config": config({ token: "t", tokenFile: "tok" }) };
  const access = await findAccess({ kubeconfig: "/k/config" }, around(token));
  assert.deepEqual(access.token, { file: "/k/tok" });
});

Deno.test("several kubeconfigs are one: the first that says something counts", async () => {
  const files = {
    "/a": "current-context: b\n",
    "/b/config":
      "contexts: [{name: b, context: {cluster: d, user: v}}]\nusers: [{name: v, user: {token: x}}]\n",
    "/c": config({ token: "t" }) +
      "",
    "/d": "clusters: [{name: d, cluster: {server: 'https://d'}}]\ncurrent-context: z\n",
  };
  const access = await findAccess({ kubeconfig: "/a:/missing:/b/config:/c:/d" }, around(files));
  assert.equal(access.server, "https://d");
  assert.deepEqual(access.token, { text: "x" });
  const other = await findAccess(
    { kubeconfig: "/a:/b/config:/c:/d", context: "a" },
    around(files),
  );
  assert.equal(other.server, "https://192.0.2.1:6443");
});

Deno.test("what a kubeconfig lacks, or what we do not do, is said by name", async () => {
  const said = (user: object, cluster?: object) =>
    refused({ kubeconfig: "/k" }, { "/k": config(user, cluster) });
  assert.match(await said({ exec: { command: "aws" } }), /"aws" \(exec\).*starts no other program/);
  assert.match(await said({}, { "proxy-url": "http://p" }), /proxy-url/);
  assert.match(await said({ "auth-provider": { name: "gcp" } }), /auth-provider/);
  assert.match(await said({ as: "root" }), /impersonates/);
  assert.match(await said({ "client-certificate": "x" }), /certificate without its key/);
  assert.match(await said({}, { server: "ftp://x" }), /no URL/);
  assert.match(await said({}, { "certificate-authority-data": "%" }), /not base64/);
  const file = { "/k": config({}) };
  assert.match(await refused({ kubeconfig: "/k", context: "x" }, file), /no context "x".*"a"/);
  assert.match(await refused({ kubeconfig: "/none" }, file), /no kubeconfig \/none/);
  assert.match(await refused({ kubeconfig: "/k" }, { "/k": "{" }), /not YAML/);
  assert.match(await refused({ kubeconfig: "/k" }, { "/k": "- a" }), /no kubeconfig/);
  assert.match(await refused({ kubeconfig: "/k" }, { "/k": "a: b" }), /no current-context/);
  assert.match(await refused({}, {}), /KUBERNETES_SERVICE_HOST is not set/);
  assert.match(await refused({ apiGroup: "projectcalico.org/v3", kubeconfig: "/k" }, file), /v1/);
});

Deno.test("in a pod its service account counts, where nothing else is named", async () => {
  const folder = "/var/run/secrets/kubernetes.io/serviceaccount";
  const files = { [`${folder}/token`]: "t", [`${folder}/ca.crt`]: "CA", "/k": config({}) };
  const env = { KUBERNETES_SERVICE_HOST: "fd00::1", KUBERNETES_SERVICE_PORT: "443" };
  assert.deepEqual(await findAccess({}, around(files, env)), {
    server: "https://[fd00::1]:443",
    insecure: false,
    ca: { file: `${folder}/ca.crt` },
    token: { file: `${folder}/token` },
    origin: "the pod's service account",
  });
  const byDefault = await findAccess({ defaultKubeconfig: "/k" }, around(files, env));
  assert.equal(byDefault.server, "https://192.0.2.1:6443");
  const passed = await findAccess({ defaultKubeconfig: "/none" }, around(files, env));
  assert.equal(passed.origin, "the pod's service account");
});

Deno.test("single settings win over the kubeconfig", async () => {
  const access = await findAccess({
    kubeconfig: "/k",
    apiEndpoint: "192.0.2.9:6443",
    token: "mine",
    tls: { ca: { file: "/ca" } },
  }, around({ "/k": config({ tokenFile: "x" }) }));
  assert.equal(access.server, "https://192.0.2.9:6443");
  assert.deepEqual(access.token, { text: "mine" });
  assert.deepEqual(access.ca, { file: "/ca" });
  const alone = await findAccess({ apiEndpoint: "http://192.0.2.9:8080" }, around({}));
  assert.equal(alone.server, "http://192.0.2.9:8080");
});
