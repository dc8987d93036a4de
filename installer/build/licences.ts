/**
 * The licences of the npm packages that travel inside the executable: one text, made from the packages
 * themselves, so that it cannot forget one.
 */

interface DenoInfo {
  npmPackages?: Record<string, { name: string; version: string }>;
  npmCache?: string;
}

async function denoInfo(root: string, args: string[]): Promise<DenoInfo> {
  const { success, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["info", "--lock=deno.lock", "--frozen", "--json", ...args],
    cwd: root,
  }).output();
  if (!success) throw new Error(`deno info: ${new TextDecoder().decode(stderr)}`);
  return JSON.parse(new TextDecoder().decode(stdout));
}

/** Packages of the entry's module graph, each with its licence text. */
export async function npmLicences(root: string, entry: string): Promise<string> {
  const { npmPackages = {} } = await denoInfo(root, [entry]);
  const { npmCache } = await denoInfo(root, []);
  const parts: string[] = [];
  for (
    const { name, version } of Object.values(npmPackages).sort((a, b) => a.name < b.name ? -1 : 1)
  ) {
    parts.push(`${name} ${version}\n\n${await licenceOf(npmCache!, name, version)}`);
  }
  return parts.join(`\n${"-".repeat(72)}\n\n`);
}

/** The cache holds a folder for each registry; the package lies in one of them. */
async function licenceOf(cache: string, name: string, version: string): Promise<string> {
  for await (const registry of Deno.readDir(cache)) {
    const folder = `${cache}/${registry.name}/${name}/${version}`;
    try {
      for await (const file of Deno.readDir(folder)) {
        if (/^licen[cs]e/i.test(file.name)) {
          return await Deno.readTextFile(`${folder}/${file.name}`);
        }
      }
      const { license, author } = JSON.parse(await Deno.readTextFile(`${folder}/package.json`));
      return `License: ${license}\nAuthor: ${author?.name ?? author ?? "see the package"}\n`;
    } catch (error) {
      if (!(error instanceof Deno.errors.NotFound)) throw error;
    }
  }
  throw new Error(`no licence of ${name} ${version} is in npm's cache`);
}
