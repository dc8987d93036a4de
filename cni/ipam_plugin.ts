/**
 * The IPAM plugin: `tortie-ipam` (or `calico-ipam`) under another interface plugin, such as the stock
 * ptp and bridge. Only addresses; no endpoint, no policy, no interface is ours there.
 *
 * Those plugins want what Calico's own does without: a prefix length wider than the address and a
 * gateway inside it. So the answer is the address with its block's length, the block's gateway
 * (`gateways.ts`), and the routes of the configuration, or a default route. Under an interface plugin
 * named tortie or calico the answer is Calico's: the address alone, /32 or /128.
 *
 * An ADD whose handle has addresses already is a second one if the interface bears one of them (an
 * error, and the first is left alone), and else the remainder of one that was cut off: freed first.
 */

import { formatIp, hostPrefix, type Ip, parseCidr, sameIp } from "../mod/net/mod.ts";
import type { AssignedAddress } from "../mod/ipam/types.ts";
import { attributesOf, type Claimant, obtainAddresses } from "./addresses.ts";
import { holdersOnNode } from "./allocations.ts";
import { type AddressPlan, ofInterface, readRequest } from "./annotations.ts";
import { requirePrevResult } from "./check.ts";
import type { CniDeps } from "./deps.ts";
import { readSubject } from "./subject.ts";
import type { Attachment } from "./environment.ts";
import { CniCode, CniError } from "./errors.ts";
import { toCniError } from "./failure.ts";
import { refuseMachines } from "./forbidden_addresses.ts";
import { amiss, inUse, MOST_PASSED_OVER } from "./free_addresses.ts";
import { dropIdleGateways, ensureGateway, isSpecial } from "./gateways.ts";
import { requireValidAttachments } from "./gc.ts";
import { handleId, identify } from "./identity.ts";
import { liveHolders, recordHolder, releaseUnheld } from "./live_holders.ts";
import { mustBeOnRecord } from "./on_record.ts";
import type { NetConf } from "./netconf.ts";
import { PIN_NAMES } from "./pins.ts";
import type { CniResult } from "./result.ts";

export type IpamDeps = Pick<
  CniDeps,
  | "store"
  | "kubernetes"
  | "ipam"
  | "kernel"
  | "nodeName"
  | "interfacePrefix"
  | "unroutedHolder"
  | "gave"
  | "given"
  | "freed"
  | "features"
  | "now"
  | "log"
>;

/** The caller holds the handle's lock and the lock of this network's gateways. */
export async function ipamAdd(
  deps: IpamDeps,
  conf: NetConf,
  attachment: Attachment,
): Promise<CniResult> {
  const claimant = claimantFor(deps, conf, attachment);
  await refuseSecondAdd(deps, attachment, claimant);
  const identity = identify(attachment, conf.name, deps.nodeName);
  const { store, kubernetes = store } = deps;
  const { epoch } = store;
  const subject = await readSubject(kubernetes, identity, false, attachment.args.podUid);
  const context = {
    conf,
    args: attachment.args,
    pod: subject.pod?.metadata.annotations ?? {},
    namespace: subject.namespace?.metadata.annotations ?? {},
    features: deps.features?.(),
  };
  const { plan, named, unfollowed } = readRequest(context);
  const bare = conf.type === "tortie" || conf.type === "calico";
  for (const reason of [...unfollowed, ...bare ? [] : ofInterface(context)]) {
    deps.log?.("warn", "an annotation is not followed", { reason });
  }
  if (plan.kind === "unmanaged" || plan.kind === "pinned") {
    const name = plan.kind === "pinned" ? PIN_NAMES[0] : "cni.projectcalico.org/ipAddrsNoIpam";
    throw new CniError(
      CniCode.annotation,
      `Pod ${identity.namespace}/${identity.pod}: annotation ${name} cannot be followed by an IPAM ` +
        "plugin: the interface plugin must be tortie or calico.",
    );
  }
  await refuseMachines(deps, named);
  const now = deps.now?.() ?? new Date();
  const obtain = () => obtainFree(deps, conf.name, plan, claimant, now);
  const check = async (assigned: readonly AssignedAddress[]) => {
    const addresses = assigned.map(({ ip }) => ip);
    if (store.epoch !== epoch) await mustBeOnRecord(deps.ipam, claimant.handle, addresses);
    deps.gave?.(addresses, { handle: claimant.handle, attributes: attributesOf(claimant, now) });
  };
  try {
    if (bare) {
      const addresses = await obtain();
      await check(addresses);
      return bareResult(addresses);
    }
    const pairs = await withGateways(deps, conf, obtain, claimant);
    await check(pairs.map(({ address }) => address));
    return {
      interfaces: [],
      ips: pairs.map(({ address, gateway }) => ({
        address: `${formatIp(address.ip)}/${address.block.length}`,
        gateway: formatIp(gateway),
      })),
      // With its gateway: the bridge plugin adds a second default route to one without.
      routes: conf.ipam.routes ?? pairs.map(({ gateway }) => ({
        dst: gateway.family === 4 ? "0.0.0.0/0" : "::/0",
        gw: formatIp(gateway),
      })),
      dns: {},
    };
  } catch (error) {
    await giveBack(deps, conf, claimant.handle, error);
    throw error;
  }
}

/** What there is of an ADD that failed; a second failure does not hide the first. */
async function giveBack(
  deps: IpamDeps,
  conf: NetConf,
  handle: string,
  because: unknown,
): Promise<void> {
  try {
    await releaseAll(deps, conf, handle);
  } catch (error) {
    const { code, message } = toCniError(because);
    throw new CniError(
      code,
      message,
      `Giving back what handle ${handle} had got failed too: ${
        (error as Error).message
      }; the next ADD or DEL of this container frees it.`,
      { cause: because },
    );
  }
}

/** Those that no container on this node has; what a container has goes on record as its own. */
async function obtainFree(
  deps: IpamDeps,
  network: string,
  plan: Exclude<AddressPlan, { kind: "unmanaged" | "pinned" }>,
  claimant: Claimant,
  now: Date,
): Promise<AssignedAddress[]> {
  for (let i = 0; i < MOST_PASSED_OVER; i++) {
    const given = await obtainAddresses(deps.ipam, plan, claimant, now);
    const holders = await liveHolders(deps, given.map(({ ip }) => ip), undefined);
    if (holders.length === 0) return given;
    const whose: string[] = [];
    for (const holder of holders) whose.push(await recordHolder(deps, network, holder, now));
    await deps.ipam.releaseByHandle(claimant.handle);
    if (plan.kind === "fixed") throw inUse(claimant, holders[0].ip, whose[0]);
  }
  throw amiss();
}

/** Addresses that are none of their blocks' special ones, each with its block's gateway. */
async function withGateways(
  deps: IpamDeps,
  conf: NetConf,
  obtain: () => Promise<AssignedAddress[]>,
  claimant: Claimant,
): Promise<{ address: AssignedAddress; gateway: Ip }[]> {
  // Each round sets at most the special addresses of one more block aside.
  for (let round = 0; round < 8; round++) {
    const addresses = await obtain();
    const unusable = addresses.filter(isSpecial);
    if (unusable.length === 0) {
      const gateways: (Ip | undefined)[] = [];
      for (const a of addresses) {
        gateways.push(await ensureGateway(deps, conf.name, a, conf.bridge));
      }
      if (gateways.every((g) => g !== undefined)) {
        return addresses.map((address, i) => ({ address, gateway: gateways[i]! }));
      }
    }
    await deps.ipam.releaseByHandle(claimant.handle);
    for (const a of addresses) await ensureGateway(deps, conf.name, a, conf.bridge);
  }
  throw new CniError(
    CniCode.tryAgain,
    "No address with room for a gateway beside it was free; try again when others are.",
  );
}

function bareResult(addresses: AssignedAddress[]): CniResult {
  return {
    interfaces: [],
    ips: addresses.map(({ ip }) => ({ address: `${formatIp(ip)}/${hostPrefix(ip).length}` })),
    routes: [],
    dns: {},
  };
}

async function refuseSecondAdd(
  deps: IpamDeps,
  attachment: Attachment,
  claimant: Claimant,
): Promise<void> {
  const held = await deps.ipam.ipsByHandle(claimant.handle);
  const netns = await deps.kernel.openNamespace(attachment.netns!);
  try {
    if (!held || held.length === 0) return;
    const link = await netns.link(attachment.ifname);
    const used = link?.addresses.find((a) => held.some((ip) => sameIp(ip, a.ip)));
    if (used) {
      throw new CniError(
        CniCode.exists,
        `Interface ${attachment.ifname} of container ${attachment.containerId} has its address ` +
          `${formatIp(used.ip)} already: nothing was changed; DEL it before adding it again.`,
      );
    }
  } finally {
    netns.close();
  }
  await deps.ipam.releaseByHandle(claimant.handle);
}

export async function ipamDel(
  deps: IpamDeps,
  conf: NetConf,
  attachment: Attachment,
): Promise<void> {
  const { handle } = claimantFor(deps, conf, attachment);
  // By an older copy of the datastore the handle may have what another container got since.
  const own = await ownHostLink(deps, attachment);
  // Without a namespace its interface is known by what was given to it.
  await releaseUnheld(
    deps,
    handle,
    async ({ ip, link }) =>
      link !== "host" && link.name === own || (await deps.given?.(ip))?.handle === handle,
  );
  await dropIdleGateways(deps, conf.name);
}

/** The interface plugin removes it after this. */
async function ownHostLink(
  { kernel }: IpamDeps,
  { netns: path, ifname }: Attachment,
): Promise<string | undefined> {
  const netns = path === undefined
    ? undefined
    : await kernel.openNamespace(path, "undefined").catch(() => undefined);
  try {
    return (await netns?.link(ifname))?.host?.name;
  } finally {
    netns?.close();
  }
}

async function releaseAll(deps: IpamDeps, conf: NetConf, handle: string): Promise<void> {
  await deps.ipam.releaseByHandle(handle);
  await dropIdleGateways(deps, conf.name);
}

/** Every address of the result must still be this handle's. */
export async function ipamCheck(
  deps: IpamDeps,
  conf: NetConf,
  attachment: Attachment,
): Promise<void> {
  const result = requirePrevResult(conf);
  const { handle } = claimantFor(deps, conf, attachment);
  const held = await deps.ipam.ipsByHandle(handle) ?? [];
  const lost = result.ips
    .map((ip) => parseCidr(ip.address)!.ip)
    .filter((ip) => !held.some((h) => sameIp(h, ip)));
  if (held.length === 0 || lost.length === result.ips.length) {
    throw new CniError(
      CniCode.check,
      `Container ${attachment.containerId} holds none of the addresses that ADD gave to ` +
        `${attachment.ifname}; DEL and ADD it again.`,
    );
  }
}

/** Frees the handles of this network on this node that are not in the runtime's list. */
export async function ipamGc(
  deps: IpamDeps,
  conf: NetConf,
  whenFree: (handle: string, work: () => Promise<void>) => Promise<void>,
): Promise<void> {
  const valid = new Set(
    requireValidAttachments(conf).map((a) => handleId(conf.name, a.containerId, a.ifname)),
  );
  const { handles } = await holdersOnNode(deps.store, conf.name, deps.nodeName);
  for (const handle of handles) {
    if (valid.has(handle)) continue;
    await whenFree(handle, async () => {
      await releaseUnheld(deps, handle);
      await dropIdleGateways(deps, conf.name);
    });
  }
}

function claimantFor(deps: IpamDeps, conf: NetConf, attachment: Attachment): Claimant {
  return {
    handle: handleId(conf.name, attachment.containerId, attachment.ifname),
    node: deps.nodeName,
    ifname: attachment.ifname,
    pod: attachment.args.pod,
  };
}
