/** Deleting: preconditions, finalizers, graceful ends, collections and namespaces. */
import assert from "node:assert/strict";
import {
  CONCEPTS,
  CONVENTIONS,
  eventually,
  type Expectation,
  MERGE,
  names,
} from "./expectation.ts";

const FINALIZERS = "Finalizers";
const finalizer = { finalizers: ["example.com/hold"] };
const release = { metadata: { finalizers: null } };

export const DELETIONS: Expectation[] = [
  {
    name: "a deletion answers Success with the uid, and the object is gone",
    from: `${CONVENTIONS}, Response Status Kind`,
    async check(w) {
      const made = await w.do(201, "POST", w.widgets(), w.widget("a"));
      const status = await w.do(200, "DELETE", w.widgets("a"));
      assert.equal(status.status, "Success");
      assert.deepEqual(status.details, {
        name: "a",
        group: w.group,
        kind: "widgets",
        uid: made.metadata.uid,
      });
      await w.refused(404, "NotFound", "GET", w.widgets("a"));
      const again = await w.do(201, "POST", w.widgets(), w.widget("a"));
      assert.notEqual(again.metadata.uid, made.metadata.uid);
    },
  },
  {
    name: "preconditions that do not hold are 409, and the object stays",
    from: `${CONVENTIONS}, Concurrency Control and Consistency`,
    async check(w) {
      const made = await w.do(201, "POST", w.widgets(), w.widget("a"));
      const remove = (preconditions: object) => ({
        kind: "DeleteOptions",
        apiVersion: "v1",
        preconditions,
      });
      const other = remove({ uid: "00000000-0000-0000-0000-000000000001" });
      await w.refused(409, "Conflict", "DELETE", w.widgets("a"), other);
      const { resourceVersion, uid } = made.metadata;
      await w.do(200, "PATCH", w.widgets("a"), { spec: { size: 7 } }, MERGE);
      const stale = remove({ uid, resourceVersion });
      await w.refused(409, "Conflict", "DELETE", w.widgets("a"), stale);
      const now = await w.do(200, "GET", w.widgets("a"));
      const right = remove({ uid, resourceVersion: now.metadata.resourceVersion });
      await w.do(200, "DELETE", w.widgets("a"), right);
      await w.refused(404, "NotFound", "GET", w.widgets("a"));
    },
  },
  {
    name: "with finalizers it is only marked, and goes with the last of them",
    from: FINALIZERS,
    async check(w) {
      await w.do(201, "POST", w.configMaps(), w.configMap("a", {}, finalizer));
      await w.do(200, "DELETE", w.configMaps("a"));
      const marked = await w.do(200, "GET", w.configMaps("a"));
      assert.match(marked.metadata.deletionTimestamp, /Z$/);
      // A second deletion changes nothing.
      await w.do(200, "DELETE", w.configMaps("a"));
      const more = { metadata: { finalizers: ["example.com/hold", "example.com/more"] } };
      const status = await w.do(422, "PATCH", w.configMaps("a"), more, MERGE);
      assert.equal(status.details.causes[0].field, "metadata.finalizers");
      await w.do(200, "PATCH", w.configMaps("a"), release, MERGE);
      await w.refused(404, "NotFound", "GET", w.configMaps("a"));
    },
  },
  {
    name: "a marked object can still be changed otherwise",
    from: FINALIZERS,
    async check(w) {
      await w.do(201, "POST", w.configMaps(), w.configMap("a", {}, finalizer));
      await w.do(200, "DELETE", w.configMaps("a"));
      const next = await w.do(200, "PATCH", w.configMaps("a"), { data: { k: "v" } }, MERGE);
      assert.deepEqual(next.data, { k: "v" });
      assert.ok(next.metadata.deletionTimestamp);
      await w.do(200, "PATCH", w.configMaps("a"), release, MERGE);
    },
  },
  {
    name: "a pod on a node ends gracefully: marked at first, gone with grace period 0",
    from: "Pod Lifecycle, Termination of Pods",
    async check(w) {
      await w.do(201, "POST", w.pods(), w.pod("a", { nodeName: "no-such-node" }));
      const marked = await w.do(200, "DELETE", w.pods("a"));
      assert.equal(marked.kind, "Pod");
      assert.equal(marked.metadata.deletionGracePeriodSeconds, 30);
      assert.ok(Date.parse(marked.metadata.deletionTimestamp) > Date.now() + 10_000);
      await w.do(200, "GET", w.pods("a"));
      await w.do(200, "DELETE", `${w.pods("a")}?gracePeriodSeconds=0`);
      await w.refused(404, "NotFound", "GET", w.pods("a"));
    },
  },
  {
    name: "a pod that is on no node goes at once",
    from: "Pod Lifecycle, Termination of Pods",
    async check(w) {
      await w.do(201, "POST", w.pods(), w.pod("a"));
      await w.do(200, "DELETE", w.pods("a"));
      await w.refused(404, "NotFound", "GET", w.pods("a"));
    },
  },
  {
    name: "deleting a collection takes what the selector matches",
    from: `${CONCEPTS}, Collections`,
    async check(w) {
      for (const [name, team] of [["a", "x"], ["b", "x"], ["c", "y"]]) {
        const body = w.configMap(name, {}, { labels: { team } });
        await w.do(201, "POST", w.configMaps(), body);
      }
      await w.do(200, "DELETE", `${w.configMaps()}?labelSelector=team%3Dx`);
      const left = await w.do(200, "GET", `${w.configMaps()}?labelSelector=team`);
      assert.deepEqual(names(left), ["c"]);
    },
  },
  {
    name: "deleting a collection with a limit takes as many and stops",
    from: `${CONCEPTS}, Collections`,
    async check(w) {
      for (const name of ["a", "b", "c"]) await w.do(201, "POST", w.widgets(), w.widget(name));
      await w.do(200, "DELETE", `${w.widgets()}?limit=2`);
      assert.deepEqual(names(await w.do(200, "GET", w.widgets())), ["c"]);
    },
  },
  {
    name: "a namespace that ends takes its objects along, and takes no new ones",
    from: "Namespaces; Finalizers",
    async check(w) {
      const name = `${w.namespace}-x`;
      const namespace = `/api/v1/namespaces/${name}`;
      const maps = `${namespace}/configmaps`;
      const made = { apiVersion: "v1", kind: "Namespace", metadata: { name } };
      const answer = await w.do(201, "POST", "/api/v1/namespaces", made);
      assert.equal(answer.status.phase, "Active");
      assert.equal(answer.metadata.labels["kubernetes.io/metadata.name"], name);
      await w.do(201, "POST", maps, w.configMap("held", {}, finalizer));
      await w.do(201, "POST", maps, w.configMap("free"));
      await w.do(200, "DELETE", namespace);
      const ending = await w.do(200, "GET", namespace);
      assert.equal(ending.status.phase, "Terminating");
      const status = await w.refused(403, "Forbidden", "POST", maps, w.configMap("late"));
      assert.equal(status.details.causes[0].reason, "NamespaceTerminating");
      await eventually(
        "the free object is gone",
        async () => (await w.call("GET", `${maps}/free`)).status === 404,
      );
      await w.do(200, "GET", `${maps}/held`);
      await eventually("the held object is marked", async () => {
        const held = await w.do(200, "GET", `${maps}/held`);
        return held.metadata.deletionTimestamp !== undefined;
      });
      await w.do(200, "PATCH", `${maps}/held`, release, MERGE);
      await eventually(
        "the namespace is gone",
        async () => (await w.call("GET", namespace)).status === 404,
      );
    },
  },
  {
    name: "a namespace has a service account of name default soon",
    from: "Service Accounts, Default service accounts",
    async check(w) {
      await eventually(
        "the account is there",
        async () => (await w.call("GET", w.core("serviceaccounts", "default"))).status === 200,
      );
    },
  },
];
