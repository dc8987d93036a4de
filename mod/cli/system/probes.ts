/**
 * Tries on the kernel of this machine what a node needs of it: in a network namespace of its own, which is
 * gone at the end with all that was made in it. The kernel loads the modules that a request wants, as
 * it would for the node; nothing is executed by us.
 */
import { openConntrack } from "../../../ffi/conntrack.ts";
import { isKernelError, KernelError } from "../../../ffi/errors.ts";
import { createNetns, deleteNetns, Netns } from "../../../ffi/netns.ts";
import { type Expression, FIB, verdictExpression } from "../../../ffi/nft/expr.ts";
import { intervalElements } from "../../../ffi/nft/elements.ts";
import { openNftClient } from "../../../ffi/nft/socket.ts";
import { TransactionError } from "../../../ffi/nft/errors.ts";
import type { Transaction } from "../../../ffi/nft/transaction.ts";
import {
  NFT_DATA_VERDICT,
  NFT_SET_INTERVAL,
  NFT_SET_MAP,
  type NftFamily,
  nftTypes,
} from "../../../ffi/nft/wire.ts";
import { RouteSocket } from "../../../ffi/route/mod.ts";
import { readSysctl, writeSysctl } from "../../../ffi/sysctl.ts";
import { type Check, CHECKS, type Finding } from "./checks.ts";

const TABLE = "tortie-check";

type Probe = (ns: Netns) => Promise<void> | void;

const accept = verdictExpression({ code: "accept" });
const set = { table: TABLE, name: "s", flags: 0, keyType: nftTypes.ipv4_addr, keyLength: 4, id: 1 };

const PROBES: Readonly<Record<string, Probe>> = {
  "network namespaces": () => {}, // made already
  "veth": link({ kind: "veth", name: "v0", peer: { name: "v1" } }),
  "vxlan": link({ kind: "vxlan", name: "x0", vni: 4096, port: 4789 }),
  "ipip": link({ kind: "ipip", name: "t0" }),
  "nf_tables ip": nft("ip", (t) => chain(t, "ip", "filter")),
  "nf_tables ip6": nft("ip6", (t) => chain(t, "ip6", "filter")),
  "nft sets": nft("ip", (t) => t.addSet({ family: "ip", ...set, size: 65536 })),
  "nft intervals": nft("ip", (t) => {
    const one = { family: "ip", ...set, flags: NFT_SET_INTERVAL } as const;
    t.addSet(one).addElements(
      one,
      intervalElements(new Uint8Array([10, 0, 0, 0]), new Uint8Array([10, 0, 0, 255])),
    );
  }),
  "nft verdict maps": nft("ip", (t) =>
    t.addSet({
      family: "ip",
      ...set,
      flags: NFT_SET_MAP,
      dataType: NFT_DATA_VERDICT,
      dataLength: 0,
    })),
  "nft ct": rules([{ kind: "ct", key: "state", dreg: 1 }]),
  "nft fib": async (ns) => {
    const fib = [{ kind: "fib", flags: FIB.saddr | FIB.iif, result: "oif", dreg: 1 }] as const;
    await rules(fib, "ip", "filter", "prerouting")(ns);
    if (hasIpv6()) await rules(fib, "ip6", "filter", "prerouting")(ns);
  },
  "nft nat": nft("ip", (t) => chain(t, "ip", "nat", "postrouting")),
  "nft masquerade": rules([{ kind: "masq" }], "ip", "nat", "postrouting"),
  "nft reject": rules([{ kind: "reject", type: "icmp", code: 3 }]),
  "nft log": rules([{ kind: "log", prefix: "x" }]),
  "nft limit": rules([{ kind: "limit", rate: 10, unit: 1 }]),
  "conntrack netlink": (ns) => void openConntrack(ns).flows(4),
  "ip_forward": (ns) => {
    readSysctl("net/ipv4/ip_forward");
    writeSysctl("net/ipv4/ip_forward", 1, ns);
  },
  "rp_filter": (ns) => {
    readSysctl("net/ipv4/conf/all/rp_filter");
    writeSysctl("net/ipv4/conf/all/rp_filter", 0, ns);
  },
  "ipv6": () => {
    if (!hasIpv6()) throw new Error("the kernel has none, or it is switched off (ipv6.disable=1)");
  },
};

export function hasIpv6(): boolean {
  try {
    readSysctl("net/ipv6/conf/all/forwarding");
    return true;
  } catch {
    return false;
  }
}

type LinkSpec = Parameters<RouteSocket["addLink"]>[0];

function link(spec: LinkSpec): Probe {
  return (ns) => {
    using socket = RouteSocket.open(ns);
    socket.addLink(spec);
  };
}

function nft(family: NftFamily, make: (transaction: Transaction) => unknown): Probe {
  return async (ns) => {
    const client = openNftClient(ns);
    const table = { family, name: TABLE };
    try {
      const transaction = client.begin().addTable(table);
      make(transaction);
      await client.commit(transaction);
      await client.commit(client.begin().deleteTable(table));
    } finally {
      client.close();
    }
  };
}

function chain(
  transaction: Transaction,
  family: NftFamily,
  type: string,
  hook: "forward" | "postrouting" | "prerouting" = "forward",
): Transaction {
  return transaction.addChain({
    family,
    table: TABLE,
    name: "c",
    base: { type, hook, priority: 0 },
  });
}

/** A rule with these expressions is taken. */
function rules(
  expressions: readonly Expression[],
  family: NftFamily = "ip",
  type = "filter",
  hook: "forward" | "postrouting" | "prerouting" = "forward",
): Probe {
  const ends = expressions.some(({ kind }) => kind === "reject" || kind === "masq");
  return nft(family, (transaction) =>
    chain(transaction, family, type, hook).addRule({
      family,
      table: TABLE,
      chain: "c",
      expressions: ends ? expressions : [...expressions, accept],
    }));
}

/** Tries everything; a namespace of that name must not be there. */
export async function tryAll(name: string): Promise<Finding[]> {
  const findings: Finding[] = [];
  let made = false;
  let ns: Netns | undefined;
  try {
    createNetns(name);
    made = true;
    ns = Netns.open(name);
  } catch (error) {
    const fault = `no network namespace can be made: ${reason(error)}`;
    findings.push(...CHECKS.map((check): Finding => ({ check, fault })));
  }
  try {
    if (ns) { for (const check of CHECKS) findings.push(await tryOne(check, ns)); }
  } finally {
    ns?.close();
    if (made) deleteNetns(name);
  }
  return findings;
}

async function tryOne(check: Check, ns: Netns): Promise<Finding> {
  try {
    await PROBES[check.name](ns);
    return { check, fault: undefined };
  } catch (error) {
    return { check, fault: `the kernel refuses it: ${reason(error)}` };
  }
}

function reason(error: unknown): string {
  if (error instanceof TransactionError) return error.message;
  if (isKernelError(error, "EPERM", "EACCES")) {
    return `${(error as KernelError).message} (run it as root, not in a container)`;
  }
  return (error as Error).message;
}

/** Checks of the table that nothing here tries, for the test that there are none. */
export const untried = CHECKS.filter(({ name }) => !Object.hasOwn(PROBES, name));
