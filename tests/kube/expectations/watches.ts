/** Watches: order, resumption, selectors, bookmarks and ends. */
import assert from "node:assert/strict";
import { CONCEPTS, type Expectation, MERGE, type World } from "./expectation.ts";

const DETECT = `${CONCEPTS}, Efficient detection of changes`;
const SEMANTICS = `${CONCEPTS}, Semantics for watch`;

const revisionOf = (object: any) => BigInt(object.metadata.resourceVersion);
const since = async (w: World, path: string) =>
  (await w.do(200, "GET", path)).metadata.resourceVersion;
const brief = (events: any[]) => events.map((e) => `${e.type} ${e.object.metadata.name}`);

export const WATCHES: Expectation[] = [
  {
    name: "from a list's resourceVersion come all later changes, in order",
    from: DETECT,
    async check(w) {
      await w.do(201, "POST", w.widgets(), w.widget("before"));
      const from = await since(w, w.widgets());
      await using watch = await w.watch(`${w.widgets()}?resourceVersion=${from}`);
      const made = await w.do(201, "POST", w.widgets(), w.widget("a"));
      const changed = await w.do(200, "PATCH", w.widgets("a"), { spec: { size: 9 } }, MERGE);
      await w.do(200, "DELETE", w.widgets("a"));
      await w.do(201, "POST", w.widgets(), w.widget("b"));
      const events = await watch.changes(4);
      assert.deepEqual(brief(events), ["ADDED a", "MODIFIED a", "DELETED a", "ADDED b"]);
      assert.deepEqual(events[0].object, made);
      assert.deepEqual(events[1].object, changed);
      const revisions = events.map((e) => revisionOf(e.object));
      for (let i = 1; i < 4; i++) assert.ok(revisions[i] > revisions[i - 1]);
    },
  },
  {
    name: "DELETED carries the last state with the resourceVersion of the deletion",
    from: DETECT,
    async check(w) {
      const made = await w.do(201, "POST", w.widgets(), w.widget("a"));
      const { resourceVersion } = made.metadata;
      await using watch = await w.watch(`${w.widgets()}?resourceVersion=${resourceVersion}`);
      await w.do(200, "DELETE", w.widgets("a"));
      const [gone] = await watch.changes(1);
      assert.equal(gone.type, "DELETED");
      assert.deepEqual(gone.object.spec, made.spec);
      assert.ok(revisionOf(gone.object) > BigInt(resourceVersion));
      const next = await w.do(201, "POST", w.widgets(), w.widget("b"));
      assert.ok(revisionOf(next) > revisionOf(gone.object));
    },
  },
  {
    name: "a watch goes on from the resourceVersion of any event",
    from: DETECT,
    async check(w) {
      const from = await since(w, w.widgets());
      for (const name of ["a", "b", "c"]) {
        await w.do(201, "POST", w.widgets(), w.widget(name));
      }
      await w.do(200, "DELETE", w.widgets("b"));
      const whole = ["ADDED a", "ADDED b", "ADDED c", "DELETED b"];
      await using all = await w.watch(`${w.widgets()}?resourceVersion=${from}`);
      const events = await all.changes(4);
      assert.deepEqual(brief(events), whole);
      for (let i = 0; i < 3; i++) {
        const { resourceVersion } = events[i].object.metadata;
        await using rest = await w.watch(`${w.widgets()}?resourceVersion=${resourceVersion}`);
        assert.deepEqual(brief(await rest.changes(3 - i)), whole.slice(i + 1));
      }
    },
  },
  {
    name: "without a resourceVersion, and with 0, what is there comes first as ADDED",
    from: SEMANTICS,
    async check(w) {
      await w.do(201, "POST", w.widgets(), w.widget("a"));
      await w.do(201, "POST", w.widgets(), w.widget("b"));
      for (const query of ["", "?resourceVersion=0"]) {
        await using watch = await w.watch(w.widgets() + query);
        assert.deepEqual(brief(await watch.changes(2)).sort(), ["ADDED a", "ADDED b"]);
        const name = query === "" ? "x" : "y";
        await w.do(201, "POST", w.widgets(), w.widget(name));
        assert.deepEqual(brief(await watch.changes(1)), [`ADDED ${name}`]);
        await w.do(200, "DELETE", w.widgets(name));
      }
    },
  },
  {
    name: "an object that begins to match a label selector is ADDED, one that ceases is DELETED",
    from: DETECT,
    async check(w) {
      const from = await since(w, w.widgets());
      const query = `?resourceVersion=${from}&labelSelector=on%3Dyes`;
      await using watch = await w.watch(w.widgets() + query);
      await w.do(201, "POST", w.widgets(), w.widget("a"));
      const label = (on: string | null) =>
        w.do(200, "PATCH", w.widgets("a"), { metadata: { labels: { on } } }, MERGE);
      await label("yes");
      await w.do(200, "PATCH", w.widgets("a"), { spec: { size: 2 } }, MERGE);
      const off = await label("no");
      await w.do(200, "PATCH", w.widgets("a"), { spec: { size: 3 } }, MERGE);
      await label("yes");
      await w.do(200, "DELETE", w.widgets("a"));
      const events = await watch.changes(5);
      assert.deepEqual(
        events.map((e) => e.type),
        ["ADDED", "MODIFIED", "DELETED", "ADDED", "DELETED"],
      );
      assert.equal(revisionOf(events[2].object), revisionOf(off));
    },
  },
  {
    name: "a field selector narrows a watch in the same way",
    from: "Field Selectors",
    async check(w) {
      const from = await since(w, w.pods());
      const query = `?resourceVersion=${from}&fieldSelector=status.phase%3DRunning`;
      await using watch = await w.watch(w.pods() + query);
      await w.do(201, "POST", w.pods(), w.pod("a"));
      const phase = (value: string) =>
        w.do(200, "PATCH", w.pods("a/status"), { status: { phase: value } }, MERGE);
      await phase("Running");
      await phase("Succeeded");
      assert.deepEqual((await watch.changes(2)).map((e) => e.type), ["ADDED", "DELETED"]);
      const one = `?fieldSelector=metadata.name%3Db&resourceVersion=${await since(w, w.pods())}`;
      await using single = await w.watch(w.pods() + one);
      await w.do(201, "POST", w.pods(), w.pod("c"));
      await w.do(201, "POST", w.pods(), w.pod("b"));
      assert.deepEqual(brief(await single.changes(1)), ["ADDED b"]);
    },
  },
  {
    name: "a watch in a namespace sees nothing of the others",
    from: `${CONCEPTS}, Resource URIs`,
    async check(w) {
      const from = await since(w, w.configMaps());
      const all = `/api/v1/configmaps?resourceVersion=${from}&labelSelector=only%3D${w.namespace}`;
      await using everywhere = await w.watch(all);
      await using here = await w.watch(`${w.configMaps()}?resourceVersion=${from}`);
      const labels = { labels: { only: w.namespace } };
      const elsewhere = `/api/v1/namespaces/default/configmaps`;
      const name = `at-${w.namespace}`;
      await w.do(201, "POST", elsewhere, w.configMap(name, {}, labels));
      try {
        await w.do(201, "POST", w.configMaps(), w.configMap("mine", {}, labels));
        assert.deepEqual(brief(await everywhere.changes(2)), [`ADDED ${name}`, "ADDED mine"]);
        const [first] = await here.changes(1);
        assert.equal(first.object.metadata.namespace, w.namespace);
      } finally {
        await w.do(200, "DELETE", `${elsewhere}/${name}`);
      }
    },
  },
  {
    name: "a watch ends by itself after timeoutSeconds",
    from: DETECT,
    async check(w) {
      const started = performance.now();
      await using watch = await w.watch(`${w.widgets()}?timeoutSeconds=1`);
      assert.equal(await watch.change(30_000), undefined);
      assert.ok(performance.now() - started > 500);
    },
  },
  {
    name: "sendInitialEvents sends what is there, then a bookmark that says so, then changes",
    from: `${CONCEPTS}, Streaming lists`,
    async check(w) {
      await w.do(201, "POST", w.widgets(), w.widget("a"));
      const query = "?sendInitialEvents=true&allowWatchBookmarks=true&resourceVersion=" +
        "&resourceVersionMatch=NotOlderThan";
      await using watch = await w.watch(w.widgets() + query);
      assert.deepEqual(brief(await watch.changes(1)), ["ADDED a"]);
      const bookmark = await watch.next();
      assert.equal(bookmark?.type, "BOOKMARK");
      const { metadata, kind, apiVersion } = bookmark!.object;
      assert.equal(metadata.annotations["k8s.io/initial-events-end"], "true");
      assert.deepEqual([kind, apiVersion], ["Widget", `${w.group}/v1`]);
      assert.equal(metadata.name, undefined);
      const next = await w.do(201, "POST", w.widgets(), w.widget("b"));
      assert.ok(revisionOf(next) > BigInt(metadata.resourceVersion));
      assert.deepEqual(brief(await watch.changes(1)), ["ADDED b"]);
      // And a plain watch goes on from the bookmark.
      const plain = `?resourceVersion=${metadata.resourceVersion}`;
      await using resumed = await w.watch(w.widgets() + plain);
      assert.deepEqual(brief(await resumed.changes(1)), ["ADDED b"]);
    },
  },
  {
    name: "sendInitialEvents without resourceVersionMatch is 422, and so is the match alone",
    from: `${CONCEPTS}, Streaming lists`,
    async check(w) {
      const refused = (query: string) =>
        w.refused(422, "Invalid", "GET", `${w.widgets()}?watch=true&${query}`);
      await refused("sendInitialEvents=true&allowWatchBookmarks=true");
      await refused("resourceVersionMatch=NotOlderThan&resourceVersion=1");
    },
  },
  {
    name: "no bookmark comes unasked",
    from: `${CONCEPTS}, Watch bookmarks`,
    async check(w) {
      await using watch = await w.watch(`${w.widgets()}?timeoutSeconds=2`);
      assert.equal(await watch.next(30_000), undefined);
    },
  },
  {
    name: "a watch that is refused is refused in the answer itself",
    from: `${CONCEPTS}, Efficient detection of changes`,
    async check(w) {
      const path = `${w.widgets()}?watch=true`;
      const { status } = await w.call("GET", `${path}&resourceVersion=nonsense`);
      assert.ok(status >= 400, String(status));
      await w.refused(400, "BadRequest", "GET", `${path}&fieldSelector=spec.size%3D1`);
    },
  },
];
