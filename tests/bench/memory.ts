/**
 * The node service's resident memory with 10 and with 250 pods on its node (pods without ports: no
 * process runs in them), and how long 250 ADDs take, one after the other over the service's socket.
 * Read from /proc/<pid>/status a few seconds after the last ADD, when nothing is under way.
 *
 *     deno task bench memory
 */
import { binary, pause, withLab } from "../cluster/harness.ts";
import { ourConf, Pods } from "./pod_calls.ts";
import { ms, type Outcome, timed } from "./report.ts";

const GOAL = 110;
const STEPS = [0, 10, 250];

export interface Memory {
  readonly pods: number;
  /** MB (10^6 bytes): resident now, the highest so far, and of the resident what is no file's. */
  readonly resident: number;
  readonly peak: number;
  readonly anonymous: number;
}

export interface MemoryFigures {
  readonly steps: readonly Memory[];
  /** The ADDs alone, without the pods' objects and namespaces, milliseconds. */
  readonly adding: number;
}

/** One process's memory now. */
export async function memoryOf(pid: number, pods: number): Promise<Memory> {
  const text = await Deno.readTextFile(`/proc/${pid}/status`);
  const mb = (field: string) =>
    Number(new RegExp(`^${field}:\\s+(\\d+) kB`, "m").exec(text)![1]) * 1024 / 1e6;
  return { pods, resident: mb("VmRSS"), peak: mb("VmHWM"), anonymous: mb("RssAnon") };
}

export async function measure(counts: readonly number[] = STEPS): Promise<MemoryFigures> {
  binary();
  const steps: Memory[] = [];
  let adding = 0;
  await withLab({ subnets: "1" }, async (lab) => {
    const node = lab.node("node1");
    const pods = new Pods(lab, node);
    try {
      const service = { name: "tortie", conf: ourConf(node) };
      const { pid } = lab.record.processes.node1;
      let made = 0;
      for (const count of counts) {
        for (; made < count; made++) {
          const sandbox = await pods.make(true);
          adding += await timed(() => pods.call(service, "ADD", sandbox));
        }
        await pause(5000);
        steps.push(await memoryOf(pid, made));
      }
    } finally {
      pods.close();
    }
  });
  return { steps, adding };
}

export async function run(): Promise<Outcome> {
  const { steps, adding } = await measure();
  const last = steps[steps.length - 1];
  const verdict =
    `${last.resident <= GOAL ? "PASS" : "FAIL"}: ${ms(last.resident)} MB resident at ` +
    `${last.pods} pods (goal ${GOAL} MB); their ADDs took ${
      (adding / 1000).toFixed(1)
    } s, one after ` +
    "the other";
  return {
    tables: [{
      title: "Memory of the node service, MB",
      columns: ["pods", "resident", "highest so far", "not a file's"],
      rows: steps.map((s) => [`${s.pods}`, ms(s.resident), ms(s.peak), ms(s.anonymous)]),
      notes: [verdict],
    }],
    failed: last.resident <= GOAL ? [] : [verdict],
  };
}
