/**
 * Pinned addresses (`pins.ts`) carried out with IPAM. Each is one allocation in its block, made by
 * compare-and-swap, and nothing is kept beside it: two replicas can never have the same one, on
 * whatever nodes, and who has it is what `ipam show` says.
 *
 * A replica of a Deployment has its address under its container's handle, as any pod; the DEL frees it.
 * The ordinal of a StatefulSet has a lease (`mod/ipam/leases.ts`) which stays when its pod goes:
 *
 *     no lease        -> one is made: the ordinal's own place in the list, else the first free one
 *     kept            -> used again, on whatever node
 *     in use          -> by an earlier sandbox on this node: taken over; by one on another node: the pod
 *                        waits until that one's endpoint is gone and its node says that no container has
 *                        the address, or the node itself is gone: two must not have it
 *     DEL             -> kept, for the time that the annotation says; then whoever lists it may have it
 *
 * So an ordinal that is scaled away, or whose StatefulSet is deleted, gives its address back to the
 * list when that time is over; `ipam release` gives it back at once. Who finds nothing free is refused
 * with code 11, which the runtime tries again, and told who has what.
 */

import { formatIp, type Ip, parseCidr, sameIp } from "../mod/net/mod.ts";
import { describeHolder } from "../mod/ipam/errors.ts";
import { nodesOf } from "../mod/ipam/ask_nodes.ts";
import { leaseHandle, parked } from "../mod/ipam/leases.ts";
import type { AskedAddress } from "../mod/ipam/questions.ts";
import { goTimestamp, isWithin, parseGoTimestamp } from "../mod/ipam/time.ts";
import type { AssignedAddress, LeaseClient } from "../mod/ipam/types.ts";
import { felixStatusKey, resourceKey } from "../mod/model/keys.ts";
import { nodeKind } from "../mod/model/node.ts";
import type { Pod } from "../mod/model/pod.ts";
import {
  type WorkloadEndpoint,
  workloadEndpointKind,
  workloadEndpointName,
} from "../mod/model/workload_endpoint.ts";
import type { Store } from "../mod/store/store.ts";
import { attributesOf, type Claimant, refusal } from "./addresses.ts";
import type { CniIpam } from "./deps.ts";
import { CniCode, CniError } from "./errors.ts";
import type { EndpointIdentity } from "./identity.ts";
import { familiesOf, PIN_NAMES, type Pins } from "./pins.ts";

/** Milliseconds that the former node has to say whether its container still has the address. */
const WORD_MS = 5000;
/** As long as a runtime waits for an ADD, and a little: a claim without an endpoint may be one's own. */
const CLAIM_SECONDS = 150;
const RETRIES = 20;

export interface PinParts {
  readonly store: Store;
  readonly podsKnown?: boolean;
  readonly ipam: CniIpam;
  readonly leases?: LeaseClient;
}

interface Ordinal {
  readonly statefulSet: string;
  readonly ordinal: string;
}

/** The ordinal that a pod is of its StatefulSet, as its owner and its name say; else undefined. */
export function ordinalOfPod(pod: Pod | undefined): Ordinal | undefined {
  const owner = (pod?.metadata.ownerReferences ?? []).find((o) =>
    o.controller && o.kind === "StatefulSet"
  );
  const parts = pod && /^(.+)-(\d+)$/.exec(pod.metadata.name);
  if (!owner?.name || !parts || parts[1] !== owner.name) return undefined;
  return { statefulSet: owner.name, ordinal: parts[2] };
}

/**
 * One address of each family that the list names, IPv4 first. CniError: the caller detaches then, which
 * gives back, or keeps for its ordinal, what there is.
 */
export async function obtainPinned(
  parts: PinParts,
  pins: Pins,
  claimant: Claimant,
  subject: {
    readonly pod: Pod | undefined;
    /** What the pod's earlier sandbox has had: asked for first. */
    readonly preferred: readonly Ip[];
  },
  now: Date,
): Promise<AssignedAddress[]> {
  const { leases } = parts;
  if (!leases) {
    throw new CniError(
      CniCode.annotation,
      `${podName(claimant)}: annotation ${PIN_NAMES[0]} cannot be followed by this plugin.`,
    );
  }
  const ordinal = ordinalOfPod(subject.pod);
  const { pod } = claimant;
  try {
    const given: AssignedAddress[] = [];
    const held = ordinal && pod
      ? await takeUp({ ...parts, leases }, pins, claimant, ordinal, now)
      : [];
    const handle = ordinal && pod ? handleOf(claimant, ordinal) : claimant.handle;
    for (const family of familiesOf(pins)) {
      const kept = held.find((a) => a.ip.family === family);
      if (kept) {
        given.push(kept);
        continue;
      }
      const ofFamily = (ips: readonly Ip[]) => ips.filter((ip) => ip.family === family);
      const listed = ofFamily(pins.addresses);
      const place = ordinal === undefined ? 0 : Number(ordinal.ordinal) % listed.length;
      const order = [
        ...ofFamily(subject.preferred),
        ...listed.slice(place, place + 1),
        ...listed.filter((_, i) => i !== place),
        ...ofFamily(pins.spare),
      ];
      const candidates = order.filter((ip, i) => order.findIndex((o) => sameIp(o, ip)) === i);
      const done = await leases.assignFirst({
        candidates,
        host: claimant.node,
        handle,
        attributes: ordinal && pod
          ? leaseAttributes(claimant, ordinal, pins, now)
          : attributesOf(claimant, now),
        use: "Workload",
        namespace: pod?.namespace,
      });
      if (!("given" in done)) throw nothingFree(claimant, candidates.length, done);
      given.push(done.given);
    }
    return given;
  } catch (error) {
    throw refusal(`${podName(claimant)}: annotation ${PIN_NAMES[0]}`, error);
  }
}

function podName({ pod }: Claimant): string {
  return pod ? `Pod ${pod.namespace}/${pod.name}` : "Pod";
}

function handleOf({ pod, ifname }: Claimant, { statefulSet, ordinal }: Ordinal): string {
  return leaseHandle(pod!.namespace, statefulSet, ordinal, ifname);
}

function leaseAttributes(
  claimant: Claimant,
  { statefulSet, ordinal }: Ordinal,
  pins: Pins,
  now: Date,
): Record<string, string> {
  return {
    container: claimant.handle,
    keepSeconds: String(pins.keep),
    node: claimant.node,
    ordinal,
    statefulset: `${claimant.pod!.namespace}/${statefulSet}`,
    timestamp: goTimestamp(now.getTime()),
  };
}

type LeaseParts = PinParts & { readonly leases: LeaseClient };

/** The addresses that the ordinal has leased and may go on using; others of its lease are freed. */
async function takeUp(
  parts: LeaseParts,
  pins: Pins,
  claimant: Claimant,
  ordinal: Ordinal,
  now: Date,
): Promise<AssignedAddress[]> {
  const handle = handleOf(claimant, ordinal);
  const all = [...pins.addresses, ...pins.spare];
  const given: AssignedAddress[] = [];
  for (const ip of await parts.ipam.ipsByHandle(handle) ?? []) {
    const listed = all.some((a) => sameIp(a, ip));
    const double = given.some((g) => g.ip.family === ip.family);
    for (let i = 0;; i++) {
      const held = await parts.ipam.assignment(ip);
      if (held?.handle !== handle) break; // taken away meanwhile
      await mustBeIdle(parts, claimant, held.attributes, ip, now);
      if (!listed || double) {
        await parts.ipam.releaseIps([
          { address: ip, handle, sequenceNumber: held.sequenceNumber },
        ]);
        break;
      }
      const seen = JSON.stringify(held.attributes);
      const done = await parts.leases.relabel({
        address: ip,
        handle,
        change: (attributes) =>
          JSON.stringify(attributes) === seen
            ? leaseAttributes(claimant, ordinal, pins, now)
            : undefined,
      });
      if (done) {
        given.push({ ip, block: held.block, pool: "" });
        break;
      }
      if (i === RETRIES) {
        throw new CniError(
          CniCode.tryAgain,
          `The lease of ${formatIp(ip)} for ${podName(claimant)} changes faster than it can be ` +
            "taken up; try again.",
        );
      }
    }
  }
  return given;
}

/** CniError `tryAgain` while another attachment of the ordinal, on another node, may have the address. */
async function mustBeIdle(
  { store, podsKnown = false }: LeaseParts,
  claimant: Claimant,
  attributes: Readonly<Record<string, string>>,
  ip: Ip,
  now: Date,
): Promise<void> {
  const { container, node, timestamp } = attributes;
  // On this node the lock of the pod says that no other call works on it.
  if (container === undefined || node === undefined || node === claimant.node) return;
  const { namespace, name } = claimant.pod!;
  const endpoint = workloadEndpointName({
    node,
    orchestrator: "k8s",
    id: name,
    endpoint: claimant.ifname,
  });
  const found = endpoint &&
    await store.get<WorkloadEndpoint>(resourceKey(workloadEndpointKind, endpoint, namespace));
  const has = found &&
    (found.value.spec.ipNetworks ?? []).some((net) => {
      const cidr = parseCidr(net);
      return cidr && sameIp(cidr.ip, ip);
    });
  const fresh = isWithin(CLAIM_SECONDS * 1000, parseGoTimestamp(timestamp), now.getTime());
  // Nothing of a node that is gone runs any more; what the controllers go by (`check/evidence.ts`).
  if (await isGone(store, node)) return;
  const why = has
    ? `WorkloadEndpoint ${namespace}/${endpoint} has it`
    : fresh
    ? "its ADD may be under way"
    : await nodesWord({ store, podsKnown }, node, { ip: formatIp(ip), handle: container });
  if (why === undefined) return;
  throw new CniError(
    CniCode.tryAgain,
    `${podName(claimant)}: its pinned address ${formatIp(ip)} may still be in use by its former ` +
      `container on node ${node} (${why}); this pod waits until that one is gone. If the node is lost ` +
      `for good, delete its Node: tortie delete node ${node}, or kubectl delete node ${node} where ` +
      "Nodes are Kubernetes'.",
  );
}

/**
 * Why it is not known that the container is gone, by the rules of the controllers for an address that no
 * record speaks for (`controllers/collector.ts`); undefined: it is.
 */
async function nodesWord(
  { store, podsKnown }: { readonly store: Store; readonly podsKnown: boolean },
  node: string,
  asked: AskedAddress,
): Promise<string | undefined> {
  const words = await nodesOf(store, { limit: WORD_MS })(new Map([[node, [asked]]]));
  const word = words.get(node)!;
  if ("silent" in word) return word.never && podsKnown ? undefined : word.silent;
  if (word.held.has(asked.ip)) return "the node says so";
  return word.unseen === undefined || podsKnown
    ? undefined
    : `node ${node} cannot tell: ${word.unseen}`;
}

async function isGone(store: Store, node: string): Promise<boolean> {
  const [object, status] = await Promise.all([
    store.get(resourceKey(nodeKind, node)),
    store.get(felixStatusKey(node)),
  ]);
  return object === undefined && status === undefined;
}

/** What an attachment may have leased. */
export interface Leased {
  readonly handle: string;
  readonly addresses: readonly Ip[];
}

export async function leasedTo(
  { ipam, leases }: PinParts,
  identity: EndpointIdentity,
): Promise<Leased | undefined> {
  const name = identity.pod === undefined ? undefined : /^(.+)-(\d+)$/.exec(identity.pod);
  if (!leases || !name) return undefined;
  const handle = leaseHandle(identity.namespace, name[1], name[2], identity.ifname);
  return { handle, addresses: await ipam.ipsByHandle(handle) ?? [] };
}

/** After the attachment is gone: what it had leased is kept for its ordinal. */
export async function parkLease(
  { leases }: PinParts,
  by: { readonly handle: string },
  leased: Leased | undefined,
  now: Date,
): Promise<void> {
  for (const address of leased?.addresses ?? []) {
    await leases!.relabel({
      address,
      handle: leased!.handle,
      change: (attributes) =>
        attributes.container === by.handle ? parked(attributes, now.getTime()) : undefined,
    });
  }
}

function nothingFree(
  claimant: Claimant,
  count: number,
  { taken, refused, elsewhere }: Exclude<
    Awaited<ReturnType<LeaseClient["assignFirst"]>>,
    { given: unknown }
  >,
): CniError {
  const most = 5;
  const reasons = [
    ...taken.slice(0, most).map(({ ip, holder }) => `${formatIp(ip)} by ${describeHolder(holder)}`),
    ...(taken.length > most ? [`${taken.length - most} more`] : []),
    ...refused.slice(0, most).map((error) => error.message),
    ...(elsewhere.length > 0
      ? [`${elsewhere.map(formatIp).slice(0, most).join(", ")}: their pools are not for this node`]
      : []),
  ];
  return new CniError(
    CniCode.tryAgain,
    `${podName(claimant)}: none of the ${count} addresses of annotation ${PIN_NAMES[0]} is free ` +
      `(${reasons.join("; ")}). This pod waits for one; name more, or some for replacements with ` +
      `${PIN_NAMES[1]}.`,
  );
}
