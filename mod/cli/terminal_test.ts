import assert from "node:assert/strict";
import type { Io } from "./io.ts";
import { colours, progress } from "./terminal.ts";

function screen(terminal: boolean, env: Record<string, string> = {}) {
  let text = "";
  const io: Io = {
    stdout: () => {},
    stderr: (more) => void (text += more),
    stdin: () => Promise.resolve(""),
    env: (name) => env[name],
    signal: new AbortController().signal,
    terminal,
  };
  return { io, text: () => text };
}

Deno.test("progress: after half a second, ten times a second, and gone at the end", () => {
  const { io, text } = screen(true);
  let time = 0;
  const line = progress(io, "applied", 100, () => time);
  for (let i = 0; i <= 80; i++, time += 10) line.at(i);
  assert.equal(
    text(),
    "\rapplied 50 of 100 resources\rapplied 60 of 100 resources\rapplied 70 of 100 resources" +
      "\rapplied 80 of 100 resources",
  );
  line.end();
  assert.ok(text().endsWith(`\r${" ".repeat("applied 80 of 100 resources".length)}\r`));
});

Deno.test("progress: nothing of quick work, and nothing where nobody looks", () => {
  for (const [terminal, step] of [[true, 1], [false, 1000]] as const) {
    const { io, text } = screen(terminal);
    let time = 0;
    const line = progress(io, "applied", 10, () => time);
    for (let i = 0; i < 10; i++, time += step) line.at(i);
    line.end();
    assert.equal(text(), "");
  }
});

Deno.test("colours: at a terminal alone, and not with NO_COLOR or a dumb one", () => {
  assert.equal(colours(screen(true).io).red("x"), "\x1b[31mx\x1b[39m");
  assert.equal(colours(screen(false).io).red("x"), "x");
  assert.equal(colours(screen(true, { NO_COLOR: "1" }).io).red("x"), "x");
  assert.equal(colours(screen(true, { NO_COLOR: "" }).io).red("x"), "\x1b[31mx\x1b[39m");
  assert.equal(colours(screen(true, { TERM: "dumb" }).io).red("x"), "x");
});
