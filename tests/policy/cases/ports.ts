/** On which ports and protocols: numbers, names, ranges, and none. */
import { app, block, ns, one, type OwnCase, policy } from "./case.ts";

export const portCases: readonly OwnCase[] = [
  one(
    "a port without protocol is TCP's",
    [policy("shop", { ...app("web"), ingress: [{ ports: [{ port: 80 }] }] })],
    "deny any -> web",
    "allow any -> web on tcp/80",
  ),
  one(
    "UDP",
    [policy("shop", { ...app("web"), ingress: [{ ports: [{ port: 81, protocol: "UDP" }] }] })],
    "deny any -> web",
    "allow any -> web on udp/81",
  ),
  one(
    "SCTP",
    [policy("shop", { ...app("web"), ingress: [{ ports: [{ port: 80, protocol: "SCTP" }] }] })],
    "deny any -> web",
    "allow any -> web on sctp/80",
  ),
  one(
    "a protocol without port is all of its ports",
    [
      policy("shop", {
        ...app("db"),
        ingress: [{ ports: [{ protocol: "SCTP" }, { protocol: "UDP" }] }],
      }),
    ],
    "deny any -> db",
    "allow any -> db on sctp udp",
  ),
  one(
    "an empty port is all of TCP",
    [policy("shop", { ...app("db"), ingress: [{ ports: [{}] }] })],
    "deny any -> db",
    "allow any -> db on tcp",
  ),
  one(
    "several ports of several protocols",
    [
      policy("shop", {
        ...app("api"),
        ingress: [{
          ports: [{ port: 81 }, { port: 80, protocol: "UDP" }, { port: 81, protocol: "SCTP" }],
        }],
      }),
    ],
    "deny any -> api",
    "allow any -> api on tcp/81 udp/80 sctp/81",
  ),
  one(
    "a name is looked up at each server, and not at one that lacks it",
    [policy("shop", { ingress: [{ ports: [{ port: "http" }] }] })],
    "deny any -> web api db",
    "allow any -> web api on tcp/80",
  ),
  one(
    "the same name is another number elsewhere",
    [policy("back", { ingress: [{ ports: [{ port: "http" }] }] })],
    "deny any -> job bapi",
    "allow any -> job on tcp/80",
    "allow any -> bapi on tcp/81",
  ),
  one(
    "a name counts for its own protocol alone",
    [
      policy("shop", {
        ...app("web"),
        ingress: [{
          ports: [
            { port: "ask", protocol: "UDP" },
            { port: "peer", protocol: "SCTP" },
            { port: "ask" },
          ],
        }],
      }),
    ],
    "deny any -> web",
    "allow any -> web on udp/80 sctp/81",
  ),
  one(
    "a name in egress is looked up at the other end",
    [
      policy("lone", {
        policyTypes: ["Egress"],
        egress: [{ to: [{ namespaceSelector: {} }], ports: [{ port: "http" }] }],
      }),
    ],
    "deny x -> any",
    "allow x -> web api job on tcp/80",
    "allow x -> bapi on tcp/81",
  ),
  one(
    "a range begins and ends where it says",
    [
      policy("shop", { ...app("web"), ingress: [{ ports: [{ port: 60, endPort: 80 }] }] }),
      policy("shop/q", { ...app("db"), ingress: [{ ports: [{ port: 81, endPort: 99 }] }] }),
    ],
    "deny any -> web db",
    "allow any -> web on tcp/80",
    "allow any -> db on tcp/81",
  ),
  one(
    "a range over UDP and over SCTP",
    [
      policy("back", {
        ingress: [{
          ports: [
            { port: 80, endPort: 81, protocol: "UDP" },
            { port: 81, endPort: 65535, protocol: "SCTP" },
          ],
        }],
      }),
    ],
    "deny any -> job bapi",
    "allow any -> job bapi on udp sctp/81",
  ),
  one(
    "a range of one",
    [policy("back", { ingress: [{ ports: [{ port: 81, endPort: 81 }] }] })],
    "deny any -> job bapi",
    "allow any -> job bapi on tcp/81",
  ),
  one(
    "peers and ports of a rule must both hold; rules add up",
    [
      policy("shop", {
        ...app("db"),
        ingress: [
          { from: [app("api")], ports: [{ port: 80 }] },
          { from: [ns({ team: "b" })], ports: [{ port: 81, protocol: "UDP" }] },
        ],
      }),
    ],
    "deny any -> db",
    "allow api -> db on tcp/80",
    "allow job bapi -> db on udp/81",
  ),
  one(
    "ports of egress are the server's",
    [
      policy("shop", {
        ...app("web"),
        policyTypes: ["Egress"],
        egress: [{ ports: [{ port: 80 }, { port: 81, protocol: "SCTP" }] }],
      }),
    ],
    "deny web -> any",
    "allow web -> any on tcp/80 sctp/81",
  ),
  one(
    "a block and a port outside, over IPv6 alone",
    [
      policy("shop", {
        ...app("web"),
        policyTypes: ["Egress"],
        egress: [{
          to: [block("2001:db8::/32", "2001:db8::/64")],
          ports: [{ port: 80, endPort: 90, protocol: "SCTP" }],
        }],
      }),
    ],
    "deny web -> any",
    "allow web -> out on sctp over IPv6",
  ),
];
