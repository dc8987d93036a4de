/** `version`: what this executable is, and with a datastore what cluster it belongs to. */
import { clusterInformationKind } from "../model/cluster_information.ts";
import { buildInfo } from "./build_info.ts";
import { type Call, flagOption, textOption } from "./command.ts";
import { locateStore, withResources } from "./context.ts";
import { CliError, EXIT, usageError } from "./io.ts";

/** Texts beside the bundle, which the build puts there. */
const LICENCES = ["LIBNL-LICENSE.txt", "NPM-LICENSES.txt"];

async function printLicences(call: Call): Promise<number> {
  for (const name of LICENCES) {
    try {
      call.io.stdout(`${await Deno.readTextFile(new URL(`./lib/${name}`, import.meta.url))}\n`);
    } catch (error) {
      if (!(error instanceof Deno.errors.NotFound)) throw error;
      call.io.stdout(`${name} is only in the built executable\n`);
    }
  }
  return EXIT.ok;
}

export async function run(call: Call): Promise<number> {
  if (flagOption(call, "licenses")) return await printLicences(call);
  const format = textOption(call, "output") ?? "text";
  if (!["text", "json", "yaml"].includes(format)) {
    throw usageError(`-o ${format}: want text, json or yaml`);
  }
  const client = buildInfo();
  const found = flagOption(call, "client") ? undefined : await clusterOf(call);
  const lost = found instanceof CliError ? found : undefined;
  const cluster = found instanceof CliError ? undefined : found;
  if (format === "json") {
    call.io.stdout(`${JSON.stringify({ ...client, ...cluster && { cluster } }, null, 2)}\n`);
  } else if (format === "yaml") {
    const { formatYaml } = await import("./yaml.ts");
    call.io.stdout(formatYaml({ ...client, ...cluster && { cluster } }));
  } else {
    const lines = [
      ["Client Version:", client.version],
      ["Git commit:", client.gitRevision],
      ["Deno:", `${client.deno} (${client.arch})`],
      ...(cluster
        ? [
          ["Cluster Version:", cluster.calicoVersion || "unknown"],
          ["Cluster Type:", cluster.clusterType || "unknown"],
          ["Cluster GUID:", cluster.clusterGUID ?? ""],
        ]
        : []),
    ];
    call.io.stdout(lines.map(([name, value]) => `${name.padEnd(18)}${value}\n`).join(""));
  }
  // The version of the executable is told all the same.
  if (lost) throw lost;
  return EXIT.ok;
}

/**
 * undefined where no datastore is named and there is none; that one is named and cannot be had is
 * returned, to be told once the executable's version is.
 */
async function clusterOf(call: Call) {
  try {
    return await withResources(
      call,
      async (resources) => (await resources.get(clusterInformationKind, "default"))?.spec,
    );
  } catch (error) {
    if (!(error instanceof CliError && error.exit === EXIT.unreachable)) throw error;
    return (await locateStore(call)).some(({ named }) => named) ? error : undefined;
  }
}
