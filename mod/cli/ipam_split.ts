/**
 * `ipam split`: one pool into a power of two of equal ones. The datastore must be locked, as for
 * calicoctl, so that no address is given meanwhile. A split that was cut off goes on when the same
 * command is given again; --undo takes it back.
 */
import { SplitError, splitPool, undoSplit } from "../ipam/split.ts";
import { clusterInformationKind } from "../model/cluster_information.ts";
import { ippoolKind } from "../model/ippool.ts";
import { parsePrefix, samePrefix } from "../net/mod.ts";
import { Resources } from "../store/resources.ts";
import { type Call, flagOption, textOption } from "./command.ts";
import { withStore } from "./context.ts";
import { EXIT, failure, usageError } from "./io.ts";

export async function run(call: Call): Promise<number> {
  const { io } = call;
  const undo = flagOption(call, "undo");
  const [name, cidr] = [textOption(call, "name"), textOption(call, "cidr")];
  if (name === undefined && cidr === undefined) {
    throw usageError(
      "no name or CIDR provided. Provide a name or CIDR to denote the IP pool to split",
    );
  }
  if (undo && call.args.length > 0) {
    throw usageError("--undo takes a split back whatever its number was: give no number with it");
  }
  const parts = undo ? 0 : numberOf(call.args[0]);
  return await withStore(call, async (store) => {
    const resources = new Resources(store);
    const cluster = await resources.get(clusterInformationKind, "default");
    if (cluster?.spec.datastoreReady !== false) {
      throw failure(
        `datastore is not locked. Run the \`${call.program} datastore migrate lock\` command in ` +
          "order split the IP pools",
      );
    }
    const pool = await findPool(resources, name, cidr);
    try {
      if (undo) {
        await undoSplit(resources, pool);
        io.stdout(`The split of IP Pool ${pool} was taken back.\n`);
        return EXIT.ok;
      }
      const made = await splitPool(resources, pool, parts);
      io.stdout(`IP Pool ${pool} was successfully split into ${parts} smaller pools.\n`);
      for (const { metadata, spec } of made) {
        io.stdout(`Created ${metadata.name} with CIDR ${spec.cidr}.\n`);
      }
      io.stdout(`Unlock the datastore with \`${call.program} datastore migrate unlock\`.\n`);
      return EXIT.ok;
    } catch (error) {
      if (error instanceof SplitError) throw failure(error.message);
      throw error;
    }
  });
}

function numberOf(text: string | undefined): number {
  if (text === undefined) throw usageError("into how many pools? Give a number, such as 4");
  if (!/^\d{1,9}$/.test(text)) {
    throw usageError(
      `error reading number to split IP pools into. ${text} is not a valid number`,
    );
  }
  return Number(text);
}

async function findPool(
  resources: Resources,
  name: string | undefined,
  cidr: string | undefined,
): Promise<string> {
  const wanted = cidr === undefined ? undefined : parsePrefix(cidr);
  if (cidr !== undefined && !wanted) {
    throw usageError(`--cidr ${cidr} is no CIDR; want one such as 10.244.0.0/16`);
  }
  if (name !== undefined) {
    const pool = await resources.get(ippoolKind, name);
    if (!pool) {
      throw failure(`unable to find IP pool with name ${name}: IPPool ${name} does not exist`);
    }
    const own = parsePrefix(pool.spec.cidr);
    if (wanted && !(own && samePrefix(own, wanted))) {
      throw failure(
        `IP pool ${name} has the CIDR ${pool.spec.cidr}, and --cidr says ${cidr}: two pools are not ` +
          "split at once; give one of --name and --cidr",
      );
    }
    return name;
  }
  for (const { metadata, spec } of (await resources.list(ippoolKind)).items) {
    const prefix = parsePrefix(spec.cidr);
    if (prefix && samePrefix(prefix, wanted!)) return metadata.name;
  }
  throw failure(`unable to find IP pool covering the specified CIDR ${cidr}`);
}
