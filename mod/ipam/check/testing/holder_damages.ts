/**
 * For tests: records of addresses that name another than who uses them, handles counted as IPAM counts them,
 * so that nothing but who is who can tell; and records that are wrong by themselves.
 */
import { handlePrefix, IPAM_PREFIX, resourceKey } from "../../../model/keys.ts";
import { goTimestamp, rfc3339 } from "../../time.ts";
import { TUNNEL_HANDLES } from "../allocations.ts";
import type { FindingKind } from "../finding.ts";
import type { Damage, Scene } from "./damages.ts";
import { HELD, type Held, type HeldBy, leaseAttributes, MAKERS, regive } from "./holders.ts";

const ENDPOINTS = { plural: "workloadendpoints", home: "calico", namespaced: true } as const;

const strangerId = "5".repeat(64);
const DAY = 86_400_000;

/** Holders that are nobody's own here: handle and attributes. */
const STRANGERS: readonly {
  readonly name: string;
  record(node: string, now: number): { handle: string; attributes?: Record<string, string> };
}[] = [
  {
    name: "another pod",
    record: (node) => ({
      handle: `net.${strangerId}`,
      attributes: { namespace: "blue", node, pod: "zz" },
    }),
  },
  {
    name: "another machine's pod",
    record: (node) => ({
      handle: "kubevirt-zz",
      attributes: { namespace: "blue", node, pod: "zz", "vmi-name": "zz" },
    }),
  },
  {
    name: "a plain container",
    record: (node) => ({ handle: `net.${strangerId}`, attributes: { node } }),
  },
  {
    name: "a plain container of a short name",
    record: (node) => ({ handle: "net.abc", attributes: { node } }),
  },
  { name: "a handle of no form", record: (node) => ({ handle: "zz", attributes: { node } }) },
  {
    name: "an ordinal's kept lease",
    record: (node, now) => ({
      handle: "tortie-pin.shop.zz.0",
      attributes: {
        keptUntil: rfc3339(now + DAY),
        node,
        ordinal: "0",
        statefulset: "shop/zz",
      },
    }),
  },
  {
    name: "an ordinal's lease that is over",
    record: (node, now) => ({
      handle: "tortie-pin.shop.zz.0",
      attributes: {
        keptUntil: rfc3339(now - DAY),
        node,
        ordinal: "0",
        statefulset: "shop/zz",
      },
    }),
  },
  {
    name: "another ordinal's pod",
    record: (node, now) => ({
      handle: "tortie-pin.blue.web.4711",
      attributes: {
        ...leaseAttributes(node, 4711, now),
        container: `net.${strangerId}`,
      },
    }),
  },
  ...Object.entries(TUNNEL_HANDLES).map(([type, handle]) => ({
    name: `the ${type} of a node that has none`,
    record: () => ({ handle: `${handle}n2`, attributes: { node: "n2", type } }),
  })),
  {
    name: "another service",
    record: () => ({
      handle: "lb-zz",
      attributes: { namespace: "blue", service: "zz", type: "LoadBalancer" },
    }),
  },
  {
    name: "a gateway",
    record: (node) => ({ handle: `gateway.${node}`, attributes: { node, type: "cniGateway" } }),
  },
  {
    name: "Windows",
    record: () => ({
      handle: "windows-reserved-ipam-handle",
      attributes: { note: "windows host rsvd" },
    }),
  },
];

const KINDS: Readonly<Record<Exclude<HeldBy, "nobody">, FindingKind>> = {
  workload: "wrongUser",
  tunnel: "wrongTunnel",
  service: "wrongService",
};

/** Those of the makers whose addresses are used so. */
const OF: Readonly<Record<Exclude<HeldBy, "nobody">, readonly string[]>> = {
  workload: HELD.filter((name) => !/tunnel|service|Windows|gateway|lease|between/i.test(name)),
  tunnel: HELD.filter((name) => name.includes("tunnel")),
  service: ["service"],
};

/** Somebody new who has an address. */
async function newcomer(
  { cluster, pick }: Scene,
  makers: readonly string[],
): Promise<Held | undefined> {
  return await MAKERS[pick(makers)](cluster, pick(["n0", "n1"]), cluster.nextNumber());
}

function rewritten(
  name: string,
  kind: FindingKind,
  makers: readonly string[],
  change: (
    record: { handle_id?: string | null; secondary?: Record<string, string> | null },
    held: Held,
    now: number,
  ) => object,
  subjectOf: (held: Held) => string = ({ address }) => address,
): Damage {
  return {
    name,
    kind,
    async do(scene) {
      const held = await newcomer(scene, makers);
      if (!held) return undefined;
      const { now } = scene.cluster;
      await regive(
        scene.cluster,
        held.address,
        (old) => change(old as any, held, now) as typeof old,
      );
      return subjectOf(held);
    },
  };
}

const without = (record: Record<string, string> | null | undefined, name: string) =>
  Object.fromEntries(Object.entries(record ?? {}).filter(([key]) => key !== name));

const LEASES = ["ordinal's pod", "ordinal's pod at a second interface", "kept lease"];

export const HOLDER_DAMAGES: readonly Damage[] = [
  ...(["workload", "tunnel", "service"] as const).flatMap((by) =>
    STRANGERS.map(({ name, record }) =>
      rewritten(
        `a ${by}'s address on record as that of ${name}`,
        KINDS[by],
        OF[by],
        (old, held, now) => {
          const { handle, attributes } = record(held.node || "n1", now);
          return { ...old, handle_id: handle, secondary: attributes };
        },
      )
    )
  ),
  rewritten(
    "the lease of an ordinal whose pod is there, parked",
    "wrongUser",
    ["ordinal's pod", "ordinal's pod at a second interface"],
    (old, _, now) => ({
      ...old,
      secondary: { ...without(old.secondary, "container"), keptUntil: rfc3339(now + DAY) },
    }),
  ),
  rewritten(
    "the lease of an ordinal's pod, in another container",
    "wrongUser",
    ["ordinal's pod"],
    (old) => ({ ...old, secondary: { ...old.secondary, container: `net.${strangerId}` } }),
  ),
  rewritten(
    "a workload's address on record as of another node",
    "wrongUser",
    OF.workload,
    (old) => ({ ...old, secondary: { ...old.secondary, node: "n2" } }),
  ),
  rewritten("a tunnel of another node", "wrongTunnel", OF.tunnel, (old, { handle, node }) => ({
    ...old,
    handle_id: handle.slice(0, -node.length) + "n2",
  })),
  rewritten("a lease whose attributes say another ordinal", "recordContradicts", LEASES, (old) => ({
    ...old,
    secondary: { ...old.secondary, ordinal: "99" },
  })),
  rewritten("a lease whose attributes say another set", "recordContradicts", LEASES, (old) => ({
    ...old,
    secondary: { ...old.secondary, statefulset: "shop/web" },
  })),
  rewritten("a lease whose attributes say a pod", "recordContradicts", LEASES, (old, { node }) => ({
    ...old,
    secondary: { namespace: "blue", node, pod: "p" },
  })),
  rewritten("a pod whose attributes say an ordinal", "recordContradicts", ["pod"], (old) => ({
    ...old,
    secondary: { ...old.secondary, statefulset: "blue/web", ordinal: "0" },
  })),
  rewritten(
    "a tunnel whose attributes say another node",
    "recordContradicts",
    OF.tunnel,
    (old) => ({
      ...old,
      secondary: { ...old.secondary, node: "n2" },
    }),
  ),
  rewritten(
    "a tunnel whose attributes say another kind",
    "recordContradicts",
    OF.tunnel,
    (old) => ({
      ...old,
      secondary: {
        ...old.secondary,
        type: old.secondary?.type === "ipipTunnelAddress"
          ? "vxlanTunnelAddress"
          : "ipipTunnelAddress",
      },
    }),
  ),
  rewritten(
    "a pod whose attributes say a tunnel",
    "recordContradicts",
    ["pod"],
    (old, { node }) => ({
      ...old,
      secondary: { node, type: "vxlanTunnelAddress" },
    }),
  ),
  rewritten(
    "a record that has lost its node",
    "nodeUnsaid",
    [...OF.workload, ...OF.tunnel, "gateway"],
    (old) => ({ ...old, secondary: without(old.secondary, "node") }),
  ),
  rewritten(
    "a record that has lost all its attributes",
    "nodeUnsaid",
    [...OF.workload.filter((name) => !LEASES.includes(name)), ...OF.tunnel],
    ({ secondary: _, ...old }) => old,
  ),
  rewritten(
    "a lease that has lost all its attributes",
    "recordContradicts",
    LEASES,
    ({ secondary: _, ...old }) => old,
  ),
  {
    name: "a second lease of an ordinal",
    kind: "leaseTwice",
    async do(scene) {
      const held = await newcomer(scene, LEASES);
      if (!held) return undefined;
      const { cluster } = scene;
      const { attributes } = (await cluster.ipam.assignment(held.address))!;
      const { container: _, ...rest } = attributes;
      const kept = { ...rest, keptUntil: rfc3339(cluster.now + DAY) };
      const more = await cluster.ipam.assign({
        num4: 1,
        host: held.node,
        handle: held.handle,
        attributes: kept,
        use: "Workload",
      }).catch(() => undefined);
      return more && `${held.handle} IPv4`;
    },
  },
  {
    name: "a lease whose container went without a word",
    kind: "leaseIdle",
    async do(scene) {
      const held = await newcomer(scene, ["ordinal's pod"]);
      if (!held) return undefined;
      const name = `${held.node}-k8s-web--${held.handle.split(".")[3]}-eth0`;
      await scene.cluster.store.delete(resourceKey(ENDPOINTS, name, "blue"));
      return held.address;
    },
  },
  ...[["Nonsense"], ["Workload", "workload"], [5]].map((allowedUses): Damage => ({
    name: `a pool for ${JSON.stringify(allowedUses)}`,
    kind: "usesBroken",
    async do({ cluster }) {
      await cluster.pool("odd", "10.77.0.0/24", { blockSize: 26, allowedUses });
      return "odd";
    },
  })),
  ...["assignment/ipv4/block/", "host/", "handle/"].map((at) => misnamed(at, "zzz", "misnamed")),
  misnamed("assignment/ipv4/block/", "10.0.0.64-29", "blockBroken", () => "10.0.0.64/29"),
  misnamed("handle/", "alone", "handleBroken", () => "alone", `${handlePrefix}nobody`),
];

/** An object of Kubernetes whose name is not that of what it says. */
function misnamed(
  at: string,
  name: string,
  kind: FindingKind,
  subjectOf = (key: string) => key,
  of?: string,
): Damage {
  return {
    name: `an object of the name ${name} for another record of ${at}`,
    kind,
    async do({ cluster, pick }) {
      const { store } = cluster;
      const list = store.list.bind(store);
      const own = (await list(at === "handle/" ? handlePrefix : IPAM_PREFIX + at)).entries;
      const key = IPAM_PREFIX + at + name;
      // As the driver of Kubernetes tells it.
      const twin = {
        key,
        revision: "1",
        reason: `IPAM ${name} says that it is what y is the name of`,
        speaksOf: of ?? pick(own).key,
      };
      store.list = (async (prefix: string) => {
        const listing = await list(prefix);
        return key.startsWith(prefix)
          ? { ...listing, broken: [...listing.broken ?? [], twin] }
          : listing;
      }) as typeof store.list;
      return subjectOf(key);
    },
  };
}

/** A cluster with one of everybody, in a time when nobody is new any more. */
export async function furnishAll(cluster: Scene["cluster"]): Promise<Held[]> {
  const held: Held[] = [];
  for (const [i, name] of HELD.entries()) {
    const one = await MAKERS[name](cluster, `n${i % 3}`, cluster.nextNumber());
    if (!one) throw new Error(`there is no room for a ${name} at ${goTimestamp(cluster.now)}`);
    held.push(one);
  }
  return held;
}
