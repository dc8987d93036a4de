/**
 * The mark on the host side of a pair: the interface's alias, which `ip link` shows. It says whose
 * the pair is, and whether the runtime has been told of it. It is written in the message that makes
 * the interface and vanishes with it, so it can neither be missing nor outlive what it describes;
 * with it a pair that an ADD left behind when it was cut off is told from one that is in use.
 *
 *     tortie adding <container>/<interface>      made, the runtime has no answer yet
 *     tortie pod <container>/<interface>         in use
 *
 * A pair without our alias was wired by Calico, and is in use. A service that dies between the answer
 * and the second mark leaves a pair that looks unfinished; only a second ADD of the same container,
 * which no runtime makes, would find it so, and would make it anew.
 */

const ADDING = "tortie adding ";
const IN_USE = "tortie pod ";

export interface Mark {
  readonly state: "adding" | "in use";
  readonly containerId: string;
  readonly ifname: string;
}

export function formatMark(mark: Mark): string {
  return `${mark.state === "adding" ? ADDING : IN_USE}${mark.containerId}/${mark.ifname}`;
}

/** undefined for an alias that is not ours. */
export function parseMark(alias: string | undefined): Mark | undefined {
  if (alias === undefined) return undefined;
  const state = alias.startsWith(ADDING)
    ? "adding"
    : alias.startsWith(IN_USE)
    ? "in use"
    : undefined;
  if (!state) return undefined;
  const owner = alias.slice((state === "adding" ? ADDING : IN_USE).length);
  const slash = owner.indexOf("/");
  if (slash < 1) return undefined;
  return { state, containerId: owner.slice(0, slash), ifname: owner.slice(slash + 1) };
}

/** Does the mark name this attachment? */
export function isMarkOf(
  mark: Mark,
  attachment: { readonly containerId: string; readonly ifname: string },
): boolean {
  return mark.containerId === attachment.containerId && mark.ifname === attachment.ifname;
}
