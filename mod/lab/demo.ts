/**
 * `tortie lab demo`: the main job, shown on this machine in plain words. Every sentence that it prints
 * with a tick was found true a moment before; it ends with exit code 0 only if all were, and leaves
 * namespaces and nf_tables tables as it found them. Its chapters are in demo_chapters.ts.
 */
import { openNftClient } from "../../ffi/nft/socket.ts";
import { listNetns } from "../../ffi/netns.ts";
import { EXIT, type Io } from "../cli/io.ts";
import { checkProgram } from "./bird.ts";
import { labDown, labUp, waitReady } from "./cluster.ts";
import { CHAPTERS } from "./demo_chapters.ts";
import { Lab } from "./lab.ts";
import { LAB_ROOT, layout, namespacePrefix, parseSubnets } from "./layout.ts";
import { listLabs } from "./record.ts";
import { LabError } from "./workloads.ts";

/** The demo's manifests ask for addresses of this pool by name. */
const POOL = "10.244.0.0/16";
const POOL6 = "fd00:10:244::/64";

export interface DemoOptions {
  readonly megabytes: number;
  readonly keep: boolean;
  /** BIRD 2's executable, for the chapter with a member that is not ours. */
  readonly bird?: string;
}

/** What a chapter tells with. */
export class Narrator {
  #failed = 0;
  #checked = 0;

  constructor(readonly io: Io, readonly lab: Lab, readonly options: DemoOptions) {}

  say(text: string): void {
    this.io.stdout(`${text}\n`);
  }

  /** Lines of a table or of what a command printed. */
  show(text: string): void {
    for (const line of text.trimEnd().split("\n")) this.io.stdout(`      ${line}\n`);
  }

  /** One sentence, and whether it is so. `otherwise` says what was found instead. */
  check(sentence: string, isSo: boolean, otherwise = ""): void {
    this.#checked++;
    if (!isSo) this.#failed++;
    this.io.stdout(
      isSo ? `  ✓ ${sentence}\n` : `  ✗ NOT SO: ${sentence}${otherwise && ` (${otherwise})`}\n`,
    );
  }

  get failed(): number {
    return this.#failed;
  }

  get checked(): number {
    return this.#checked;
  }
}

/** This machine's nf_tables tables, and the lab's namespaces: others may make theirs meanwhile. */
function traces(lab: string): string {
  const client = openNftClient();
  try {
    const tables = client.tables().map((t) => `${t.family} ${t.name}`);
    const namespaces = listNetns().filter((name) => name.startsWith(namespacePrefix(lab)));
    return JSON.stringify([namespaces, tables]);
  } finally {
    client.close();
  }
}

/** Whether a demo runs under this number; another process may have it by now. */
function isDemo(pid: string): boolean {
  try {
    return Deno.readTextFileSync(`/proc/${pid}/cmdline`).split("\0").includes("demo");
  } catch {
    return false; // it has gone
  }
}

/** Labs of demos that are over: of killed ones, and of those that were to keep theirs. */
export function labsLeft(root = LAB_ROOT, runs = isDemo): string[] {
  return listLabs(root).filter((name) => {
    const pid = /^demo(\d+)$/.exec(name)?.[1];
    return pid !== undefined && !runs(pid);
  });
}

export async function runDemo(io: Io, options: DemoOptions): Promise<number> {
  const name = `demo${Deno.pid}`;
  if (options.bird !== undefined) checkProgram(options.bird);
  // Listened to from the start: whoever stops the demo wants nothing of it left.
  const { signal } = io;
  let hungUp = false;
  Deno.addSignalListener("SIGHUP", () => hungUp = true);
  const goOn = () => {
    if (hungUp) throw new LabError("stopped by a signal");
    if (signal.aborted) throw new LabError((signal.reason as Error).message);
  };
  const before = traces(name);
  const began = performance.now();
  const plan = layout(name, parseSubnets("2,1"), [4, 6]);
  const say = (text: string) => io.stdout(`${text}\n`);
  let failed = 0, checked = 0;
  for (const left of labsLeft()) {
    say(`The lab "${left}" of an earlier demo is there still: tortie lab down --lab ${left}`);
  }
  say("tortie: three nodes on this machine, node1 and node2 on one subnet, node3 behind a router;");
  say("IPv4 and IPv6 everywhere");
  const wished = Deno.env.get("CALICO_IPV4POOL_CIDR");
  if (wished && wished !== POOL) {
    say(
      `The demo's addresses are of ${POOL}, not of CALICO_IPV4POOL_CIDR (${wished}); a lab with that ` +
        `pool: tortie lab up --env CALICO_IPV4POOL_CIDR=${wished}`,
    );
  }
  try {
    const record = await labUp(plan, {
      env: { CALICO_IPV4POOL_CIDR: POOL, CALICO_IPV6POOL_CIDR: POOL6 },
    });
    const lab = new Lab(record);
    try {
      goOn();
      await waitReady(record, { mesh: true });
      goOn();
      const narrator = new Narrator(io, lab, options);
      for (const [title, chapter] of CHAPTERS) {
        const started = performance.now();
        say(`\n${title}`);
        try {
          await chapter(narrator);
        } catch (error) {
          if (!(error instanceof Error)) throw error;
          narrator.check("this chapter came to its end", false, error.message);
        }
        goOn();
        say(`    (${((performance.now() - started) / 1000).toFixed(1)} s)`);
      }
      failed = narrator.failed;
      checked = narrator.checked;
    } finally {
      await lab.close();
    }
  } finally {
    if (!options.keep) await labDown(name, plan.directory);
  }
  say("");
  if (options.keep) {
    say(`The lab "${name}" is still up; take it down with: tortie lab down --lab ${name}`);
  } else {
    checked++;
    if (traces(name) === before) say("  ✓ namespaces and nf_tables tables are as before");
    else {
      failed++;
      say("  ✗ NOT SO: namespaces and nf_tables tables are as before");
    }
  }
  const seconds = ((performance.now() - began) / 1000).toFixed(1);
  say(
    failed === 0
      ? `All ${checked} statements were true; ${seconds} s.`
      : `${failed} of ${checked} statements were not true; ${seconds} s.`,
  );
  return failed === 0 ? EXIT.ok : EXIT.failed;
}
