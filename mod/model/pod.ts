/**
 * Pod (Kubernetes), as far as a network needs it: node, labels, annotations, account, container
 * ports, addresses. All other fields are kept as they came.
 */
import * as v from "valibot";
import type { Kind } from "./kind.ts";
import { objectSchema } from "./resource.ts";
import { bool, integer, ipOrEmpty, oneOf, text } from "./fields.ts";
import { column, nameColumn } from "./columns.ts";

const container = v.object({
  name: v.optional(text, ""),
  image: v.optional(text),
  ports: v.optional(v.array(v.object({
    name: v.optional(text),
    containerPort: integer(1, 65535),
    hostPort: v.optional(integer(0, 65535)),
    hostIP: v.optional(text),
    protocol: v.optional(oneOf("TCP", "UDP", "SCTP"), "TCP"),
  }))),
  /** Always: a sidecar, if it is an init container. */
  restartPolicy: v.optional(text),
});

const schema = objectSchema("Pod", "v1", {
  spec: v.optional(
    v.object({
      nodeName: v.optional(text),
      serviceAccountName: v.optional(text),
      hostNetwork: v.optional(bool),
      hostname: v.optional(text),
      initContainers: v.optional(v.array(container)),
      containers: v.optional(v.array(container), () => []),
    }),
    {},
  ),
  status: v.optional(
    v.object({
      /** Pending, Running, Succeeded, Failed, Unknown. */
      phase: v.optional(text),
      hostIP: v.optional(ipOrEmpty),
      hostIPs: v.optional(v.array(v.object({ ip: v.optional(ipOrEmpty, "") }))),
      podIP: v.optional(ipOrEmpty),
      podIPs: v.optional(v.array(v.object({ ip: v.optional(ipOrEmpty, "") }))),
    }),
    {},
  ),
});

export type Pod = v.InferOutput<typeof schema>;
export type PodInput = v.InferInput<typeof schema>;
export type PodContainer = v.InferOutput<typeof container>;

export const podKind: Kind<Pod, PodInput> = {
  kind: "Pod",
  apiVersion: "v1",
  plural: "pods",
  home: "kubernetes",
  namespaced: true,
  names: ["pod", "pods", "po"],
  schema,
  columns: [
    nameColumn,
    column("STATUS", (p) => p.status.phase ?? ""),
    column("IP", (p) => podIps(p).join(",")),
    column("NODE", (p) => p.spec.nodeName ?? ""),
  ],
  open: true,
};

/** Failed or succeeded: it has no addresses any more. */
export function isFinished(pod: Pod): boolean {
  return pod.status.phase === "Failed" || pod.status.phase === "Succeeded";
}

/** The pod's addresses as its status says; none for a finished pod. */
export function podIps(pod: Pod): string[] {
  if (isFinished(pod)) return [];
  const list = (pod.status.podIPs ?? []).map((p) => p.ip).filter((ip) => ip !== "");
  return list.length > 0 ? list : pod.status.podIP ? [pod.status.podIP] : [];
}
