/**
 * The names that follow from a call: which endpoint it is in the datastore, which IPAM handle holds
 * its addresses, and what its host interface is called. All are Calico's where Calico has a name:
 *
 *   - orchestrator `k8s` where CNI_ARGS names a pod, else `cni` in namespace `default`;
 *   - endpoint `<node>-<orchestrator>-<pod or container>-<interface>`;
 *   - handle `<network>.<container>`, and for interfaces other than eth0 `.<interface>` behind it:
 *     Calico knows one interface a container, and one handle for two would free both with the first
 *     DEL;
 *   - host interface `cali` + 11 hex digits of SHA-1 of `<namespace>.<pod>`, or + the first 11
 *     characters of the container ID; where another attachment has that name already (a second
 *     interface, container IDs that begin alike), 11 hex digits of SHA-1 of the whole attachment.
 */

import { createHash } from "node:crypto";
import {
  type WorkloadEndpoint,
  workloadEndpointKind,
  workloadEndpointName,
} from "../mod/model/workload_endpoint.ts";
import { resourceKey } from "../mod/model/keys.ts";
import type { Attachment } from "./environment.ts";
import { CniCode, CniError } from "./errors.ts";

export interface EndpointIdentity {
  readonly orchestrator: "k8s" | "cni";
  readonly namespace: string;
  /** undefined for a plain container. */
  readonly pod: string | undefined;
  readonly containerId: string;
  readonly ifname: string;
  readonly node: string;
  /** Of the WorkloadEndpoint. */
  readonly name: string;
  readonly key: string;
  readonly handle: string;
  readonly network: string;
}

/** CniError `environment` where the parts cannot be joined to a name. */
export function identify(
  attachment: Attachment,
  network: string,
  node: string,
): EndpointIdentity {
  const { containerId, ifname, args: { pod } } = attachment;
  const orchestrator = pod ? "k8s" : "cni";
  const namespace = pod?.namespace ?? "default";
  const id = pod?.name ?? containerId;
  const name = workloadEndpointName({ node, orchestrator, id, endpoint: ifname });
  if (name === undefined) {
    throw new CniError(
      CniCode.environment,
      `Node ${node}, ${
        pod ? `pod ${id}` : `container ${id}`
      } and interface ${ifname} do not make ` +
        "the name of an endpoint: no part may begin or end with '-' (CNI_CONTAINERID, CNI_IFNAME).",
    );
  }
  return {
    orchestrator,
    namespace,
    pod: pod?.name,
    containerId,
    ifname,
    node,
    name,
    key: resourceKey(workloadEndpointKind, name, namespace),
    handle: handleId(network, containerId, ifname),
    network,
  };
}

/** The IPAM handle of one attachment. */
export function handleId(network: string, containerId: string, ifname: string): string {
  return ifname === "eth0" ? `${network}.${containerId}` : `${network}.${containerId}.${ifname}`;
}

/** The handle under which very old plugins kept a pod's addresses; DEL frees it too. */
export function oldHandleId(identity: EndpointIdentity): string | undefined {
  return identity.pod === undefined ? undefined : `${identity.namespace}.${identity.pod}`;
}

/** The name that Calico would give to the host side. */
export function hostInterfaceName(
  identity: Pick<EndpointIdentity, "namespace" | "pod" | "containerId">,
  prefix: string,
): string {
  return prefix +
    (identity.pod === undefined
      ? identity.containerId.slice(0, 11)
      : hex11(`${identity.namespace}.${identity.pod}`));
}

/** The name for when that one belongs to somebody else. */
export function otherHostInterfaceName(
  identity: Pick<EndpointIdentity, "namespace" | "pod" | "containerId" | "ifname">,
  prefix: string,
): string {
  return prefix +
    hex11(`${identity.namespace}.${identity.pod ?? identity.containerId}.${identity.ifname}`);
}

function hex11(text: string): string {
  return createHash("sha1").update(text).digest("hex").slice(0, 11);
}

/** Does this endpoint belong to the container (and not to a sandbox that came after it)? */
export function isOf(endpoint: WorkloadEndpoint, containerId: string): boolean {
  return !endpoint.spec.containerID || endpoint.spec.containerID === containerId;
}

/** A unicast, locally administered MAC from six random bytes. */
export function randomMac(random: Uint8Array): string {
  const bytes = [...random.subarray(0, 6)];
  bytes[0] = (bytes[0] & 0xfc) | 0x02;
  return bytes.map((b) => b.toString(16).padStart(2, "0")).join(":");
}
