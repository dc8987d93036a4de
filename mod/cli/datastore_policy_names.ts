/** `datastore migrate-policy-names`: names of policies as Calico stores them since 3.32. */
import { type Call, flagOption } from "./command.ts";
import { withStore } from "./context.ts";
import { migratePolicyNames } from "./datastore/policy_names.ts";
import { EXIT } from "./io.ts";

export async function run(call: Call): Promise<number> {
  const { io } = call;
  const dryRun = flagOption(call, "dryRun");
  const { moved, faults } = await withStore(call, (store) => migratePolicyNames(store, dryRun));
  if (call.program === "tortie") { for (const line of moved) io.stdout(`${line}\n`); }
  for (const fault of faults) io.stderr(`${call.program === "tortie" ? "error: " : ""}${fault}\n`);
  io.stdout(
    dryRun
      ? `${moved.length} policies are to be migrated; nothing was written.\n`
      : `Policy name migration complete, migrated ${moved.length} policies.\n`,
  );
  return faults.length > 0 ? EXIT.failed : EXIT.ok;
}
