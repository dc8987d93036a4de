/** `completion bash|zsh|fish`: prints the shell's script. */
import { nearest } from "../../model/nearest.ts";
import type { Call } from "../command.ts";
import { EXIT, usageError } from "../io.ts";
import { completionScript, howToLoad, SHELLS } from "./scripts.ts";

export async function run(call: Call): Promise<number> {
  const [name = ""] = call.args;
  const shell = SHELLS.find((one) => one === name);
  if (!shell) {
    const near = nearest(name, SHELLS);
    throw usageError(
      `there is no completion for the shell ${JSON.stringify(name)}${
        near ? ` (did you mean ${near}?)` : ""
      }; want ${SHELLS.join(", ")}, as in \`${howToLoad("bash", call.program)}\``,
    );
  }
  call.io.stdout(completionScript(shell, call.program));
  return EXIT.ok;
}
