/**
 * Packages of Debian that are unpacked and not installed: those of another architecture (what a build for
 * arm64 carries) or of another release (other C libraries, for tests). apt fetches and verifies them, with
 * lists and a cache of its own in a temporary folder, so that this machine's stay as they are.
 */

/** Debian's names of the architectures. */
const ARCHITECTURES: Record<string, string> = { x86_64: "amd64", aarch64: "arm64" };

export interface DebianSource {
  /** As Deno.build.arch. */
  readonly arch: string;
  /** A release's code name; undefined: this machine's sources as they are. */
  readonly release?: string;
}

/** Unpacks the packages into the folder, without what they depend on. Throws in apt's own words. */
export async function unpackDebian(
  packages: readonly string[],
  { arch, release }: DebianSource,
  folder: string,
): Promise<void> {
  const temporary = await Deno.makeTempDir({ prefix: "tortie-apt-" });
  try {
    const lists = `${temporary}/lists`, cache = `${temporary}/cache`;
    for (const path of [`${lists}/partial`, `${cache}/archives/partial`]) {
      await Deno.mkdir(path, { recursive: true });
    }
    const architecture = ARCHITECTURES[arch];
    const options = [
      `Dir::State::Lists=${lists}`,
      `Dir::Cache=${cache}`,
      // What is installed here does not count.
      "Dir::State::Status=/dev/null",
      `APT::Architecture=${architecture}`,
      `APT::Architectures=${architecture}`,
      "APT::Sandbox::User=root",
    ];
    if (release !== undefined) {
      const list = `${temporary}/sources.list`;
      await Deno.writeTextFile(list, `deb ${await mirror()} ${release} main\n`);
      options.push(`Dir::Etc::SourceList=${list}`, "Dir::Etc::SourceParts=/dev/null");
    }
    const apt = (...args: string[]) =>
      run("apt-get", [...options.flatMap((option) => ["-o", option]), "-qq", ...args], temporary);
    await apt("update");
    await apt("download", ...packages);
    for (const { name } of [...Deno.readDirSync(temporary)]) {
      if (name.endsWith(".deb")) await run("dpkg-deb", ["-x", name, folder], temporary);
    }
  } finally {
    await Deno.remove(temporary, { recursive: true });
  }
}

/** Where this machine gets Debian from. */
async function mirror(): Promise<string> {
  const text = await run("apt-get", ["indextargets", "--format", "$(REPO_URI)"], "/");
  const uri = text.split("\n").find((line) => line !== "" && !line.includes("security"));
  if (!uri) throw new Error("apt knows no source of Debian's packages: run apt-get update");
  return uri;
}

async function run(command: string, args: string[], cwd: string): Promise<string> {
  const { success, stdout, stderr } = await new Deno.Command(command, {
    args,
    cwd,
    stdin: "null",
    stdout: "piped",
    stderr: "piped",
  }).output();
  const decoder = new TextDecoder();
  if (!success) throw new Error(`${command}: ${decoder.decode(stderr).trim()}`);
  return decoder.decode(stdout);
}
