/** Which way: policyTypes, default deny and allow, and several policies over the same pods. */
import { app, block, ns, one, type OwnCase, policy } from "./case.ts";

export const directionCases: readonly OwnCase[] = [
  one("no policy at all: everybody reaches everybody", []),
  one(
    "default deny ingress",
    [policy("shop", { policyTypes: ["Ingress"] })],
    "deny any -> web api db",
  ),
  one(
    "default deny egress",
    [policy("shop", { policyTypes: ["Egress"] })],
    "deny web api db -> any",
  ),
  one(
    "default deny both ways",
    [policy("back", { policyTypes: ["Ingress", "Egress"] })],
    "deny any -> job bapi",
    "deny job bapi -> any",
  ),
  one("allow all ingress", [policy("shop", { ingress: [{}] })]),
  one("allow all egress", [policy("shop", { policyTypes: ["Egress"], egress: [{}] })]),
  one(
    "allow all beside default deny",
    [
      policy("shop/deny", { policyTypes: ["Ingress", "Egress"] }),
      policy("shop/allow", { policyTypes: ["Ingress"], ingress: [{}] }),
    ],
    "deny web api db -> any",
  ),
  one(
    "an empty list of peers, or of ports, is everybody and everything",
    [
      policy("shop", {
        policyTypes: ["Ingress", "Egress"],
        ingress: [{ from: [], ports: [{ port: 80 }] }],
        egress: [{ to: [block("10.65.0.0/16")], ports: [] }],
      }),
    ],
    "deny any -> web api db",
    "allow any -> web api db on tcp/80",
    "deny web api db -> any over IPv6",
    "deny web api db -> out",
  ),
  one(
    "without policyTypes, egress rules make it both",
    [policy("lone", { egress: [{ to: [ns({ team: "a" })] }] })],
    "deny any -> x",
    "deny x -> any",
    "allow x -> web api db",
  ),
  one(
    "without policyTypes and egress rules, it is ingress alone",
    [policy("lone", { ingress: [{ from: [ns({ team: "a" })] }] })],
    "deny any -> x",
    "allow web api db -> x",
  ),
  one(
    "rules of a direction that policyTypes leaves out say nothing",
    [
      policy("shop", {
        ...app("web"),
        policyTypes: ["Egress"],
        ingress: [{ from: [app("api")] }],
        egress: [{ to: [app("db")] }],
      }),
    ],
    "deny web -> any",
    "allow web -> db",
  ),
  one(
    "both ends must agree",
    [
      policy("shop", { ...app("web"), policyTypes: ["Egress"], egress: [{ to: [app("api")] }] }),
      policy("shop/in", { ...app("api"), ingress: [{ from: [app("web", "db")] }] }),
    ],
    "deny web -> any",
    "deny any -> api",
    "allow web db -> api",
  ),
  one(
    "egress allowed at one end, refused at the other in its own namespace",
    [
      policy("shop", {
        ...app("web"),
        policyTypes: ["Egress"],
        egress: [{ to: [{ namespaceSelector: {} }] }],
      }),
      policy("back", { ingress: [{ from: [{ podSelector: {} }] }] }),
    ],
    "deny web -> out",
    "deny any -> job bapi",
    "allow job bapi -> job bapi",
  ),
  one(
    "policies over the same pod add up",
    [
      policy("shop/one", { ...app("db"), ingress: [{ from: [app("api")] }] }),
      policy("shop/two", {
        podSelector: {},
        ingress: [{ from: [ns({ team: "b" })], ports: [{ port: 81 }] }],
      }),
      policy("shop/three", { ...app("db"), ingress: [{ from: [block("203.0.113.9/32")] }] }),
    ],
    "deny any -> web api db",
    "allow job bapi -> web api db on tcp/81",
    "allow api -> db",
    "allow out -> db over IPv4",
  ),
];
