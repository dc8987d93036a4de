/** What happens when something changes: labels, policies, pods. Every step is asked whole. */
import { app, ns, type OwnCase, policy, where } from "./case.ts";

const fromApi = policy("shop", { ...app("web"), ingress: [{ from: [app("api")] }] });
const fromTeamB = policy("shop", { ...app("db"), ingress: [{ from: [ns({ team: "b" })] }] });
const closed = policy("shop", { policyTypes: ["Ingress", "Egress"] });

export const changeCases: readonly OwnCase[] = [
  {
    name: "a client gets the label, and loses it",
    steps: [
      { policies: [fromApi], expect: ["deny any -> web", "allow api -> web"] },
      {
        policies: [fromApi],
        pods: { db: { app: "api" } },
        expect: ["deny any -> web", "allow api db -> web"],
      },
      {
        policies: [fromApi],
        pods: { api: { app: "other" }, db: { app: "db" } },
        expect: ["deny any -> web"],
      },
    ],
  },
  {
    name: "a server comes under the policy, and out of it",
    steps: [
      {
        policies: [fromApi],
        pods: { db: { app: "web" } },
        expect: ["deny any -> web db", "allow api -> web db"],
      },
      {
        policies: [fromApi],
        pods: { web: { app: "free" } },
        expect: [],
      },
    ],
  },
  {
    name: "a namespace gets the label, and another loses it",
    steps: [
      { policies: [fromTeamB], expect: ["deny any -> db", "allow job bapi -> db"] },
      {
        policies: [fromTeamB],
        namespaces: { lone: { team: "b" } },
        expect: ["deny any -> db", "allow job bapi x -> db"],
      },
      {
        policies: [fromTeamB],
        namespaces: { back: { env: "prod" }, lone: { team: "b" } },
        expect: ["deny any -> db", "allow x -> db"],
      },
    ],
  },
  {
    name: "a policy is made wider, narrower, turned round",
    steps: [
      { policies: [fromApi], expect: ["deny any -> web", "allow api -> web"] },
      {
        policies: [
          policy("shop", { ...app("web"), ingress: [{ from: [{ podSelector: {} }] }] }),
        ],
        expect: ["deny any -> web", "allow api db -> web"],
      },
      {
        policies: [
          policy("shop", {
            ...app("web"),
            ingress: [{
              from: [{ podSelector: where("tier", "DoesNotExist") }],
              ports: [{ port: 81, protocol: "SCTP" }],
            }],
          }),
        ],
        expect: ["deny any -> web", "allow db -> web on sctp/81"],
      },
      {
        policies: [
          policy("shop", { ...app("web"), policyTypes: ["Egress"], egress: [{ to: [app("db")] }] }),
        ],
        expect: ["deny web -> any", "allow web -> db"],
      },
    ],
  },
  {
    name: "policies come one by one, and go",
    steps: [
      { policies: [closed], expect: ["deny any -> web api db", "deny web api db -> any"] },
      {
        policies: [
          closed,
          policy("shop/dns", {
            policyTypes: ["Egress"],
            egress: [{ ports: [{ port: 81, protocol: "UDP" }] }],
          }),
        ],
        expect: [
          "deny any -> web api db",
          "deny web api db -> any",
          "allow web api db -> job bapi x out on udp/81",
        ],
      },
      {
        policies: [
          policy("shop/dns", {
            policyTypes: ["Egress"],
            egress: [{ ports: [{ port: 81, protocol: "UDP" }] }],
          }),
        ],
        expect: ["deny web api db -> any", "allow web api db -> any on udp/81"],
      },
      { policies: [], expect: [] },
    ],
  },
  {
    name: "a pod comes under policies that are there, and goes",
    steps: [
      {
        policies: [
          policy("shop", { ingress: [{ from: [app("late"), app("api")] }] }),
        ],
        expect: ["deny any -> web api db", "allow api -> web db"],
      },
      {
        policies: [
          policy("shop", { ingress: [{ from: [app("late"), app("api")] }] }),
        ],
        late: true,
        expect: [
          "deny any -> web api db late",
          "allow api -> web db late",
          "allow late -> web api db",
        ],
      },
      {
        policies: [
          policy("shop", { ingress: [{ from: [app("late"), app("api")] }] }),
        ],
        expect: ["deny any -> web api db", "allow api -> web db"],
      },
    ],
  },
  {
    name: "labels and a policy change together",
    steps: [
      {
        policies: [fromTeamB],
        namespaces: { lone: { team: "b" } },
        expect: ["deny any -> db", "allow job bapi x -> db"],
      },
      {
        policies: [
          policy("shop", {
            ...app("web"),
            ingress: [{ from: [{ ...app("job"), ...ns({ team: "c" }) }] }],
          }),
        ],
        namespaces: { lone: { team: "c" } },
        pods: { x: { app: "job" } },
        expect: ["deny any -> web", "allow x -> web"],
      },
    ],
  },
];
