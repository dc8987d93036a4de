import assert from "node:assert/strict";
import type { DataplaneEvent } from "./dataplane_types.ts";
import { TableWatch } from "./table_watch.ts";

function harness() {
  let clock = 0;
  let due: { at: number; work: () => void } | undefined;
  const lines: string[] = [];
  const say = (level: string) => (message: string, data?: Record<string, unknown>) => {
    const parts = Object.entries(data ?? {}).map(([name, value]) =>
      `${name}=${value instanceof Error ? value.message : value}`
    );
    lines.push([level, message, ...parts].join(" "));
  };
  const log = { debug: say("debug"), info: say("info"), warn: say("warn"), error: say("error") };
  const watch = new TableWatch(log, {
    now: () => clock,
    later: (milliseconds, work) => {
      due = { at: clock + milliseconds, work };
      return () => due = undefined;
    },
  });
  return {
    watch,
    lines,
    pass(milliseconds: number) {
      const end = clock + milliseconds;
      while (due && due.at <= end) {
        const { at, work } = due;
        due = undefined;
        clock = at;
        work();
      }
      clock = end;
    },
    get isDue() {
      return due !== undefined;
    },
  };
}
const foreign = (program: string, family: 4 | 6 = 4, table = "calico"): DataplaneEvent => ({
  event: "foreign",
  family,
  table,
  program,
});
const settled: DataplaneEvent = { event: "settled" };
const failed = (message: string): DataplaneEvent => ({
  event: "failed",
  error: new Error(message),
});
const changed =
  "warn another program changed our nf_tables; its chains, rules, sets and maps are put right";

Deno.test("who changes our tables is told once a burst, with all that was touched", () => {
  const h = harness();
  for (const family of [4, 6] as const) h.watch.heard(foreign("nft", family));
  h.watch.heard(settled);
  assert.deepEqual(h.lines, []);
  h.pass(300);
  assert.deepEqual(h.lines, [`${changed} program=nft tables=ip calico, ip6 calico times=2`]);
  for (let i = 0; i < 1000; i++) {
    h.watch.heard(foreign("nft"));
    h.watch.heard(settled);
    h.pass(20);
  }
  // 20 s of it: no line for each.
  h.pass(20_000);
  assert.equal(h.lines.length, 4);
  const counted = h.lines.slice(1).map((line) => Number(/times=(\d+)/.exec(line)![1]));
  assert.equal(counted.reduce((a, b) => a + b), 1000);
  h.pass(60_000);
  h.watch.heard(foreign("evil"));
  h.pass(300);
  assert.equal(h.lines.at(-1), `${changed} program=evil tables=ip calico times=1`);
});

Deno.test("what nobody has read yet is told at the end", () => {
  const h = harness();
  h.watch.heard(foreign("nft"));
  h.watch.close();
  assert.equal(h.lines.length, 1);
  assert(!h.isDue);
});

Deno.test("a repair's time is no fault; what lasts longer is one, with who and why", () => {
  const h = harness();
  h.watch.heard(foreign("nft"));
  h.pass(4000);
  assert.equal(h.watch.fault(), undefined);
  h.watch.heard(settled);
  h.pass(60_000);
  assert.equal(h.watch.fault(), undefined);
  h.watch.heard(foreign("nft"));
  h.pass(6000);
  assert.equal(
    h.watch.fault(),
    "nf_tables are not as policy wants them for 6 s after nft changed them: they are being mended",
  );
  h.watch.heard(failed("it is mine"));
  h.pass(6000);
  assert.equal(
    h.watch.fault(),
    "nf_tables are not as policy wants them for 12 s after nft changed them: it is mine",
  );
  h.watch.heard(settled);
  assert.equal(h.watch.fault(), undefined);
});

Deno.test("a failure is told when its reason is new, and when it is over", () => {
  const h = harness();
  for (let i = 0; i < 10; i++) h.watch.heard(failed("out of memory"));
  h.watch.heard(failed("not permitted"));
  h.pass(6000);
  assert.equal(
    h.watch.fault(),
    "nf_tables are not as policy wants them for 6 s: not permitted",
  );
  h.watch.heard(settled);
  h.watch.heard(settled);
  const cannot = "warn our nf_tables cannot be brought up to date; tried again";
  assert.deepEqual(h.lines, [
    `${cannot} error=out of memory`,
    `${cannot} error=not permitted`,
    "info our nf_tables are as they should be again seconds=6",
  ]);
});

Deno.test("the status names for a while who has changed our tables", () => {
  const h = harness();
  assert.deepEqual(h.watch.notes(), []);
  h.watch.heard(foreign("nft"));
  h.watch.heard(settled);
  h.watch.heard(foreign("nft", 6));
  h.watch.heard(foreign(""));
  const [one, two] = h.watch.notes();
  assert.match(
    one,
    /^nft changed our nf_tables \(ip calico, ip6 calico\) 2 times, last at \d{4}-\S+Z; what others/,
  );
  assert.match(two, /^an unknown program changed our nf_tables \(ip calico\) once/);
  for (let i = 0; i < 1000; i++) h.watch.heard(foreign(`evil\n${i}`));
  const notes = h.watch.notes();
  assert.equal(notes.length, 21);
  assert.match(notes[2], /^evil\?0 changed/);
  assert.match(notes[20], /^further programs changed our nf_tables \(ip calico\) 982 times/);
  h.pass(601_000);
  assert.deepEqual(h.watch.notes(), []);
});

Deno.test("what cannot be made is told once, and stands in the notes until it is", () => {
  const h = harness();
  const quarantine = (family: 4 | 6, ...words: string[]): DataplaneEvent => ({
    event: "quarantine",
    family,
    words,
  });
  h.watch.heard(quarantine(4, "chain a", "set b"));
  h.watch.heard(quarantine(6, "chain a"));
  assert.deepEqual(h.watch.notes(), [
    "nf_tables (ip): chain a",
    "nf_tables (ip): set b",
    "nf_tables (ip6): chain a",
  ]);
  // What is in force has its fault, and is in force.
  assert.equal(h.watch.fault(), undefined);
  h.watch.heard(quarantine(4, "chain a", "chain c"));
  const line = "warn cannot be made, and is closed; all else is in force";
  assert.deepEqual(h.lines.splice(0), [
    `${line} family=ip what=chain a`,
    `${line} family=ip what=set b`,
    `${line} family=ip6 what=chain a`,
    `${line} family=ip what=chain c`,
  ]);
  h.watch.heard(quarantine(4));
  assert.deepEqual(h.lines, ["info all of policy is in force again family=ip"]);
  assert.deepEqual(h.watch.notes(), ["nf_tables (ip6): chain a"]);
});
