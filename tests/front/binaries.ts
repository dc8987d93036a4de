/** Executables for the tests of the native front door: both variants, and one without. */
import { build } from "../../installer/build/build.ts";
import { setup } from "../../installer/build/setup.ts";

export type Variant = "loaded" | "direct" | "none";
export type Binaries = Readonly<Record<Variant, string>>;

/** The executables, in a folder that goes with them. */
export async function withBinaries(
  fn: (folder: string, binaries: Binaries) => Promise<void>,
): Promise<void> {
  await setup(["build", "front"]);
  const folder = await Deno.makeTempDir({ prefix: "tortie-front-" });
  await Deno.chmod(folder, 0o755);
  try {
    const binaries = {
      loaded: `${folder}/loaded`,
      direct: `${folder}/direct`,
      none: `${folder}/none`,
    };
    for (const front of ["loaded", "direct", "none"] as const) {
      await build({ output: binaries[front], front });
    }
    await fn(folder, binaries);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}
