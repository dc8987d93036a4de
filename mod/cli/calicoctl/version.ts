/** `calicoctl version`: of this program, and of the cluster where it can be reached. */
import { clusterInformationKind } from "../../model/cluster_information.ts";
import { durationSeconds } from "../../model/duration.ts";
import { buildInfo } from "../build_info.ts";
import { type Call, flagOption, textOption } from "../command.ts";
import { withResources } from "../context.ts";
import { CliError, EXIT, failure } from "../io.ts";

export async function run(call: Call): Promise<number> {
  const { io } = call;
  const poll = textOption(call, "poll");
  const every = poll === undefined ? 0 : durationSeconds(poll);
  if (every === undefined || every < 0) {
    throw failure(`invalid poll duration specified: ${poll}; want a duration such as 30s`);
  }
  const { version, gitRevision } = buildInfo();
  io.stdout(`Client Version:    ${version}\nGit commit:        ${gitRevision}\n`);
  if (flagOption(call, "client")) return EXIT.ok;
  const shown = new Map<string, string>();
  for (;;) {
    const failed = await showCluster(call, shown);
    if (every === 0) return failed ? EXIT.failed : EXIT.ok;
    await pause(every * 1000, io.signal);
    if (io.signal.aborted) return EXIT.ok;
  }
}

/** Tells what has changed of the cluster; whether it could not be read. */
async function showCluster(call: Call, shown: Map<string, string>): Promise<boolean> {
  try {
    const cluster = await withResources(
      call,
      (resources) => resources.get(clusterInformationKind, "default"),
    );
    const lines = [
      ["Cluster Version:  ", cluster?.spec.calicoVersion || "unknown"],
      ["Cluster Type:     ", cluster?.spec.clusterType || "unknown"],
    ];
    for (const [heading, value] of lines) {
      if (shown.get(heading) === value) continue;
      call.io.stdout(`${heading} ${value}\n`);
      shown.set(heading, value);
    }
    return false;
  } catch (error) {
    if (error instanceof CliError && error.exit === EXIT.unreachable) {
      // As the original: that there is no cluster is no failure of a program that tells its version.
      call.io.stdout("Unable to detect installed Calico version\n");
      return false;
    }
    shown.clear();
    call.io.stderr(`unable to retrieve Cluster Version or Type: ${(error as Error).message}\n`);
    return true;
  }
}

function pause(ms: number, signal: AbortSignal): Promise<void> {
  if (signal.aborted) return Promise.resolve();
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, ms);
    signal.addEventListener("abort", () => {
      clearTimeout(timer);
      resolve();
    }, { once: true });
  });
}
