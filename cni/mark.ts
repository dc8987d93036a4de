/**
 * The mark on the host side of a pair: the interface's alias, which `ip link` shows. It says whose
 * the pair is, and whether the runtime may know of it. It is written in the message that makes
 * the interface and vanishes with it, so it can neither be missing nor outlive what it describes;
 * with it a pair that an ADD left behind when it was cut off is told from one that is in use.
 *
 *     tortie adding <container>/<interface>      made, nobody has an answer
 *     tortie pod <container>/<interface>         in use; the answer goes out after this mark
 *
 * A pair without our alias was wired by Calico, and is in use. A service that dies between this mark
 * and the answer leaves a whole attachment without a caller. A second ADD is an error then and leaves
 * it alone, since it could as well be live; the DEL that follows a failed ADD takes it away.
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
