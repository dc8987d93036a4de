/** `calicoctl help COMMAND`: as `calicoctl COMMAND --help`. */
import type { Call } from "../command.ts";
import { EXIT } from "../io.ts";
import { CALICOCTL_COMMANDS } from "./commands.ts";
import { helpText } from "./help.ts";
import { findCommand } from "./parse.ts";

export async function run(call: Call): Promise<number> {
  const { command } = findCommand(call.args, CALICOCTL_COMMANDS, call.program);
  call.io.stdout(helpText(command, CALICOCTL_COMMANDS, call.program));
  return EXIT.ok;
}
