/** The plugin as an executable for tests without a build: its name is the first argument. */
import { run } from "../../cni/plugin.ts";

Deno.exit(await run(Deno.args[0], Deno.env.toObject(), Deno.stdin));
