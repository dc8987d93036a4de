/**
 * The resources that a cluster has without a CustomResourceDefinition, as far as a network needs them,
 * and the few rules that each adds to the common ones: the defaults of its fields, and what may not be
 * changed. Workload kinds (Deployment …) are stored and nothing more: no controller runs here.
 */
import type { ResourceKind } from "./resource_kind.ts";
import { fill, type Line, resource } from "./kind_line.ts";
import { isConfigMapKey } from "./names.ts";
import { pods } from "./pods_kind.ts";
import {
  type FieldError,
  forbiddenField,
  invalidValue,
  notSupported,
  required,
  tooLong,
} from "./status.ts";

const CONFIG_MAP_LIMIT = 1024 * 1024;

const bytesOf = (text: string) => new TextEncoder().encode(text).length;

const namespaces = resource({
  plural: "namespaces",
  singular: "namespace",
  kind: "Namespace",
  shortNames: ["ns"],
  namespaced: false,
  names: "label",
  status: true,
  fields: ["status.phase"],
  deleteAnswersObject: true,
  prepare(object, old) {
    const { metadata } = object;
    metadata.labels = { ...metadata.labels, "kubernetes.io/metadata.name": metadata.name };
    object.spec ??= {};
    if (old) object.spec.finalizers = old.spec?.finalizers;
    else {
      object.spec.finalizers = ["kubernetes"];
      object.status = { phase: "Active" };
    }
    if (object.spec.finalizers === undefined) delete object.spec.finalizers;
  },
});

const nodes = resource({
  plural: "nodes",
  singular: "node",
  kind: "Node",
  shortNames: ["no"],
  namespaced: false,
  status: true,
  fields: ["spec.unschedulable"],
  prepare(object) {
    object.spec ??= {};
    object.status ??= {};
  },
  check(object, old) {
    const was = old?.spec?.podCIDR;
    if (was && object.spec.podCIDR !== was) {
      return [
        forbiddenField("spec.podCIDRs", 'node updates may not change podCIDR except from ""'),
      ];
    }
    return [];
  },
});

const services = resource({
  plural: "services",
  singular: "service",
  kind: "Service",
  shortNames: ["svc"],
  categories: ["all"],
  names: "service",
  status: true,
  createOnUpdate: true,
  deleteAnswersObject: true,
  fields: ["spec.clusterIP", "spec.type"],
  prepare(object, old, world) {
    const spec = object.spec ??= {};
    fill(spec, { type: "ClusterIP", sessionAffinity: "None" });
    for (const port of spec.ports ?? []) {
      fill(port, { protocol: "TCP" });
      fill(port, { targetPort: port.port });
    }
    object.status ??= { loadBalancer: {} };
    if (spec.type === "ExternalName") return;
    fill(spec, { internalTrafficPolicy: "Cluster" });
    if (!spec.clusterIP) spec.clusterIP = old?.spec?.clusterIP ?? world.freeClusterIp();
    fill(spec, { clusterIPs: [spec.clusterIP], ipFamilyPolicy: "SingleStack" });
    fill(spec, { ipFamilies: [spec.clusterIP.includes(":") ? "IPv6" : "IPv4"] });
  },
  check(object, old) {
    const faults: FieldError[] = [];
    const was = old?.spec?.clusterIP;
    if (was && was !== "None" && object.spec.clusterIP !== was) {
      faults.push(
        invalidValue("spec.clusterIPs[0]", object.spec.clusterIP, "may not change once set"),
      );
    }
    const headless = object.spec.clusterIP === "None" || object.spec.type === "ExternalName";
    if (!headless && !(object.spec.ports?.length > 0)) faults.push(required("spec.ports"));
    return faults;
  },
});

const networkPolicies = resource({
  group: "networking.k8s.io",
  plural: "networkpolicies",
  singular: "networkpolicy",
  kind: "NetworkPolicy",
  top: ["spec"],
  shortNames: ["netpol"],
  generation: true,
  prepare(object) {
    const spec = object.spec ??= {};
    spec.podSelector ??= {};
    if (!spec.policyTypes || spec.policyTypes.length === 0) {
      spec.policyTypes = spec.egress?.length > 0 ? ["Ingress", "Egress"] : ["Ingress"];
    }
    for (const rule of [...(spec.ingress ?? []), ...(spec.egress ?? [])]) {
      for (const port of rule?.ports ?? []) fill(port, { protocol: "TCP" });
    }
  },
  check(object) {
    return (object.spec.policyTypes as unknown[]).flatMap((type, i) =>
      type === "Ingress" || type === "Egress"
        ? []
        : [notSupported(`spec.policyTypes[${i}]`, type, ["Egress", "Ingress"])]
    );
  },
});

const endpointSlices = resource({
  group: "discovery.k8s.io",
  plural: "endpointslices",
  singular: "endpointslice",
  kind: "EndpointSlice",
  top: ["addressType", "endpoints", "ports"],
  generation: true,
  check(object, old) {
    const types = ["FQDN", "IPv4", "IPv6"];
    const faults: FieldError[] = [];
    if (object.addressType === undefined) faults.push(required("addressType"));
    else if (!types.includes(object.addressType)) {
      faults.push(notSupported("addressType", object.addressType, types));
    }
    if (old && old.addressType !== object.addressType) {
      faults.push(invalidValue("addressType", object.addressType, "field is immutable"));
    }
    return faults;
  },
});

const secrets = resource({
  plural: "secrets",
  singular: "secret",
  kind: "Secret",
  top: ["data", "stringData", "type", "immutable"],
  fields: ["type"],
  prepare(object, old) {
    object.type ??= old?.type ?? "Opaque";
    // `stringData` is for writing alone.
    for (const [key, value] of Object.entries(object.stringData ?? {})) {
      const bytes = new TextEncoder().encode(String(value));
      (object.data ??= {})[key] = btoa(String.fromCharCode(...bytes));
    }
    delete object.stringData;
  },
  check(object, old) {
    return old && old.type !== object.type
      ? [invalidValue("type", object.type, "field is immutable")]
      : [];
  },
});

const plain: Line[] = [
  {
    plural: "serviceaccounts",
    singular: "serviceaccount",
    kind: "ServiceAccount",
    top: ["secrets", "imagePullSecrets", "automountServiceAccountToken"],
    shortNames: ["sa"],
  },
  {
    plural: "configmaps",
    singular: "configmap",
    kind: "ConfigMap",
    shortNames: ["cm"],
    top: ["data", "binaryData", "immutable"],
    check({ data = {}, binaryData = {} }) {
      const faults: FieldError[] = [];
      for (const [field, map] of Object.entries({ data, binaryData })) {
        for (const key of Object.keys(map)) {
          if (!isConfigMapKey(key)) {
            faults.push(invalidValue(
              `${field}[${key}]`,
              key,
              "a valid config key must consist of alphanumeric characters, '-', '_' or '.'",
            ));
          }
        }
      }
      // "The data stored in a ConfigMap cannot exceed 1 MiB"; the keys do not count.
      const size = Object.values<string>(data).reduce((n, text) => n + bytesOf(text), 0) +
        Object.values<string>(binaryData).reduce((n, base64) => n + atob(base64).length, 0);
      // The path of the fault is that of no field.
      if (size > CONFIG_MAP_LIMIT) faults.push(tooLong("[]", CONFIG_MAP_LIMIT));
      return faults;
    },
  },
  {
    plural: "events",
    singular: "event",
    kind: "Event",
    top: undefined,
    shortNames: ["ev"],
    createOnUpdate: true,
    fields: [
      "involvedObject.kind",
      "involvedObject.namespace",
      "involvedObject.name",
      "involvedObject.uid",
      "reason",
      "type",
    ],
  },
  {
    group: "coordination.k8s.io",
    plural: "leases",
    singular: "lease",
    kind: "Lease",
    createOnUpdate: true,
    unconditionalUpdate: false,
  },
];

const workloads: Line[] = [
  { plural: "deployments", singular: "deployment", kind: "Deployment", shortNames: ["deploy"] },
  { plural: "statefulsets", singular: "statefulset", kind: "StatefulSet", shortNames: ["sts"] },
  { plural: "replicasets", singular: "replicaset", kind: "ReplicaSet", shortNames: ["rs"] },
  { plural: "daemonsets", singular: "daemonset", kind: "DaemonSet", shortNames: ["ds"] },
];

export const CORE_KINDS: readonly ResourceKind[] = [
  namespaces,
  nodes,
  pods,
  services,
  secrets,
  networkPolicies,
  endpointSlices,
  ...plain.map(resource),
  ...workloads.map((line) =>
    resource({ ...line, group: "apps", status: true, generation: true, categories: ["all"] })
  ),
  resource({
    group: "apps",
    plural: "controllerrevisions",
    singular: "controllerrevision",
    kind: "ControllerRevision",
    top: ["data", "revision"],
  }),
];
