/**
 * How tests start a module of this tree in another process: `deno run -A … FILE`.
 *
 * The lock file is named, since deno.json names none: without it Deno asks the registry anew which packages
 * there are, also one that nothing loads (a peer of a package's), and a network namespace reaches no registry.
 */
const ROOT = new URL("../../", import.meta.url).pathname;

/** For a process with permissions of its own. */
export const MODULE_FLAGS = [
  ...["--quiet", "--no-check", "--unstable-kv"],
  ...[`--config=${ROOT}deno.json`, `--lock=${ROOT}deno.lock`, "--frozen"],
];

/** Arguments of deno; a module and its own arguments follow. */
export const RUN_MODULE = ["run", "-A", ...MODULE_FLAGS];
