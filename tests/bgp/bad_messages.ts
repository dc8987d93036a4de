/**
 * Messages that a peer may not send, written down by hand, with what has to become of each: the
 * NOTIFICATION that ends the session, or how the session goes on (RFC 7606).
 *
 * In Established the peer has announced 203.0.113.0/24 in order before, so that one can see whether a
 * wrong message takes the route away, replaces it or leaves it alone.
 */
/** How a session goes on after a message that could be read no better. */
export type Mild =
  /** Complained of, and the message's prefixes are gone. */
  | "withdrawn"
  /** Complained of, and the message's routes are used without what was wrong. */
  | "discarded"
  /** The message is in order, its route cannot be used, and that is said of the route. */
  | "unused"
  /** Complained of, without any consequence. */
  | "ignored";

export interface BadMessage {
  readonly what: string;
  readonly state: "OpenSent" | "OpenConfirm" | "Established";
  readonly hex: string;
  readonly then: readonly [code: number, subcode: number] | Mild;
  /** RFC and section. */
  readonly by: string;
}

const MARKER = "ff".repeat(16);
const two = (n: number) => n.toString(16).padStart(4, "0");
const message = (type: number, body: string, length = 19 + body.length / 2) =>
  MARKER + two(length) + type.toString(16).padStart(2, "0") + body;

const toHex = (text: string) =>
  [...new TextEncoder().encode(text)].map((b) => b.toString(16).padStart(2, "0")).join("");

const open = (fields: {
  version?: string;
  as?: string;
  hold?: string;
  id?: string;
  parameters?: string;
  parametersLength?: string;
}) => {
  // Multiprotocol IPv4, four-octet AS 65002.
  const { parameters = "020601040001000102064104" + "0000fdea" } = fields;
  const length = fields.parametersLength ?? (parameters.length / 2).toString(16).padStart(2, "0");
  return message(
    1,
    (fields.version ?? "04") + (fields.as ?? "fdea") + (fields.hold ?? "005a") +
      (fields.id ?? "0a090003") + length + parameters,
  );
};

const ORIGIN = "40010100", AS_PATH = "40020602010000fdea", NEXT_HOP = "4003040a090003";
const HOP6 = "fd09" + "0".repeat(27) + "3";
const mpReach = (afi: string, nextHop: string, prefixes: string) => {
  const value = `${afi}01${
    (nextHop.length / 2).toString(16).padStart(2, "0")
  }${nextHop}00${prefixes}`;
  return `800e${(value.length / 2).toString(16).padStart(2, "0")}${value}`;
};
const NLRI = "18cb0071"; // 203.0.113.0/24
const update = (attributes: string, nlri = NLRI, lengthOfAttributes = attributes.length / 2) =>
  message(2, `0000${two(lengthOfAttributes)}${attributes}${nlri}`);
const bad = (
  state: BadMessage["state"],
  what: string,
  hex: string,
  then: BadMessage["then"],
  by: string,
): BadMessage => ({ what, state, hex, then, by });

export const BAD_MESSAGES: readonly BadMessage[] = [
  // Headers.
  bad("Established", "a marker of zeros", "00".repeat(16) + "001304", [1, 1], "4271 6.1"),
  bad("Established", "a length of 18", MARKER + "001204", [1, 2], "4271 6.1"),
  bad("Established", "a length of 4097", message(2, "", 4097), [1, 2], "4271 6.1"),
  bad("Established", "a KEEPALIVE of 20 bytes", message(4, "00"), [1, 2], "4271 6.1"),
  bad("Established", "a length of 65535", MARKER + "ffff04", [1, 2], "4271 6.1"),
  bad("Established", "an UPDATE of 22 bytes", message(2, "000000"), [1, 2], "4271 6.1"),
  bad("Established", "a NOTIFICATION of 20 bytes", message(3, "06"), [1, 2], "4271 6.1"),
  bad("Established", "type 0", message(0, ""), [1, 3], "4271 6.1"),
  bad("Established", "type 9", message(9, ""), [1, 3], "4271 6.1"),
  bad("OpenSent", "an OPEN of 28 bytes", message(1, "04fdea005a0a090003"), [1, 2], "4271 6.1"),
  // OPEN.
  bad("OpenSent", "version 3", open({ version: "03" }), [2, 1], "4271 6.2"),
  bad("OpenSent", "another AS", open({ as: "fdeb", parameters: "" }), [2, 2], "4271 6.2"),
  bad("OpenSent", "AS 0", open({ as: "0000", parameters: "" }), [2, 2], "7607 2"),
  bad("OpenSent", "identifier 0.0.0.0", open({ id: "00000000" }), [2, 3], "6286 2.2"),
  bad("OpenSent", "a hold time of 1 s", open({ hold: "0001" }), [2, 6], "4271 6.2"),
  bad("OpenSent", "a hold time of 2 s", open({ hold: "0002" }), [2, 6], "4271 6.2"),
  bad(
    "OpenSent",
    "an unknown optional parameter",
    open({ parameters: "090100" }),
    [2, 4],
    "4271 6.2",
  ),
  bad(
    "OpenSent",
    "parameters longer than the OPEN",
    open({ parametersLength: "40" }),
    [2, 0],
    "4271 6.2",
  ),
  bad(
    "OpenSent",
    "a capability cut off",
    open({ parameters: "02040104" + "0001" }),
    [2, 0],
    "5492 4",
  ),
  bad(
    "OpenSent",
    "AS 0 in four octets",
    open({ as: "5ba0", parameters: "02064104" + "00000000" }),
    [2, 2],
    "7607 2",
  ),
  bad(
    "OpenSent",
    "a four-octet AS of two octets",
    open({ parameters: "02044102" + "fdea" }),
    [2, 0],
    "6793 3",
  ),
  bad(
    "OpenSent",
    "no family that we carry",
    open({ parameters: "02060104" + "00010002" + "02064104" + "0000fdea" }),
    [2, 7],
    "5492 3",
  ),
  bad(
    "OpenSent",
    "half an optional parameter",
    open({ parameters: "02064104" + "0000fdea" + "02" }),
    [2, 0],
    "4271 6.2",
  ),
  bad("OpenSent", "what is no BGP at all", toHex("GET / HTTP/1.1\r\n\r\n "), [1, 1], "4271 6.1"),
  bad("OpenSent", "a KEEPALIVE before the OPEN", message(4, ""), [5, 1], "6608 3"),
  bad(
    "OpenSent",
    "an UPDATE before the OPEN",
    update(ORIGIN + AS_PATH + NEXT_HOP),
    [5, 1],
    "6608 3",
  ),
  bad(
    "OpenConfirm",
    "an UPDATE before a KEEPALIVE",
    update(ORIGIN + AS_PATH + NEXT_HOP),
    [5, 2],
    "6608 4",
  ),
  bad("Established", "a second OPEN", open({}), [5, 3], "6608 5"),
  // UPDATE: what can't be parsed at all.
  bad(
    "Established",
    "withdrawn routes longer than the message",
    message(2, "00400000"),
    [3, 1],
    "4271 6.3",
  ),
  bad(
    "Established",
    "attributes longer than the message",
    update(ORIGIN, "", 200),
    [3, 1],
    "4271 6.3",
  ),
  bad("Established", "a prefix of 33 bits", update(ORIGIN + AS_PATH + NEXT_HOP, "21cb007100ff"), [
    3,
    10,
  ], "7606 5.3"),
  bad(
    "Established",
    "a prefix cut off",
    update(ORIGIN + AS_PATH + NEXT_HOP, "18cb00"),
    [3, 10],
    "7606 5.3",
  ),
  bad(
    "Established",
    "a withdrawn prefix of 40 bits",
    message(2, "0006" + "28cb007100ff" + "0000"),
    [3, 10],
    "7606 5.3",
  ),
  // UPDATE: what costs the routes alone.
  bad("Established", "no ORIGIN", update(AS_PATH + NEXT_HOP), "withdrawn", "7606 3(d)"),
  bad("Established", "no AS_PATH", update(ORIGIN + NEXT_HOP), "withdrawn", "7606 3(d)"),
  bad("Established", "no NEXT_HOP", update(ORIGIN + AS_PATH), "withdrawn", "7606 3(d)"),
  bad("Established", "ORIGIN 3", update("40010103" + AS_PATH + NEXT_HOP), "withdrawn", "7606 7.1"),
  bad(
    "Established",
    "an ORIGIN of two bytes",
    update("4001020000" + AS_PATH + NEXT_HOP),
    "withdrawn",
    "7606 7.1",
  ),
  bad(
    "Established",
    "a segment longer than its AS_PATH",
    update(ORIGIN + "40020602020000fdea" + NEXT_HOP),
    "withdrawn",
    "7606 7.2",
  ),
  bad(
    "Established",
    "an empty segment",
    update(ORIGIN + "4002020200" + NEXT_HOP),
    "withdrawn",
    "7606 7.2",
  ),
  bad(
    "Established",
    "a segment of type 9",
    update(ORIGIN + "40020609010000fdea" + NEXT_HOP),
    "withdrawn",
    "7606 7.2",
  ),
  bad(
    "Established",
    "a NEXT_HOP of three bytes",
    update(ORIGIN + AS_PATH + "4003030a0900"),
    "withdrawn",
    "7606 7.3",
  ),
  bad(
    "Established",
    "a MED of three bytes",
    update(ORIGIN + AS_PATH + NEXT_HOP + "800403000001"),
    "withdrawn",
    "7606 7.4",
  ),
  bad(
    "Established",
    "communities of five bytes",
    update(ORIGIN + AS_PATH + NEXT_HOP + "c008050000000001"),
    "withdrawn",
    "7606 7.8",
  ),
  bad(
    "Established",
    "ORIGIN as optional",
    update("c0010100" + AS_PATH + NEXT_HOP),
    "withdrawn",
    "7606 3(c)",
  ),
  bad(
    "Established",
    "an attribute longer than the rest",
    update(ORIGIN + AS_PATH + "4003ff0a090003"),
    "withdrawn",
    "7606 4",
  ),
  bad(
    "Established",
    "our own address as the next hop",
    update(ORIGIN + AS_PATH + "4003040a090001"),
    "unused",
    "4271 6.3",
  ),
  bad(
    "Established",
    "the next hop 0.0.0.0",
    update(ORIGIN + AS_PATH + "40030400000000"),
    "unused",
    "4271 6.3",
  ),
  bad(
    "Established",
    "a group's address as the next hop",
    update(ORIGIN + AS_PATH + "400304e0000001"),
    "unused",
    "4271 6.3",
  ),
  bad(
    "Established",
    "AS 0 in the path",
    update(ORIGIN + "4002060201" + "00000000" + NEXT_HOP),
    "withdrawn",
    "7607 2",
  ),
  bad(
    "Established",
    "a confederation's segment",
    update(ORIGIN + "4002060301" + "0000fdea" + NEXT_HOP),
    "withdrawn",
    "5065 5",
  ),
  bad(
    "Established",
    "large communities of eleven bytes",
    update(ORIGIN + AS_PATH + NEXT_HOP + "c0200b" + "00".repeat(11)),
    "withdrawn",
    "8092 6",
  ),
  bad(
    "Established",
    "extended communities of seven bytes",
    update(ORIGIN + AS_PATH + NEXT_HOP + "c01007" + "00".repeat(7)),
    "withdrawn",
    "7606 7.14",
  ),
  bad(
    "Established",
    "a well-known attribute that nobody knows",
    update(ORIGIN + AS_PATH + NEXT_HOP + "406300"),
    [3, 2],
    "4271 6.3",
  ),
  // UPDATE: what would cost the routes, where none can be found (RFC 7606 5.2).
  bad(
    "Established",
    "an ORIGIN that overruns before MP_REACH_NLRI (IPv6)",
    update("4001ff00" + AS_PATH + mpReach("0002", HOP6, "2020010db8"), ""),
    [3, 1],
    "7606 5.2",
  ),
  bad(
    "Established",
    "an ORIGIN of two bytes and no route",
    update("4001020000", ""),
    [3, 1],
    "7606 5.2",
  ),
  bad("Established", "rests of an attribute and no route", update("40", ""), [3, 1], "7606 5.2"),
  bad(
    "Established",
    "a withdrawal with a MED of three bytes",
    message(2, "0004" + NLRI + "0006" + "800403000001"),
    [3, 1],
    "7606 5.2",
  ),
  bad(
    "Established",
    "MP_UNREACH_NLRI with an ORIGIN of two bytes",
    update("800f08" + "000201" + "2020010db8" + "4001020000", ""),
    [3, 1],
    "7606 5.2",
  ),
  bad(
    "Established",
    "MP_REACH_NLRI of no prefix with ORIGIN 3",
    update(mpReach("0002", HOP6, "") + "40010103" + AS_PATH, ""),
    [3, 1],
    "7606 5.2",
  ),
  bad(
    "Established",
    "MP_UNREACH_NLRI as transitive",
    update("c00f08" + "000201" + "2020010db8", ""),
    [3, 4],
    "7606 5.3",
  ),
  bad(
    "Established",
    "MP_REACH_NLRI as well-known",
    update("400e" + mpReach("0002", HOP6, "2020010db8").slice(4) + ORIGIN + AS_PATH, ""),
    [3, 4],
    "7606 5.3",
  ),
  bad(
    "Established",
    "no route, and an ATOMIC_AGGREGATE of one byte",
    update("40060100", ""),
    "ignored",
    "7606 5.2, 7.6",
  ),
  // UPDATE: what costs an attribute alone.
  bad(
    "Established",
    "LOCAL_PREF from another AS",
    update(ORIGIN + AS_PATH + NEXT_HOP + "400504000000c8"),
    "discarded",
    "7606 7.5",
  ),
  bad(
    "Established",
    "an AGGREGATOR of three bytes",
    update(ORIGIN + AS_PATH + NEXT_HOP + "c00703fdea0a"),
    "discarded",
    "7606 7.7",
  ),
  bad(
    "Established",
    "an ATOMIC_AGGREGATE of one byte",
    update(ORIGIN + AS_PATH + NEXT_HOP + "40060100"),
    "discarded",
    "7606 7.6",
  ),
  bad(
    "Established",
    "AS4_PATH between two that know four octets",
    update(ORIGIN + AS_PATH + NEXT_HOP + "c01106" + "0201" + "0000fdea"),
    "discarded",
    "6793 6",
  ),
  bad(
    "Established",
    "a CLUSTER_LIST from another AS",
    update(ORIGIN + AS_PATH + NEXT_HOP + "800a04" + "0a090003"),
    "discarded",
    "7606 7.10",
  ),
  // Two of what there is one of.
  bad(
    "Established",
    "ORIGIN twice, and not the same",
    update(ORIGIN + "40010102" + AS_PATH + NEXT_HOP),
    "discarded",
    "7606 3(g)",
  ),
  bad(
    "Established",
    "MP_UNREACH_NLRI twice",
    message(2, "0000000c" + "800f03000201".repeat(2)),
    [3, 1],
    "7606 3(g)",
  ),
  bad(
    "Established",
    "MP_REACH_NLRI twice",
    update(
      ORIGIN + AS_PATH +
        ("800e0d" + "0001" + "01" + "04" + "0a090003" + "00" + "18cb0071").repeat(2),
      "",
    ),
    [3, 1],
    "7606 3(g)",
  ),
  // Other families.
  bad(
    "Established",
    "MP_REACH_NLRI of three bytes",
    update(ORIGIN + AS_PATH + "800e03000201", ""),
    [3, 9],
    "7606 7.11",
  ),
  bad(
    "Established",
    "an IPv6 next hop of five bytes",
    update(ORIGIN + AS_PATH + mpReach("0002", "fd09000003", "2020010db8"), ""),
    [3, 9],
    "7606 7.11",
  ),
  bad(
    "Established",
    "a next hop longer than its MP_REACH_NLRI",
    update(ORIGIN + AS_PATH + "800e06" + "000201" + "400000", ""),
    [3, 9],
    "7606 7.11",
  ),
  bad(
    "Established",
    "an IPv6 prefix of 129 bits",
    update(ORIGIN + AS_PATH + mpReach("0002", HOP6, "81" + "20010db8".padEnd(34, "0")), ""),
    [3, 9],
    "7606 5.3",
  ),
  bad(
    "Established",
    "an IPv6 prefix cut off",
    update(ORIGIN + AS_PATH + mpReach("0002", HOP6, "40" + "20010db8"), ""),
    [3, 9],
    "7606 5.3",
  ),
  bad(
    "Established",
    "MP_UNREACH_NLRI of two bytes",
    message(2, "00000005" + "800f020002"),
    [3, 9],
    "7606 7.12",
  ),
  bad(
    "Established",
    "the IPv6 next hop ::",
    update(ORIGIN + AS_PATH + mpReach("0002", "00".repeat(16), "2020010db8"), ""),
    "unused",
    "4271 6.3",
  ),
  bad(
    "Established",
    "a family that was not agreed on",
    update(ORIGIN + AS_PATH + mpReach("0019", "0a090003", "00"), ""),
    "ignored",
    "4760 7",
  ),
  // Destinations that are none.
  bad(
    "Established",
    "a route to 127.0.0.0/8",
    update(ORIGIN + AS_PATH + NEXT_HOP, "087f"),
    "unused",
    "1122 3.2.1.3",
  ),
  bad(
    "Established",
    "a route to 224.0.0.0/4",
    update(ORIGIN + AS_PATH + NEXT_HOP, "04e0"),
    "unused",
    "1122 3.2.1.3",
  ),
  bad(
    "Established",
    "a route to fe80::/10 (IPv6)",
    update(ORIGIN + AS_PATH + mpReach("0002", HOP6, "0afe80"), ""),
    "unused",
    "4291 2.5.6",
  ),
  // ROUTE-REFRESH.
  bad("Established", "a ROUTE-REFRESH without a family", message(5, ""), [7, 1], "7313 5"),
  bad(
    "Established",
    "a ROUTE-REFRESH of 22 bytes",
    message(5, "000100"),
    [7, 1],
    "7313 5",
  ),
  bad(
    "OpenConfirm",
    "a ROUTE-REFRESH before a KEEPALIVE",
    message(5, "00010001"),
    [5, 2],
    "6608 4",
  ),
];
