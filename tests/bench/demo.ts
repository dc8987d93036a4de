/**
 * `tortie lab demo` from the built executable: how long it takes, chapter by chapter. The last one is
 * measured apart, since its length is set by the 200 MB that it sends while the service is killed.
 * The peer is the clock: 20 seconds and the transfer.
 *
 *     deno task bench demo
 */
import { binary } from "../cluster/harness.ts";
import { type Outcome, timed } from "./report.ts";

const GOAL = 20;

export interface DemoFigures {
  /** Seconds. */
  readonly total: number;
  readonly chapters: readonly { readonly title: string; readonly seconds: number }[];
  readonly exit: number;
}

export async function measure(): Promise<DemoFigures> {
  let exit = 0, text = "";
  const total = await timed(async () => {
    const { code, stdout } = await new Deno.Command(binary(), { args: ["lab", "demo"] }).output();
    exit = code;
    text = new TextDecoder().decode(stdout);
  });
  const chapters: { title: string; seconds: number }[] = [];
  let title = "";
  for (const line of text.split("\n")) {
    if (/^\d+\. /.test(line)) title = line;
    const seconds = /^ {4}\(([\d.]+) s\)$/.exec(line)?.[1];
    if (seconds) chapters.push({ title, seconds: Number(seconds) });
  }
  return { total: total / 1000, chapters, exit };
}

export async function run(): Promise<Outcome> {
  const { total, chapters, exit } = await measure();
  const transfer = chapters.at(-1)?.seconds ?? 0;
  const rest = total - transfer;
  const inside = chapters.reduce((sum, c) => sum + c.seconds, 0);
  const verdict = `${rest <= GOAL && exit === 0 ? "PASS" : "FAIL"}: ${rest.toFixed(1)} s without ` +
    `the transfer's chapter (goal ${GOAL} s), exit code ${exit}`;
  const row = (title: string, seconds: number) => [title, seconds.toFixed(1)];
  return {
    tables: [{
      title: "tortie lab demo, from the built executable",
      columns: ["", "seconds"],
      rows: [
        ...chapters.map((c) => row(c.title, c.seconds)),
        row("bringing three nodes up, and down", total - inside),
        row("in all", total),
      ],
      notes: [verdict],
    }],
    failed: rest <= GOAL && exit === 0 ? [] : [verdict],
  };
}
