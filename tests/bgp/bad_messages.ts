/**
 * Messages that a peer may not send, written down by hand, with what has to become of each. `reset`:
 * the session ends with this NOTIFICATION; `stands`: it goes on (RFC 7606), and no route came of it.
 */
export interface BadMessage {
  readonly what: string;
  readonly state: "OpenSent" | "OpenConfirm" | "Established";
  readonly hex: string;
  /** NOTIFICATION, or that the session stands. */
  readonly then: readonly [code: number, subcode: number] | "stands";
  /** RFC and section. */
  readonly by: string;
}

const MARKER = "ff".repeat(16);
const two = (n: number) => n.toString(16).padStart(4, "0");
const message = (type: number, body: string, length = 19 + body.length / 2) =>
  MARKER + two(length) + type.toString(16).padStart(2, "0") + body;

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
  bad("Established", "no ORIGIN", update(AS_PATH + NEXT_HOP), "stands", "7606 3(d)"),
  bad("Established", "no AS_PATH", update(ORIGIN + NEXT_HOP), "stands", "7606 3(d)"),
  bad("Established", "no NEXT_HOP", update(ORIGIN + AS_PATH), "stands", "7606 3(d)"),
  bad("Established", "ORIGIN 3", update("40010103" + AS_PATH + NEXT_HOP), "stands", "7606 7.1"),
  bad(
    "Established",
    "an ORIGIN of two bytes",
    update("4001020000" + AS_PATH + NEXT_HOP),
    "stands",
    "7606 7.1",
  ),
  bad(
    "Established",
    "a segment longer than its AS_PATH",
    update(ORIGIN + "40020602020000fdea" + NEXT_HOP),
    "stands",
    "7606 7.2",
  ),
  bad(
    "Established",
    "an empty segment",
    update(ORIGIN + "4002020200" + NEXT_HOP),
    "stands",
    "7606 7.2",
  ),
  bad(
    "Established",
    "a segment of type 9",
    update(ORIGIN + "40020609010000fdea" + NEXT_HOP),
    "stands",
    "7606 7.2",
  ),
  bad(
    "Established",
    "a NEXT_HOP of three bytes",
    update(ORIGIN + AS_PATH + "4003030a0900"),
    "stands",
    "7606 7.3",
  ),
  bad(
    "Established",
    "a MED of three bytes",
    update(ORIGIN + AS_PATH + NEXT_HOP + "800403000001"),
    "stands",
    "7606 7.4",
  ),
  bad(
    "Established",
    "communities of five bytes",
    update(ORIGIN + AS_PATH + NEXT_HOP + "c008050000000001"),
    "stands",
    "7606 7.8",
  ),
  bad(
    "Established",
    "ORIGIN as optional",
    update("c0010100" + AS_PATH + NEXT_HOP),
    "stands",
    "7606 3(c)",
  ),
  bad(
    "Established",
    "an attribute longer than the rest",
    update(ORIGIN + AS_PATH + "4003ff0a090003"),
    "stands",
    "7606 4",
  ),
  bad(
    "Established",
    "our own address as the next hop",
    update(ORIGIN + AS_PATH + "4003040a090001"),
    "stands",
    "4271 6.3",
  ),
  // Two of what there is one of.
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
  // ROUTE-REFRESH.
  bad("Established", "a ROUTE-REFRESH without a family", message(5, ""), [7, 1], "7313 5"),
];
