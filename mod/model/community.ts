/** BGP communities as Calico writes them: `65000:100` (RFC 1997) and `65000:1:2` (RFC 8092, large). */

export type Community =
  | { readonly size: "standard"; readonly parts: readonly [number, number] }
  | { readonly size: "large"; readonly parts: readonly [number, number, number] };

/** undefined where the text is no community, or a part needs more bits than it has (16, large 32). */
export function parseCommunity(text: string): Community | undefined {
  if (!/^[0-9]+(:[0-9]+){1,2}$/.test(text)) return undefined;
  const parts = text.split(":").map(Number);
  const most = parts.length === 2 ? 0xffff : 0xffff_ffff;
  if (parts.some((part) => part > most)) return undefined;
  return parts.length === 2
    ? { size: "standard", parts: [parts[0], parts[1]] }
    : { size: "large", parts: [parts[0], parts[1], parts[2]] };
}

export const WANT_COMMUNITY =
  "a community such as 65000:100 (parts up to 65535) or 65000:1:2 (parts up to 4294967295)";
