/** HostEndpoint: an interface of a node (or all of them, `*`) to which policy applies. */
import * as v from "valibot";
import type { Kind } from "./kind.ts";
import { objectSchema } from "./resource.ts";
import { integer, ipText, protocolValue, text } from "./fields.ts";

export const endpointPort = v.object({
  name: text,
  protocol: protocolValue,
  port: integer(1, 65535),
});

const schema = objectSchema("HostEndpoint", "projectcalico.org/v3", {
  spec: v.object({
    node: v.optional(text, ""),
    interfaceName: v.optional(text),
    expectedIPs: v.optional(v.array(ipText)),
    profiles: v.optional(v.array(text)),
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
  columns: [],
};
