/**
 * One rule of a Calico policy or profile. The same shape serves ingress and egress; `source` and
 * `destination` are always there after reading, empty where nothing was said.
 */
import * as v from "valibot";
import {
  annotationMap,
  integer,
  nameText,
  netText,
  oneOf,
  pointer,
  portValue,
  protocolValue,
  selectorText,
  text,
} from "./fields.ts";

const icmp = v.object({ type: v.optional(integer(0, 254)), code: v.optional(integer(0, 255)) });

export const entitySchema = v.object({
  nets: v.optional(v.array(netText)),
  selector: v.optional(selectorText),
  namespaceSelector: v.optional(selectorText),
  services: v.optional(v.object({ name: nameText, namespace: v.optional(nameText) })),
  /** Numbers, ranges `"a:b"`, names. */
  ports: v.optional(v.array(portValue)),
  notNets: v.optional(v.array(netText)),
  notSelector: v.optional(selectorText),
  notPorts: v.optional(v.array(portValue)),
  serviceAccounts: v.optional(v.object({
    names: v.optional(v.array(text)),
    selector: v.optional(selectorText),
  })),
});
export type EntityRule = v.InferOutput<typeof entitySchema>;

export const ruleSchema = v.object({
  action: oneOf("Allow", "Deny", "Log", "Pass"),
  ipVersion: v.optional(pointer(v.picklist([4, 6], "4 or 6"))),
  /** `TCP UDP ICMP ICMPv6 SCTP UDPLite` or a number. */
  protocol: v.optional(pointer(protocolValue)),
  icmp: v.optional(icmp),
  notProtocol: v.optional(pointer(protocolValue)),
  notICMP: v.optional(icmp),
  source: v.optional(entitySchema, {}),
  destination: v.optional(entitySchema, {}),
  http: v.optional(v.object({
    methods: v.optional(v.array(text)),
    paths: v.optional(v.array(v.object({ exact: v.optional(text), prefix: v.optional(text) }))),
  })),
  metadata: v.optional(v.object({ annotations: v.optional(annotationMap) })),
});
export type Rule = v.InferOutput<typeof ruleSchema>;
export type RuleInput = v.InferInput<typeof ruleSchema>;
