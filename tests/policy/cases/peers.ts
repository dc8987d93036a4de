/** Who may: selectors of pods and namespaces, blocks of addresses, and all of them together. */
import { app, block, ns, one, type OwnCase, policy, where } from "./case.ts";

export const peerCases: readonly OwnCase[] = [
  one(
    "podSelector means pods of the policy's own namespace",
    [policy("shop", { ...app("web"), ingress: [{ from: [app("api")] }] })],
    "deny any -> web",
    "allow api -> web",
  ),
  one(
    "an empty podSelector as peer means the whole namespace and nobody else",
    [policy("shop", { ingress: [{ from: [{ podSelector: {} }] }] })],
    "deny any -> web api db",
    "allow web api db -> web api db",
  ),
  one(
    "namespaceSelector means every pod of those namespaces",
    [policy("shop", { ...app("db"), ingress: [{ from: [ns({ team: "b" })] }] })],
    "deny any -> db",
    "allow job bapi -> db",
  ),
  one(
    "an empty namespaceSelector means all pods, and no address outside",
    [policy("shop", { ...app("db"), ingress: [{ from: [{ namespaceSelector: {} }] }] })],
    "deny out -> db",
  ),
  one(
    "a namespace by the name that the API server labels it with",
    [
      policy("back", {
        ...app("api"),
        ingress: [{ from: [ns({ "kubernetes.io/metadata.name": "lone" })] }],
      }),
    ],
    "deny any -> bapi",
    "allow x -> bapi",
  ),
  one(
    "both selectors in one peer must both hold",
    [
      policy("shop", {
        ...app("web"),
        ingress: [{ from: [{ ...app("api"), ...ns({ team: "b" }) }] }],
      }),
    ],
    "deny any -> web",
    "allow bapi -> web",
  ),
  one(
    "as two peers, either suffices",
    [policy("shop", { ...app("web"), ingress: [{ from: [app("api"), ns({ team: "b" })] }] })],
    "deny any -> web",
    "allow api job bapi -> web",
  ),
  one(
    "both selectors in one peer of egress",
    [
      policy("lone", {
        policyTypes: ["Egress"],
        egress: [{ to: [{ ...app("api"), ...ns({ env: "prod" }) }] }],
      }),
    ],
    "deny x -> any",
    "allow x -> api bapi",
  ),
  one(
    "In",
    [
      policy("shop", {
        ...app("db"),
        ingress: [{ from: [{ podSelector: where("tier", "In", "front", "back") }] }],
      }),
    ],
    "deny any -> db",
    "allow web -> db",
  ),
  one(
    "NotIn holds also where the label is missing",
    [
      policy("shop", {
        ...app("web"),
        ingress: [{ from: [{ podSelector: where("tier", "NotIn", "mid") }] }],
      }),
    ],
    "deny any -> web",
    "allow db -> web",
  ),
  one(
    "Exists",
    [
      policy("back", {
        ingress: [{
          from: [{
            namespaceSelector: where("team", "Exists"),
            podSelector: where("tier", "Exists"),
          }],
        }],
      }),
    ],
    "deny any -> job bapi",
    "allow web api job -> job bapi",
  ),
  one(
    "DoesNotExist",
    [
      policy("shop", {
        ...app("api"),
        ingress: [{ from: [{ namespaceSelector: where("team", "DoesNotExist") }] }],
      }),
    ],
    "deny any -> api",
    "allow x -> api",
  ),
  one(
    "several expressions must all hold",
    [
      policy("shop", {
        ...app("db"),
        ingress: [{
          from: [{
            namespaceSelector: {
              matchLabels: { env: "prod" },
              matchExpressions: [{ key: "team", operator: "NotIn", values: ["a"] }],
            },
            podSelector: where("tier", "DoesNotExist"),
          }],
        }],
      }),
    ],
    "deny any -> db",
    "allow bapi -> db",
  ),
  one(
    "the policy's own podSelector by expressions",
    [policy("shop", { podSelector: where("app", "NotIn", "web", "db"), ingress: [] })],
    "deny any -> api",
  ),
  one(
    "a peer that matches nothing admits nobody",
    [policy("shop", { ...app("web"), ingress: [{ from: [app("nobody")] }] })],
    "deny any -> web",
  ),
  one(
    "a namespaceSelector that matches nothing admits nobody",
    [
      policy("shop", {
        policyTypes: ["Ingress", "Egress"],
        ...app("web"),
        ingress: [{ from: [ns({ team: "none" })] }],
        egress: [{ to: [ns({ team: "none" })] }],
      }),
    ],
    "deny any -> web",
    "deny web -> any",
  ),
  one(
    "a policy whose podSelector matches nothing changes nothing",
    [policy("shop", { ...app("nobody"), policyTypes: ["Ingress", "Egress"] })],
  ),
  one(
    "ipBlock admits addresses of its family alone",
    [policy("shop", { ...app("web"), ingress: [{ from: [block("10.65.0.0/24")] }] })],
    "deny any -> web",
    "allow api db -> web over IPv4",
  ),
  one(
    "an IPv6 ipBlock",
    [policy("shop", { ...app("web"), ingress: [{ from: [block("fd00:65::100/120")] }] })],
    "deny any -> web",
    "allow job bapi -> web over IPv6",
  ),
  one(
    "everybody outside the cluster's own addresses, in both families",
    [
      policy("shop", {
        ...app("web"),
        ingress: [{
          from: [block("0.0.0.0/0", "10.65.0.0/16"), block("::/0", "fd00:65::/112")],
        }],
      }),
    ],
    "deny any -> web",
    "allow out -> web",
  ),
  one(
    "several excepts, one of them a single address",
    [
      policy("back", {
        ...app("job"),
        ingress: [{ from: [block("10.65.0.0/16", "10.65.0.128/25", "10.65.2.9/32")] }],
      }),
    ],
    "deny any -> job",
    "allow web api bapi -> job over IPv4",
  ),
  one(
    "what one block excepts another may admit",
    [
      policy("back", {
        ...app("job"),
        ingress: [{
          from: [block("fd00:65::/112", "fd00:65::/120"), block("fd00:65::86/128")],
        }],
      }),
    ],
    "deny any -> job",
    "allow x bapi db -> job over IPv6",
  ),
  one(
    "egress to a block with except",
    [
      policy("shop", {
        ...app("api"),
        policyTypes: ["Egress"],
        egress: [{
          to: [block("10.65.0.0/16", "10.65.1.0/26"), block("fd00:65::/112", "fd00:65::140/122")],
        }],
      }),
    ],
    "deny api -> out",
    "deny api -> job over IPv4",
    "deny api -> bapi over IPv6",
  ),
  one(
    "a block beside a selector",
    [
      policy("lone", {
        ingress: [{ from: [block("203.0.113.0/24"), { ...app("db"), namespaceSelector: {} }] }],
      }),
    ],
    "deny any -> x",
    "allow db -> x",
    "allow out -> x over IPv4",
  ),
];
