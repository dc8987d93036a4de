/** Lists: selectors, pages, and what resourceVersion means. */
import assert from "node:assert/strict";
import { CONCEPTS, type Expectation, names, SELECTORS, type World } from "./expectation.ts";

const PAGES = `${CONCEPTS}, Retrieving large results sets in chunks`;
const VERSIONS = `${CONCEPTS}, Semantics for get and list`;

async function five(w: World): Promise<void> {
  for (const name of ["a", "b", "c", "d", "e"]) {
    await w.do(201, "POST", w.widgets(), w.widget(name));
  }
}

export const LISTS: Expectation[] = [
  {
    name: "a list has the kind of its items with List, a resourceVersion, and all objects",
    from: `${CONCEPTS}, Collections`,
    async check(w) {
      const empty = await w.do(200, "GET", w.widgets());
      assert.deepEqual(empty.items, []);
      await five(w);
      const list = await w.do(200, "GET", w.widgets());
      assert.equal(list.kind, "WidgetList");
      assert.equal(list.apiVersion, `${w.group}/v1`);
      assert.deepEqual(names(list), ["a", "b", "c", "d", "e"]);
      assert.equal(list.items[0].kind, "Widget");
      const newest = list.items.map((i: any) => BigInt(i.metadata.resourceVersion));
      for (const n of newest) assert.ok(n <= BigInt(list.metadata.resourceVersion));
      const all = await w.do(200, "GET", `/apis/${w.group}/v1/widgets`);
      assert.ok(names(all).length >= 5);
      const maps = await w.do(200, "GET", w.configMaps());
      assert.equal(maps.kind, "ConfigMapList");
    },
  },
  {
    name: "label selectors know equality, sets and existence",
    from: SELECTORS,
    async check(w) {
      const labels: Record<string, Record<string, string>> = {
        a: { tier: "front", env: "prod" },
        b: { tier: "back", env: "test" },
        c: { tier: "front" },
        d: {},
      };
      for (const [name, own] of Object.entries(labels)) {
        await w.do(201, "POST", w.widgets(), w.widget(name, {}, { labels: own }));
      }
      const expected: [string, string[]][] = [
        ["tier=front", ["a", "c"]],
        ["tier==front,env=prod", ["a"]],
        ["tier!=front", ["b", "d"]],
        ["env in (prod,test)", ["a", "b"]],
        ["env notin (prod)", ["b", "c", "d"]],
        ["env", ["a", "b"]],
        ["!env", ["c", "d"]],
        ["tier=front,!env", ["c"]],
        ["tier=", []],
        ["", ["a", "b", "c", "d"]],
      ];
      for (const [selector, wanted] of expected) {
        const query = `?labelSelector=${encodeURIComponent(selector)}`;
        assert.deepEqual(names(await w.do(200, "GET", w.widgets() + query)), wanted, selector);
      }
      for (const wrong of ["tier=(", "a b", "env in prod", "=x"]) {
        const query = `?labelSelector=${encodeURIComponent(wrong)}`;
        await w.refused(400, "BadRequest", "GET", w.widgets() + query);
      }
    },
  },
  {
    name: "field selectors know name and namespace, and of pods node and phase; others are 400",
    from: "Field Selectors",
    async check(w) {
      await w.do(201, "POST", w.pods(), w.pod("a", { nodeName: "no-such-node" }));
      await w.do(201, "POST", w.pods(), w.pod("b"));
      const expected: [string, string[]][] = [
        ["metadata.name=b", ["b"]],
        ["metadata.name!=b", ["a"]],
        [`metadata.namespace=${w.namespace}`, ["a", "b"]],
        ["spec.nodeName=no-such-node", ["a"]],
        ["spec.nodeName=", ["b"]],
        ["status.phase=Pending,spec.nodeName!=no-such-node", ["b"]],
        ["status.phase==Running", []],
      ];
      for (const [selector, wanted] of expected) {
        const query = `?fieldSelector=${encodeURIComponent(selector)}`;
        assert.deepEqual(names(await w.do(200, "GET", w.pods() + query)), wanted, selector);
      }
      for (const path of [w.pods(), w.widgets()]) {
        await w.refused(400, "BadRequest", "GET", `${path}?fieldSelector=spec.colour%3Dred`);
      }
      await w.do(201, "POST", w.widgets(), w.widget("x"));
      const one = await w.do(200, "GET", `${w.widgets()}?fieldSelector=metadata.name%3Dx`);
      assert.deepEqual(names(one), ["x"]);
    },
  },
  {
    name: "all pages show the state of the first",
    from: PAGES,
    async check(w) {
      await five(w);
      const first = await w.do(200, "GET", `${w.widgets()}?limit=2`);
      assert.equal(first.items.length, 2);
      assert.equal(first.metadata.remainingItemCount, 3);
      assert.ok(first.metadata.continue);
      await w.do(201, "POST", w.widgets(), w.widget("f"));
      await w.do(200, "DELETE", w.widgets("e"));
      const found = names(first);
      let next = first.metadata.continue;
      let pages = 1;
      while (next) {
        const query = `?limit=2&continue=${encodeURIComponent(next)}`;
        const page = await w.do(200, "GET", w.widgets() + query);
        assert.equal(page.metadata.resourceVersion, first.metadata.resourceVersion);
        found.push(...names(page));
        next = page.metadata.continue;
        pages++;
      }
      assert.equal(pages, 3);
      assert.deepEqual(found.sort(), ["a", "b", "c", "d", "e"]);
    },
  },
  {
    name: "a page with a selector does not say how many remain",
    from: "ListMeta, remainingItemCount",
    async check(w) {
      await five(w);
      const page = await w.do(200, "GET", `${w.widgets()}?limit=2&labelSelector=!none`);
      assert.equal(page.items.length, 2);
      assert.equal(page.metadata.remainingItemCount, undefined);
      assert.ok(page.metadata.continue);
    },
  },
  {
    name: "a continue token that is none is 400, and so is one beside a resourceVersion",
    from: PAGES,
    async check(w) {
      await five(w);
      await w.refused(400, "BadRequest", "GET", `${w.widgets()}?limit=2&continue=nonsense`);
      const { metadata } = await w.do(200, "GET", `${w.widgets()}?limit=2`);
      const query = `?limit=2&continue=${encodeURIComponent(metadata.continue)}` +
        `&resourceVersion=${metadata.resourceVersion}`;
      await w.refused(400, "BadRequest", "GET", w.widgets() + query);
    },
  },
  {
    name: "a list at an exact resourceVersion shows the state of then",
    from: VERSIONS,
    async check(w) {
      await five(w);
      const then = await w.do(200, "GET", w.widgets());
      await w.do(200, "DELETE", w.widgets("a"));
      const { resourceVersion } = then.metadata;
      const exact = `?resourceVersion=${resourceVersion}&resourceVersionMatch=Exact`;
      const old = await w.do(200, "GET", w.widgets() + exact);
      assert.equal(old.metadata.resourceVersion, resourceVersion);
      assert.deepEqual(old.items, then.items);
      // With a limit and no match the revision is exact too.
      const limited = `?resourceVersion=${resourceVersion}&limit=10`;
      const page = await w.do(200, "GET", w.widgets() + limited);
      assert.deepEqual(names(page), ["a", "b", "c", "d", "e"]);
    },
  },
  {
    name: "a list not older than a resourceVersion is that or newer; 0 is any",
    from: VERSIONS,
    async check(w) {
      await five(w);
      const { metadata } = await w.do(200, "DELETE", w.widgets("a")).then(() =>
        w.do(200, "GET", w.widgets())
      );
      for (
        const query of [
          `?resourceVersion=${metadata.resourceVersion}`,
          `?resourceVersion=${metadata.resourceVersion}&resourceVersionMatch=NotOlderThan`,
        ]
      ) {
        const list = await w.do(200, "GET", w.widgets() + query);
        assert.ok(BigInt(list.metadata.resourceVersion) >= BigInt(metadata.resourceVersion));
        assert.deepEqual(names(list), ["b", "c", "d", "e"]);
      }
      const any = await w.do(200, "GET", `${w.widgets()}?resourceVersion=0`);
      assert.match(any.metadata.resourceVersion, /^[1-9]\d*$/);
    },
  },
  {
    name: "a resourceVersion that is still to come is 504 Timeout with the cause",
    from: `${CONCEPTS}, Unavailable resource versions`,
    async check(w) {
      const { metadata } = await w.do(200, "GET", w.widgets());
      const future = BigInt(metadata.resourceVersion) + 1_000_000n;
      const query = `?resourceVersion=${future}&resourceVersionMatch=NotOlderThan`;
      const status = await w.refused(504, "Timeout", "GET", w.widgets() + query);
      assert.equal(status.details.causes[0].reason, "ResourceVersionTooLarge");
      assert.ok(status.details.retryAfterSeconds > 0);
    },
  },
  {
    name: "combinations of resourceVersion and match that make no sense are 422",
    from: VERSIONS,
    async check(w) {
      for (
        const query of [
          "resourceVersionMatch=Exact",
          "resourceVersionMatch=NotOlderThan",
          "resourceVersionMatch=Exact&resourceVersion=0",
          "resourceVersionMatch=Nonsense&resourceVersion=1",
        ]
      ) {
        await w.refused(422, "Invalid", "GET", `${w.widgets()}?${query}`);
      }
      // Which code a resourceVersion gets that is no number is nowhere said.
      const { status } = await w.call("GET", `${w.widgets()}?resourceVersion=nonsense`);
      assert.ok(status >= 400, String(status));
    },
  },
  {
    name: "reading one object takes a resourceVersion too: 0 is any, the future is 504",
    from: VERSIONS,
    async check(w) {
      const made = await w.do(201, "POST", w.widgets(), w.widget("a"));
      const { resourceVersion } = made.metadata;
      const get = `${w.widgets("a")}?resourceVersion=`;
      assert.deepEqual(await w.do(200, "GET", get + resourceVersion), made);
      const future = BigInt(resourceVersion) + 1_000_000n;
      await w.refused(504, "Timeout", "GET", get + future);
    },
  },
];
