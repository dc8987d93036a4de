/**
 * Executables for the tests of the native front door: both variants, and one without. With what builds and
 * tries them.
 */
import { build } from "../../installer/build/build.ts";
import { FRONT_NEEDS, type Need, setup } from "../../installer/build/setup.ts";

export type Variant = "loaded" | "direct" | "none";
export type Binaries = Readonly<Record<Variant, string>>;

const NEEDS: readonly Need[] = [
  ...FRONT_NEEDS,
  { package: "libc6-dev", files: ["/usr/include/stdio.h"], purpose: "build" },
  { package: "file", files: ["/usr/bin/file"], purpose: "build" },
  { package: "gdb", files: ["/usr/bin/gdb"], purpose: "build" },
  { package: "python3-minimal", files: ["/usr/bin/python3"], purpose: "build" },
];

/** The executables, in a folder that goes with them. */
export async function withBinaries(
  fn: (folder: string, binaries: Binaries) => Promise<void>,
): Promise<void> {
  await setup(["build"], NEEDS);
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
