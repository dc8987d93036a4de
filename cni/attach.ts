/**
 * ADD for the interface plugin. The order is such that every effect has a record before it, and that
 * no packet passes before policy is in place:
 *
 *     1. look (`first_look.ts`): is this attachment there (an error), a remainder of an ADD that was
 *        cut off (removed), or the pod's earlier sandbox (taken over)?
 *     2. addresses on record in IPAM under the attachment's handle, but for those that the earlier
 *        sandbox has; then that one's interface goes, and its addresses change hands (`take_over.ts`)
 *     3. WorkloadEndpoint written, by one step with 2 where that can be (`joint_endpoint.ts`): from here on
 *        the agent computes and programs its policy
 *     4. the pair is made, both sides down, the host's marked "adding"
 *     5. wait until the agent says that the rules are in the kernel
 *     6. the pod's side, then the host's side with its routes; where the store may have gone back since 1,
 *        a look whether the addresses are on record still
 *     7. the mark becomes "in use"; only then the caller gets the answer
 *
 * Before 5 the interface is unknown to the rules, and unknown workload interfaces are dropped both
 * ways; its host side is down besides. Whatever fails after 1 undoes itself by the same code as DEL
 * (`detach.ts`); whatever is cut off is found by names, handle and mark at the next call.
 */

import {
  formatIp,
  formatPrefix,
  hostPrefix,
  type Ip,
  parseCidr,
  type Prefix,
  samePrefix,
} from "../mod/net/mod.ts";
import type { WorkloadEndpoint } from "../mod/model/workload_endpoint.ts";
import { claimantOf } from "./addresses.ts";
import { type AddressPlan, type PodRequest, readRequest } from "./annotations.ts";
import type { CniDeps } from "./deps.ts";
import { detach } from "./detach.ts";
import {
  buildEndpoint,
  hasNetworkProfile,
  makeNetworkProfile,
  wholeEndpoint,
  writeEndpoint,
} from "./endpoint.ts";
import type { SoundEntry } from "./endpoint_record.ts";
import type { Attachment } from "./environment.ts";
import { CniCode, CniError } from "./errors.ts";
import { toCniError } from "./failure.ts";
import { type FirstLook, lookFirst } from "./first_look.ts";
import { refuseGiven, refuseMachines } from "./forbidden_addresses.ts";
import { freeAddresses } from "./free_addresses.ts";
import { readResolvConf } from "./host_local/ipam.ts";
import { takeHostName } from "./host_name.ts";
import { type EndpointIdentity, randomMac } from "./identity.ts";
import {
  DEFAULT_ROUTES,
  destinationsOf,
  GATEWAY4,
  GATEWAY6,
  HOST_MAC,
  type PodNamespace,
  type WiringPlan,
} from "./kernel.ts";
import { jointEndpoint } from "./joint_endpoint.ts";
import { formatMark } from "./mark.ts";
import type { NetConf } from "./netconf.ts";
import { mustBeOnRecord } from "./on_record.ts";
import { clearTheWay, removeEarlier } from "./remains.ts";
import type { CniResult } from "./result.ts";
import { sharedFloating } from "./shared_floating.ts";
import { mustHavePod, type Subject } from "./subject.ts";

/**
 * Attaches, or throws and leaves nothing; nothing either while the datastore is locked. The caller holds
 * the attachment's locks.
 */
export async function attach(
  deps: CniDeps,
  conf: NetConf,
  attachment: Attachment,
  identity: EndpointIdentity,
): Promise<CniResult> {
  const path = attachment.netns!;
  const { epoch } = deps.store;
  const look = lookFirst(deps, conf, attachment, identity);
  await look.ready;
  const subject = await look.subject;
  if (deps.podsKnown && !deps.kubernetes) mustHavePod(identity, subject);
  const request = readRequest({
    conf,
    args: attachment.args,
    pod: subject.pod?.metadata.annotations ?? {},
    namespace: subject.namespace?.metadata.annotations ?? {},
    features: deps.features?.(),
  });
  for (const reason of request.unfollowed) {
    deps.log?.("warn", "an annotation is not followed", { reason });
  }
  await refuseMachines(deps, request.named);
  await refuseGiven(deps, request.floatingIps, identity);
  for (const reason of await sharedFloating(deps.store, request.floatingIps, identity)) {
    deps.log?.("warn", "a floating address is shared", { reason });
  }
  const netns = await deps.kernel.openNamespace(path);
  try {
    const older = await clearTheWay(deps, identity, netns, look);
    try {
      return await build(deps, conf, identity, subject, request, netns, older, look, epoch);
    } catch (error) {
      await undo(deps, identity, path, error);
      throw error;
    }
  } finally {
    netns.close();
  }
}

/**
 * Steps 2 to 7. Whatever can be refused is refused before an earlier sandbox loses its interface or an
 * address, so that a take-over that fails leaves the pod as it was.
 */
async function build(
  deps: CniDeps,
  conf: NetConf,
  identity: EndpointIdentity,
  subject: Subject,
  request: PodRequest,
  netns: PodNamespace,
  entry: SoundEntry | undefined,
  look: Pick<FirstLook, "others" | "ahead" | "profiled">,
  epoch: number,
): Promise<CniResult> {
  const older = entry?.value;
  const now = deps.now?.() ?? new Date();
  const mtu = conf.mtu || await deps.mtu() || 1500;
  if (mtu < IPV6_LEAST_MTU && wantsIpv6(request.plan)) throw tooNarrow(mtu, conf.mtu !== 0);
  const claimant = claimantOf(identity);
  const podMac = request.mac ?? randomMac(crypto.getRandomValues(new Uint8Array(6)));
  const draft = (addresses: readonly Ip[], interfaceName: string) =>
    buildEndpoint({
      identity,
      subject,
      network: conf.name,
      addresses,
      interfaceName,
      mac: podMac,
      floatingIps: request.floatingIps.addresses,
      allowedSourcePrefixes: request.allowedSourcePrefixes,
      qos: request.qos,
    });
  if (!subject.pod && !await (look.profiled ?? hasNetworkProfile(deps.store, conf.name))) {
    await makeNetworkProfile(deps.store, conf.name, now);
  }
  const joint = !older && isOfOneAddress(request.plan, conf)
    ? await jointEndpoint(
      deps,
      identity,
      await look.others,
      (address, hostName) => wholeEndpoint(draft([address], hostName), now),
    )
    : undefined;
  const { addresses, takeOver } = await freeAddresses(
    deps,
    conf,
    request.plan,
    claimant,
    { ...subject, older, ahead: look.ahead, joint },
    now,
  );
  if (older) {
    // What is wrong with the endpoint is told before the earlier sandbox loses its interface.
    draft(addresses, "");
    await removeEarlier(deps, identity, netns, older);
  }
  await takeOver();
  const hostName = joint?.endpoint?.spec.interfaceName ??
    await takeHostName(deps, identity, await look.others);
  const plan: WiringPlan = {
    hostName,
    podName: identity.ifname,
    hostMac: HOST_MAC,
    podMac,
    mtu,
    alias: formatMark({ ...identity, state: "adding" }),
    addresses,
    allowIpForwarding: conf.allowIpForwarding,
    ...(conf.ipam.hostLocal && { destinations: hostLocalRoutes(conf) }),
  };
  const resolvConf = conf.ipam.hostLocal?.resolvConf;
  const dns = resolvConf === undefined ? {} : await readResolvConf(resolvConf);
  const endpoint = joint?.endpoint ??
    await writeEndpoint(deps.store, identity.key, draft(addresses, hostName), now, entry);
  await withPolicy(deps, endpoint, () => netns.createPair(plan));
  await netns.wirePod(plan);
  await deps.kernel.wireHost(plan);
  await netns.settle(plan);
  const isRecorded = request.plan.kind !== "unmanaged" && !conf.ipam.hostLocal;
  if (isRecorded && deps.store.epoch !== epoch) {
    await mustBeOnRecord(deps.ipam, identity.handle, addresses);
  }
  await deps.kernel.setAlias(plan.hostName, formatMark({ ...identity, state: "in use" }));
  return { ...resultOf(plan, netns.path), dns };
}

/** Whether Calico's IPAM is to choose one address, and no more. */
function isOfOneAddress(plan: AddressPlan, { ipam }: NetConf): boolean {
  return plan.kind === "automatic" && plan.ipv4 !== plan.ipv6 && !ipam.hostLocal;
}

/** With host-local the routes of its configuration stand in the place of the default ones (Calico). */
function hostLocalRoutes({ ipam }: NetConf): Prefix[] | undefined {
  if (!ipam.routes || ipam.routes.length === 0) return undefined;
  const named = ipam.routes.map((route) => parseCidr(route.dst)!.prefix);
  const missing = ipam.includeDefaultRoutes
    ? DEFAULT_ROUTES.filter((d) => !named.some((n) => samePrefix(n, d)))
    : [];
  return [...named, ...missing];
}

/** RFC 8200, section 5; below it Linux has no IPv6 on the interface. */
const IPV6_LEAST_MTU = 1280;

function wantsIpv6(plan: AddressPlan): boolean {
  if (plan.kind === "automatic") return plan.ipv6;
  const { addresses } = plan.kind === "pinned" ? plan.pins : plan;
  return addresses.some((ip) => ip.family === 6);
}

function tooNarrow(mtu: number, configured: boolean): CniError {
  return new CniError(
    CniCode.configuration,
    `A pod with an IPv6 address needs an MTU of at least ${IPV6_LEAST_MTU}, and ${
      configured
        ? `mtu of the network configuration is ${mtu}`
        : `this node's interfaces leave ${mtu}`
    }: raise it, or set ipam.assign_ipv6 to "false".`,
  );
}

/** Steps 4 and 5 side by side: the pair is made while the agent programs the rules. */
async function withPolicy(
  deps: CniDeps,
  endpoint: WorkloadEndpoint,
  makePair: () => Promise<void>,
): Promise<void> {
  const limit = deps.programmedTimeout ?? 30_000;
  const abort = new AbortController();
  const programmed = deps.endpointProgrammed(endpoint, abort.signal);
  let why: string | undefined;
  programmed.catch((error) => why = (error as Error).message);
  const { promise: late, reject } = Promise.withResolvers<never>();
  late.catch(() => {});
  const timer = setTimeout(async () => {
    abort.abort();
    // The agent knows the reason, and gives it at once.
    await new Promise((resolve) => setTimeout(resolve, 0));
    const { namespace, name } = endpoint.metadata;
    why ??= `the policy of endpoint ${namespace}/${name} did not reach the kernel`;
    reject(
      new CniError(
        CniCode.tryAgain,
        `The pod stays without network after ${limit} ms: ${why}; see \`tortie node status\`.`,
      ),
    );
  }, limit);
  try {
    await makePair();
    // That it gives up because it is called off is no word of its own.
    const given = programmed.catch((error) => abort.signal.aborted ? late : Promise.reject(error));
    await Promise.race([given, late]);
  } catch (error) {
    abort.abort();
    throw error;
  } finally {
    clearTimeout(timer);
  }
}

/** As Calico prints it: the host side, the pod's side, addresses without gateway. */
function resultOf(plan: WiringPlan, sandbox: string): CniResult {
  return {
    interfaces: [
      { name: plan.hostName, mac: plan.hostMac },
      { name: plan.podName, mac: plan.podMac, mtu: plan.mtu, sandbox },
    ],
    ips: plan.addresses.map((ip) => ({
      address: `${formatIp(ip)}/${hostPrefix(ip).length}`,
      interface: 1,
    })),
    routes: plan.addresses.flatMap((ip) =>
      destinationsOf(plan, ip.family).map((destination) => ({
        dst: formatPrefix(destination),
        gw: ip.family === 4 ? GATEWAY4 : GATEWAY6,
      }))
    ),
    dns: {},
  };
}

/** Undoes what there is; what cannot be undone now is told with the error, and found later. */
async function undo(
  deps: CniDeps,
  identity: EndpointIdentity,
  path: string,
  because: unknown,
): Promise<void> {
  try {
    await detach(deps, identity, path);
  } catch (error) {
    const first = toCniError(because);
    deps.log?.("warn", "an ADD that failed could not be undone; the next ADD or DEL does it", {
      endpoint: identity.name,
      error: (error as Error).message,
    });
    throw new CniError(
      first.code,
      first.message,
      `Undoing it failed too: ${(error as Error).message}`,
      { cause: because },
    );
  }
}
