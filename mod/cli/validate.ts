/** `validate`: checks files as apply would, without a datastore. */
import type { Call } from "./command.ts";
import { EXIT } from "./io.ts";
import { success } from "./report.ts";
import { readChecked } from "./write.ts";

export async function run(call: Call): Promise<number> {
  const checked = await readChecked(call, "validate");
  call.io.stdout(
    checked.length === 0
      ? "No resources specified\n"
      : success("validated", checked.map(({ kind }) => kind.kind)),
  );
  return EXIT.ok;
}
