/** `datastore migrate lock`: pods wait and agents keep still until it is unlocked. */
import type { Call } from "./command.ts";
import { withResources } from "./context.ts";
import { setLock } from "./datastore/lock.ts";
import { EXIT } from "./io.ts";

export async function run(call: Call): Promise<number> {
  await withResources(call, (resources) => setLock(resources, true));
  call.io.stdout("Datastore locked.\n");
  return EXIT.ok;
}
