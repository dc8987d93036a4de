/** Discovery, who one is, and tokens of service accounts. */
import assert from "node:assert/strict";
import { CONCEPTS, CONVENTIONS, eventually, type Expectation } from "./expectation.ts";

export const ACCESS: Expectation[] = [
  {
    name: "discovery lists groups, versions and resources with their verbs",
    from: `${CONCEPTS}, API terminology`,
    async check(w) {
      const core = await w.do(200, "GET", "/api");
      assert.deepEqual([core.kind, core.versions], ["APIVersions", ["v1"]]);
      const groups = await w.do(200, "GET", "/apis");
      assert.equal(groups.kind, "APIGroupList");
      const own = groups.groups.find((g: any) => g.name === w.group);
      assert.deepEqual(own.preferredVersion, { groupVersion: `${w.group}/v1`, version: "v1" });
      assert.equal((await w.do(200, "GET", `/apis/${w.group}`)).kind, "APIGroup");
      const resources = await w.do(200, "GET", "/api/v1");
      assert.deepEqual([resources.kind, resources.groupVersion], ["APIResourceList", "v1"]);
      const line = (name: string) => resources.resources.find((r: any) => r.name === name);
      assert.deepEqual([line("pods").namespaced, line("pods").kind], [true, "Pod"]);
      assert.equal(line("nodes").namespaced, false);
      assert.ok(line("pods/status"));
      for (const verb of ["create", "delete", "get", "list", "patch", "update", "watch"]) {
        assert.ok(line("pods").verbs.includes(verb), verb);
      }
      for (
        const path of [
          "/apis/networking.k8s.io/v1",
          "/apis/discovery.k8s.io/v1",
          "/apis/apps/v1",
          "/apis/coordination.k8s.io/v1",
          "/apis/apiextensions.k8s.io/v1",
        ]
      ) {
        assert.ok((await w.do(200, "GET", path)).resources.length > 0, path);
      }
      assert.match((await w.do(200, "GET", "/version")).gitVersion, /^v1\.\d+/);
      assert.equal(await w.do(200, "GET", "/readyz"), "ok");
    },
  },
  {
    name: "a token that is nobody's is 401 Unauthorized",
    from: `${CONVENTIONS}, HTTP Status codes`,
    async check(w) {
      const headers = { authorization: "Bearer nonsense" };
      await w.refused(401, "Unauthorized", "GET", w.configMaps(), undefined, headers);
    },
  },
  {
    name: "a service account's token is the account's, and ends with the account",
    from: "Authenticating, Service account tokens; Managing Service Accounts, TokenRequest API",
    async check(w) {
      const account = { apiVersion: "v1", kind: "ServiceAccount", metadata: { name: "a" } };
      const place = w.core("serviceaccounts", "a");
      await w.do(201, "POST", w.core("serviceaccounts"), account);
      const request = {
        apiVersion: "authentication.k8s.io/v1",
        kind: "TokenRequest",
        spec: { expirationSeconds: 600 },
      };
      const { status } = await w.do(201, "POST", `${place}/token`, request);
      const left = Date.parse(status.expirationTimestamp) - Date.now();
      assert.ok(left > 500_000 && left < 700_000, `${left} ms`);
      const review = {
        apiVersion: "authentication.k8s.io/v1",
        kind: "TokenReview",
        spec: { token: status.token },
      };
      const path = "/apis/authentication.k8s.io/v1/tokenreviews";
      const name = `system:serviceaccount:${w.namespace}:a`;
      const known = await w.do(201, "POST", path, review);
      assert.equal(known.status.authenticated, true);
      assert.equal(known.status.user.username, name);
      assert.ok(known.status.user.groups.includes(`system:serviceaccounts:${w.namespace}`));
      // It may ask, and may do nothing that nobody granted.
      const headers = { authorization: `Bearer ${status.token}` };
      const refused = await w.refused(
        403,
        "Forbidden",
        "GET",
        w.configMaps(),
        undefined,
        headers,
      );
      assert.match(refused.message, new RegExp(`User "${name}" cannot list resource "configmaps"`));
      assert.deepEqual(refused.details, { kind: "configmaps" });
      const short = { ...request, spec: { expirationSeconds: 10 } };
      await w.refused(422, "Invalid", "POST", `${place}/token`, short);
      await w.do(200, "DELETE", place);
      await eventually("the token is nobody's", async () => {
        const after = await w.do(201, "POST", path, review);
        return !after.status.authenticated;
      });
      await w.refused(404, "NotFound", "POST", `${place}/token`, request);
    },
  },
];
