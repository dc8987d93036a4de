/**
 * Whether the container that an ordinal's lease names, or another one of the ordinal, still has the
 * address: two must not have it. The pod's earlier sandbox, which its endpoint names, gives way to the new
 * one. Any other is waited for:
 *
 *     on this node      until the kernel has no interface of it: so where the endpoint went with its Pod
 *                       (Kubernetes: a pod that was deleted by force and came back)
 *     on another node   until its endpoint is gone and its node says that no container has the address, or
 *                       the node itself is gone
 *
 * The lock of the pod says that no other call works on it on this node.
 */

import { formatIp, sameIp } from "../mod/net/mod.ts";
import { nodesOf, type NodeWord } from "../mod/ipam/ask_nodes.ts";
import { type AskedAddress, containerOf } from "../mod/ipam/questions.ts";
import { isWithin, parseGoTimestamp } from "../mod/ipam/time.ts";
import type { Assignment } from "../mod/ipam/types.ts";
import { felixStatusKey, resourceKey } from "../mod/model/keys.ts";
import { nodeKind } from "../mod/model/node.ts";
import {
  type WorkloadEndpoint,
  workloadEndpointKind,
  workloadEndpointName,
} from "../mod/model/workload_endpoint.ts";
import { readRaw } from "../mod/store/raw.ts";
import type { Store } from "../mod/store/store.ts";
import type { Claimant } from "./addresses.ts";
import { addressesOf } from "./endpoint.ts";
import { readEndpoint } from "./endpoint_record.ts";
import { CniCode, CniError } from "./errors.ts";
import type { CniKernel } from "./kernel.ts";
import { parseMark } from "./mark.ts";
import { hostNames } from "./own_links.ts";

/** Milliseconds that the former node has to say whether its container still has the address. */
const WORD_MS = 5000;
/** As long as a runtime waits for an ADD, and a little: a claim without an endpoint may be one's own. */
const CLAIM_SECONDS = 150;

export interface FormerParts {
  readonly store: Store;
  readonly podsKnown?: boolean;
  readonly kernel: Pick<CniKernel, "hostLink" | "linkOf">;
  readonly interfacePrefix?: string;
}

/** Whether it is this earlier sandbox that the lease names. */
export function usedBy(
  older: WorkloadEndpoint | undefined,
  { attributes: { container } }: Pick<Assignment, "attributes">,
): boolean {
  const id = older?.spec.containerID;
  return !!id && container !== undefined && containerOf({ handle: container }).includes(id);
}

/**
 * CniError `tryAgain` while another container of the ordinal may have the address; `older` is the pod's
 * earlier sandbox on this node, which gives way.
 */
export async function mustBeIdle(
  parts: FormerParts,
  claimant: Claimant,
  held: Assignment,
  older: WorkloadEndpoint | undefined,
  now: Date,
): Promise<void> {
  const { store, podsKnown = false } = parts;
  const { ip, attributes } = held;
  const { container, node, timestamp } = attributes;
  if (container === claimant.handle || usedBy(older, held)) return;
  if (container === undefined || node === undefined || node === claimant.node) {
    const link = await linkHere(parts, claimant, held, older?.spec.interfaceName);
    if (link !== undefined) throw inUseHere(claimant, held, link);
    return;
  }
  const { namespace, name } = claimant.pod!;
  const endpoint = workloadEndpointName({
    node,
    orchestrator: "k8s",
    id: name,
    endpoint: claimant.ifname,
  });
  const found = endpoint
    ? await readEndpoint(store, resourceKey(workloadEndpointKind, endpoint, namespace))
    : undefined;
  // What cannot be read says nothing: then the node is asked, as where there is none.
  const has = found?.value &&
    addressesOf(found.value).some((one) => sameIp(one, ip));
  const fresh = isWithin(CLAIM_SECONDS * 1000, parseGoTimestamp(timestamp), now.getTime());
  const asked = { ip: formatIp(ip), handle: container };
  const ask = async () =>
    (await nodesOf(store, { limit: WORD_MS })(new Map([[node, [asked]]]))).get(node)!;
  // Nothing of a node that is gone runs any more; what the controllers go by (`check/evidence.ts`). One
  // without a Node and without a status may be there still: then it answers.
  const word = await isOnRecord(store, node) ? undefined : await ask();
  if (word && "silent" in word) return;
  const why = has
    ? `WorkloadEndpoint ${namespace}/${endpoint} has it`
    : fresh
    ? "its ADD may be under way"
    : doubtOf(word ?? await ask(), node, asked, podsKnown);
  if (why === undefined) return;
  throw new CniError(
    CniCode.tryAgain,
    `Pod ${namespace}/${name}: its pinned address ${
      formatIp(ip)
    } may still be in use by its former ` +
      `container on node ${node} (${why}); this pod waits until that one is gone. If the node is lost ` +
      `for good, delete its Node: tortie delete node ${node}, or kubectl delete node ${node} where ` +
      "Nodes are Kubernetes'.",
  );
}

/**
 * Why it is not known that the container is gone, by the rules of the controllers for an address that no
 * record speaks for (`controllers/collector.ts`); undefined: it is.
 */
function doubtOf(
  word: NodeWord,
  node: string,
  asked: AskedAddress,
  podsKnown: boolean,
): string | undefined {
  if ("silent" in word) return word.never && podsKnown ? undefined : word.silent;
  if (word.held.has(asked.ip)) return "the node says so";
  return word.unseen === undefined || podsKnown
    ? undefined
    : `node ${node} cannot tell: ${word.unseen}`;
}

async function isOnRecord(store: Store, node: string): Promise<boolean> {
  const [object, status] = await Promise.all([
    readRaw(store, resourceKey(nodeKind, node)),
    readRaw(store, felixStatusKey(node)),
  ]);
  return object !== undefined || status !== undefined;
}

/**
 * The interface of another container of the ordinal on this node: of the one that the lease names, where
 * it names one, by its mark or by the route to the address; else by the pod's name and the route. Other
 * workloads are not looked for here (`live_holders.ts`).
 */
async function linkHere(
  { kernel, interfacePrefix: prefix = "cali" }: FormerParts,
  { ifname, pod }: Claimant,
  { ip, attributes: { container } }: Assignment,
  gives: string | undefined,
): Promise<string | undefined> {
  const of = { namespace: pod!.namespace, pod: pod!.name, containerId: "", ifname };
  const names = hostNames(of, prefix);
  const route = await kernel.linkOf(ip);
  if (route !== undefined && route !== "host" && route.name !== gives) {
    const isOrdinals = names.includes(route.name) ||
      (container !== undefined && isMarkedFor(route.alias, container));
    if (isOrdinals) return route.name;
  }
  if (container === undefined) return undefined;
  for (const name of names) {
    if (name !== gives && isMarkedFor((await kernel.hostLink(name))?.alias, container)) return name;
  }
}

function isMarkedFor(alias: string | undefined, container: string): boolean {
  const mark = parseMark(alias);
  return mark !== undefined && containerOf({ handle: container }).includes(mark.containerId);
}

function inUseHere({ pod, node }: Claimant, { ip }: Assignment, link: string): CniError {
  return new CniError(
    CniCode.tryAgain,
    `Pod ${pod!.namespace}/${pod!.name}: its pinned address ${
      formatIp(ip)
    } is still in use by its ` +
      `former container on this node, ${node} (interface ${link}); this pod waits until the runtime ` +
      "has removed that one.",
  );
}
