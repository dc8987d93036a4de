/** HostEndpoint: an interface of a node (or all of them, `*`) to which policy applies. */
import * as v from "valibot";
import type { Issue, Kind } from "./kind.ts";
import { objectSchema } from "./resource.ts";
import {
  hasPorts,
  integer,
  interfaceNameText,
  ipText,
  nameOrEmpty,
  nameText,
  portNameText,
  protocolValue,
} from "./fields.ts";
import { column, joined, nameColumn } from "./columns.ts";

export const endpointPort = v.object({
  name: portNameText,
  protocol: protocolValue,
  port: integer(1, 65535, "uint16"),
});

const schema = objectSchema("HostEndpoint", "projectcalico.org/v3", {
  spec: v.object({
    node: v.optional(nameOrEmpty, ""),
    /** `*`: all interfaces of the node. */
    interfaceName: v.optional(interfaceNameText),
    expectedIPs: v.optional(v.array(ipText)),
    profiles: v.optional(v.array(nameText)),
    ports: v.optional(v.array(endpointPort)),
  }),
});

export type HostEndpoint = v.InferOutput<typeof schema>;
export type HostEndpointInput = v.InferInput<typeof schema>;

export const hostEndpointKind: Kind<HostEndpoint, HostEndpointInput> = {
  kind: "HostEndpoint",
  apiVersion: "projectcalico.org/v3",
  plural: "hostendpoints",
  home: "calico",
  namespaced: false,
  names: ["hostendpoint", "hostendpoints", "hep", "heps"],
  schema,
  crd: true,
  columns: [nameColumn, column("NODE", (h) => h.spec.node)],
  wideColumns: [
    nameColumn,
    column("NODE", (h) => h.spec.node),
    column("INTERFACE", (h) => h.spec.interfaceName ?? ""),
    column("IPS", (h) => joined(h.spec.expectedIPs)),
    column("PROFILES", (h) => joined(h.spec.profiles)),
  ],
  check({ spec }) {
    const issues: Issue[] = portIssues(spec.ports);
    if (spec.node === "") {
      issues.push({ path: "spec.node", message: "is missing: want a node's name" });
    }
    if (!spec.interfaceName && (spec.expectedIPs ?? []).length === 0) {
      issues.push({
        path: "spec.interfaceName",
        message: "is missing: want an interface's name, * or expectedIPs",
      });
    }
    return issues;
  },
};

/** Faults of an endpoint's named ports. */
export function portIssues(
  ports: readonly { protocol: string | number }[] | undefined,
): Issue[] {
  return (ports ?? []).flatMap((port, i) =>
    hasPorts(port.protocol) ? [] : [{
      path: `spec.ports[${i}].protocol`,
      message: `${port.protocol} has no ports: want TCP, UDP or SCTP`,
    }]
  );
}
