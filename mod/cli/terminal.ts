/**
 * What is said to a person at a terminal and not to a file or a pipe: how far long work has come, and the
 * colour of `error:`. Both go to standard error alone. NO_COLOR (https://no-color.org) and a terminal
 * that can nothing (TERM=dumb) take the colour away.
 */
import pc from "picocolors";
import type { Io } from "./io.ts";

/** Colours for standard error; texts come back as they are where none are wanted. */
export function colours(io: Io): ReturnType<typeof pc.createColors> {
  const wanted = io.terminal === true && !io.env("NO_COLOR") && io.env("TERM") !== "dumb";
  return pc.createColors(wanted);
}

export interface Progress {
  /** So many are done. */
  at(done: number): void;
  /** Takes the line away again. */
  end(): void;
}

const PATIENCE_MS = 500;
const EVERY_MS = 100;

/**
 * A line that says `applied 120 of 10000 resources`, from half a second on, ten times a second at
 * most. Nothing where standard error is no terminal.
 */
export function progress(
  io: Io,
  done: string,
  total: number,
  now: () => number = () => performance.now(),
): Progress {
  let next = now() + PATIENCE_MS;
  let width = 0;
  if (io.terminal !== true) return { at: () => {}, end: () => {} };
  const show = (text: string) => {
    io.stderr(`\r${text.padEnd(width)}`);
    width = text.length;
  };
  return {
    at(count) {
      const time = now();
      if (time < next) return;
      next = time + EVERY_MS;
      show(`${done} ${count} of ${total} resources`);
    },
    end() {
      if (width === 0) return;
      show("");
      io.stderr("\r");
      width = 0;
    },
  };
}
