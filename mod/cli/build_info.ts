/** What the build wrote beside the program (`build.json`), or what the source tree says of itself. */

export interface BuildInfo {
  readonly version: string;
  readonly gitRevision: string;
  readonly deno: string;
  readonly arch: string;
}

let known: BuildInfo | undefined;

export function buildInfo(): BuildInfo {
  return known ??= built() ?? {
    version: sourceVersion(),
    gitRevision: "source",
    deno: Deno.version.deno,
    arch: Deno.build.arch,
  };
}

function built(): BuildInfo | undefined {
  try {
    return JSON.parse(Deno.readTextFileSync(new URL("./build.json", import.meta.url)));
  } catch {
    return undefined; // not a build
  }
}

function sourceVersion(): string {
  try {
    const text = Deno.readTextFileSync(new URL("../../deno.json", import.meta.url));
    return JSON.parse(text).version;
  } catch {
    return "unknown";
  }
}
