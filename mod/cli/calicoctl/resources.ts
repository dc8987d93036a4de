/** Actions of calicoctl's commands on resources: tortie's own, but for those that go on after a failure. */
import type { Call } from "../command.ts";
import { failure } from "../io.ts";
import { run as patchOne } from "../patch.ts";
import { exitOf } from "../report.ts";
import { calicoctlText } from "../voice.ts";

export { run as get } from "../get.ts";
export { run as label } from "../label.ts";
export { run as remove } from "../delete.ts";
export { apply, create, replace, validate } from "./write.ts";

export async function patch(call: Call): Promise<number> {
  try {
    return await patchOne(call);
  } catch (error) {
    if (exitOf(error) === undefined) throw error;
    throw failure(`hit error: ${calicoctlText(error as Error)}`);
  }
}
