/**
 * A cluster for the policy benchmarks, as objects of the store: a node's endpoints with their pods,
 * policies of which each selects one endpoint and admits a set of its own, and endpoints of other
 * nodes that are the sets' members. Every one of those carries ten labels, so that each policy's set
 * has its `addresses` members without a hundred thousand objects.
 */
import { resourceKey } from "../../mod/model/keys.ts";
import { KINDS } from "../../mod/model/kinds.ts";
import { endpointLabels } from "../../mod/model/workload_endpoint.ts";
import type { PolicyObject } from "../../policy/inputs.ts";
import { endpoint, kubernetesPolicy, namespace, pod } from "../../policy/testing.ts";
import type { Store } from "../../mod/store/store.ts";

/** Labels of a member, one a decade of policies. */
const LABELS = 10;
const NAMESPACES = 10;

export interface Size {
  readonly endpoints: number;
  readonly policies: number;
  readonly addresses: number;
}

export class PolicyWorld {
  constructor(readonly size: Size) {}

  namespaceOf(i: number): string {
    return `ns${i % NAMESPACES}`;
  }

  interfaceOf(i: number): string {
    return `cali${i.toString(16).padStart(11, "0")}`;
  }

  pod(i: number): PolicyObject {
    return pod(this.namespaceOf(i), `p${i}`, this.#labels(i));
  }

  /** Those beyond the size are selected as the first ones are. */
  #labels(i: number): Record<string, string> {
    return { app: `app${i % this.size.endpoints}` };
  }

  endpoint(i: number): PolicyObject {
    const ns = this.namespaceOf(i);
    return endpoint(ns, `p${i}`, [
      `10.${64 + (i >> 16)}.${i >> 8 & 255}.${i & 255}`,
      `fd00::${(i + 1).toString(16)}`,
    ], {
      interfaceName: this.interfaceOf(i),
      labels: endpointLabels(this.#labels(i), ns, "k8s", "default"),
    });
  }

  /** Of a member. */
  addressOf(i: number): string {
    return `10.${100 + (i >> 16)}.${i >> 8 & 255}.${i & 255}`;
  }

  /** Another node's endpoint, a member of the sets that select these labels. */
  member(i: number, sets: Record<string, string>): PolicyObject {
    return endpoint("far", `far${i}`, [this.addressOf(i)], {
      node: "node2",
      labels: sets,
    });
  }

  setOf(policy: number): Record<string, string> {
    return { [`set${policy % LABELS}`]: `v${Math.floor(policy / LABELS)}` };
  }

  policy(i: number): PolicyObject {
    return kubernetesPolicy(this.namespaceOf(i), `np${i}`, {
      podSelector: { matchLabels: { app: `app${i % this.size.endpoints}` } },
      policyTypes: ["Ingress", "Egress"],
      ingress: [{
        from: [{
          namespaceSelector: {},
          podSelector: { matchLabels: this.setOf(i % this.size.policies) },
        }],
        ports: [{ port: 80 }, { port: 53, protocol: "UDP" }],
      }],
      egress: [{ to: [{ ipBlock: { cidr: "10.0.0.0/8", except: [`10.0.${i & 255}.0/24`] } }] }],
    });
  }

  objects(): PolicyObject[] {
    const { endpoints, policies, addresses } = this.size;
    const objects: PolicyObject[] = [namespace("far")];
    for (let i = 0; i < NAMESPACES; i++) objects.push(namespace(`ns${i}`));
    for (let i = 0; i < endpoints; i++) objects.push(this.pod(i), this.endpoint(i));
    for (let i = 0; i < policies; i++) objects.push(this.policy(i));
    const values = Math.ceil(policies / LABELS);
    for (let i = 0; i < values * addresses; i++) {
      const labels = Array.from({ length: LABELS }, (_, l) => [`set${l}`, `v${(i + l) % values}`]);
      objects.push(this.member(i, Object.fromEntries(labels)));
    }
    return objects;
  }
}

/** Where the store keeps an object. */
export function keyOf({ apiVersion, kind, metadata }: PolicyObject): string {
  const found = KINDS.find((k) => k.apiVersion === apiVersion && k.kind === kind);
  if (!found) throw new TypeError(`no kind ${kind} of ${apiVersion}`);
  return resourceKey(found, metadata!.name!, metadata!.namespace);
}

/** Writes all of them, many at once. */
export async function putAll(store: Store, objects: readonly PolicyObject[]): Promise<void> {
  let next = 0;
  await Promise.all(Array.from({ length: 64 }, async () => {
    while (next < objects.length) {
      const object = objects[next++];
      await store.put(keyOf(object), object);
    }
  }));
}
