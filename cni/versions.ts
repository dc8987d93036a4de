/**
 * The versions of the CNI specification that we serve, in one place: the plugin answers VERSION from
 * here without asking anybody, the service judges configurations by it, and whatever stands in front
 * of the plugin (a native client) takes its constant from the same line.
 *
 * 0.1.0 and 0.2.0 are served as Calico serves them: a configuration without `cniVersion` is one of
 * 0.1.0 (CNI SPEC, "Version considerations"), and old runtimes still write such files. A newer
 * version than the newest here is refused with code 1 and nothing is done.
 *
 * This file imports nothing: it is on the path of every start of the plugin.
 */

/** Every version served, oldest first. */
export const SUPPORTED_VERSIONS = [
  "0.1.0",
  "0.2.0",
  "0.3.0",
  "0.3.1",
  "0.4.0",
  "1.0.0",
  "1.1.0",
] as const;

export type CniVersion = typeof SUPPORTED_VERSIONS[number];

/** The version in which we speak where nobody asked for one. */
export const LATEST_VERSION: CniVersion = "1.1.0";

/** What a configuration without `cniVersion` means. */
export const ABSENT_VERSION: CniVersion = "0.1.0";

/** Standard output of the command VERSION, whatever the request says. */
export const VERSION_ANSWER: string = JSON.stringify({
  cniVersion: LATEST_VERSION,
  supportedVersions: SUPPORTED_VERSIONS,
}) + "\n";

/** Is this text one of the versions that we serve? */
export function isSupported(version: string): version is CniVersion {
  return (SUPPORTED_VERSIONS as readonly string[]).includes(version);
}

/** Is `version` the same as `floor` or a later one? */
export function atLeast(version: CniVersion, floor: CniVersion): boolean {
  return SUPPORTED_VERSIONS.indexOf(version) >= SUPPORTED_VERSIONS.indexOf(floor);
}
