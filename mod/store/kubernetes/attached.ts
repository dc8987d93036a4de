/**
 * The endpoints that this process has recorded on Pods and of which the kubelet has not reported yet.
 * Annotations are for everybody to write who may change a Pod; the status is the kubelet's. So the
 * status decides (`endpoint.ts`), and for the moment in which it is empty, or still has the addresses
 * of a former sandbox, the process that attached the pod goes by what it knows itself.
 *
 *     write --claim--> (in flight) --written--> known --the kubelet reports other addresses--> forgotten
 *                          '-- refused: forgotten              '-- the endpoint is deleted --> forgotten
 */
import type { Fields, KubeObject } from "./api.ts";

export interface Attached {
  readonly containerID: string;
  readonly ipNetworks: readonly string[];
}

interface Claim extends Attached {
  /** The addresses of the status when it was written: as long as they stand there, it is older. */
  readonly reported: string;
  /** Of the Pod that has it; undefined: the write is under way. */
  revision?: string;
}

/** More than a node starts pods in the seconds until the kubelet reports. */
const MOST = 1000;

export class AttachedPods {
  /** By the Pod's uid. */
  readonly #claims = new Map<string, Claim>();

  /** A write begins; `pod` as it was read for it. */
  claim(
    pod: KubeObject,
    attached: Attached,
  ): { written(after: KubeObject): void; refused(): void } {
    const key = keyOf(pod);
    const before = this.#claims.get(key);
    const claim: Claim = { ...attached, reported: reportedBy(pod).join() };
    this.#claims.delete(key);
    this.#claims.set(key, claim);
    if (this.#claims.size > MOST) this.#claims.delete(this.#claims.keys().next().value!);
    return {
      written: (after) => claim.revision = after.metadata.resourceVersion,
      refused: () => {
        if (this.#claims.get(key) !== claim) return;
        if (before) this.#claims.set(key, before);
        else this.#claims.delete(key);
      },
    };
  }

  forget(pod: KubeObject): void {
    this.#claims.delete(keyOf(pod));
  }

  /** The addresses of a Pod that was attached here, until the kubelet has reported. */
  addressesOf(pod: KubeObject, annotated: Attached): readonly string[] | undefined {
    const claim = this.#claims.get(keyOf(pod));
    if (!claim) return undefined;
    if (claim.revision === undefined) {
      // The watch may bring a write before its answer does.
      const same = claim.containerID === annotated.containerID &&
        claim.ipNetworks.join() === annotated.ipNetworks.join();
      return same ? claim.ipNetworks : undefined;
    }
    // As it was before: the watch is behind.
    if (BigInt(pod.metadata.resourceVersion ?? 0) < BigInt(claim.revision)) return undefined;
    const reported = reportedBy(pod);
    if (reported.length > 0 && reported.join() !== claim.reported) {
      this.#claims.delete(keyOf(pod));
      return undefined;
    }
    return claim.ipNetworks;
  }
}

/** What the kubelet says that the Pod has. */
export function reportedBy(pod: KubeObject): string[] {
  const status = pod.status ?? {};
  const isText = (ip: unknown): ip is string => typeof ip === "string" && ip !== "";
  const list: unknown[] = (Array.isArray(status.podIPs) ? status.podIPs : [])
    .map((one: Fields | null) => one?.ip);
  const several = list.filter(isText);
  return several.length > 0 ? several : isText(status.podIP) ? [status.podIP] : [];
}

function keyOf({ metadata: { uid, namespace, name } }: KubeObject): string {
  return uid ?? `${namespace}/${name}`;
}
