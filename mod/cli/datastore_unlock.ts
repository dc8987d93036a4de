/** `datastore migrate unlock`; a datastore that holds the half of an import only with --force. */
import { type Call, flagOption } from "./command.ts";
import { withResources } from "./context.ts";
import {
  clusterOf,
  modifyCluster,
  setLock,
  unfinishedImport,
  withAnnotation,
} from "./datastore/lock.ts";
import { EXIT, failure } from "./io.ts";

export async function run(call: Call): Promise<number> {
  await withResources(call, async (resources) => {
    if (unfinishedImport(await clusterOf(resources)) !== undefined) {
      if (!flagOption(call, "force")) {
        throw failure(
          "an import into this datastore has begun and not ended, so that it holds a part of a " +
            `cluster; give the same \`${call.program} datastore import\` again, or unlock it as it ` +
            "is with `tortie datastore migrate unlock --force`",
        );
      }
      await modifyCluster(resources, (cluster) => withAnnotation(cluster, undefined));
    }
    await setLock(resources, false);
  });
  call.io.stdout("Datastore unlocked.\n");
  return EXIT.ok;
}
