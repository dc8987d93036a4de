/** `datastore migrate export`: see `datastore_export.ts`. */
import type { Call } from "./command.ts";
import { exportStore } from "./datastore_export.ts";

export function run(call: Call): Promise<number> {
  return exportStore(call, false);
}
