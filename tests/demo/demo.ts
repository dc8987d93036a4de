/**
 * `deno task demo`: sets the machine up, builds, and runs `tortie lab demo` with the built executable.
 * Its exit code is the demo's: 0 only if everything that it said was true.
 */
import { build } from "../../installer/build/build.ts";
import { setup } from "../../installer/build/setup.ts";

const BINARY = new URL("../../dist/tortie", import.meta.url).pathname;
const BIRD = "/usr/sbin/bird";

async function isFile(path: string): Promise<boolean> {
  try {
    return (await Deno.stat(path)).isFile;
  } catch {
    return false; // a demo without it says what it leaves out
  }
}

if (Deno.uid() !== 0) {
  console.error("the demo makes network namespaces: run it as root");
  Deno.exit(1);
}
await setup(["build", "front", "demo"]);
console.log("building dist/tortie");
await build();
// The executable looks for no program by itself: BIRD is named to it where it is there.
const bird = await isFile(BIRD) && !Deno.args.includes("--bird") ? ["--bird", BIRD] : [];
const child = new Deno.Command(BINARY, { args: ["lab", "demo", ...bird, ...Deno.args] }).spawn();
// The demo itself ends at a signal, after it has cleaned up; we wait for it.
for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) {
  Deno.addSignalListener(signal, () => child.kill(signal));
}
Deno.exit((await child.status).code);
