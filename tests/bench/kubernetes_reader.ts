/**
 * A process that reads 10,000 Pods from an API server and says what that cost it, as one line of JSON:
 * `driver` follows the whole datastore as the node service does; `bare` lists the same pages with plain
 * fetch and keeps nothing.
 *
 *     deno run -A tests/bench/kubernetes_reader.ts KUBECONFIG driver|bare
 */
import { follow } from "../../mod/store/follow.ts";
import { findAccess } from "../../mod/store/kubernetes/cluster.ts";
import { openKubernetes } from "../../mod/store/kubernetes/mod.ts";

export interface ReaderFigures {
  milliseconds: number;
  /** The longest time that the event loop had no turn. */
  stallMs: number;
  /** More than before the first page, when all was read and garbage collected; and at the most. */
  mebibytes: number;
  peakMebibytes: number;
  entries: number;
  /** The list of endpoints alone. */
  endpointsMs: number;
}

const [kubeconfig, how] = Deno.args;
const rss = () => Deno.memoryUsage().rss / 1024 / 1024;
let last = performance.now(), stallMs = 0, peak = 0;
const beat = setInterval(() => {
  stallMs = Math.max(stallMs, performance.now() - last - 5);
  last = performance.now();
  peak = Math.max(peak, rss());
}, 5);

let entries = 0, milliseconds = 0, endpointsMs = 0, before = 0;
if (how === "driver") {
  const store = await openKubernetes({ kubeconfig });
  await store.list("/calico/resources/v3/projectcalico.org/ippools/");
  before = rss();
  const abort = new AbortController();
  const began = performance.now();
  last = began;
  stallMs = 0;
  await new Promise<void>((resolve) => {
    follow(store, "/", {
      put: () => void entries++,
      delete: () => {},
      synced: () => {
        milliseconds = performance.now() - began;
        resolve();
      },
    }, { signal: abort.signal });
  });
  const start = performance.now();
  await store.list("/calico/resources/v3/projectcalico.org/workloadendpoints/");
  endpointsMs = performance.now() - start;
  await settle();
  tell();
  abort.abort();
  await store.close();
} else {
  const access = await findAccess({ kubeconfig });
  const client = Deno.createHttpClient({
    caCerts: [(access.ca as { pem: string }).pem],
    http2: false,
  });
  const headers = { authorization: `Bearer ${(access.token as { text: string }).text}` };
  const list = async () => {
    let token = "", count = 0;
    do {
      const query = `limit=250${token && `&continue=${token}`}`;
      const answer = await fetch(`${access.server}/api/v1/pods?${query}`, { client, headers });
      const { items, metadata } = JSON.parse(await answer.text());
      count += items.length;
      token = metadata.continue ?? "";
    } while (token !== "");
    return count;
  };
  await fetch(`${access.server}/version`, { client, headers }).then((answer) => answer.text());
  before = rss();
  const began = performance.now();
  last = began;
  stallMs = 0;
  entries = await list();
  milliseconds = performance.now() - began;
  await settle();
  tell();
}
clearInterval(beat);
Deno.exit(0);

async function settle(): Promise<void> {
  const { gc } = globalThis as unknown as { gc?: () => void };
  for (let i = 0; i < 3; i++) {
    gc?.();
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}

function tell(): void {
  const round = (n: number) => Math.round(n * 10) / 10;
  const figures: ReaderFigures = {
    milliseconds: round(milliseconds),
    stallMs: round(stallMs),
    mebibytes: round(rss() - before),
    peakMebibytes: round(peak - before),
    entries,
    endpointsMs: round(endpointsMs),
  };
  console.log(JSON.stringify(figures));
}
