/** KubeControllersConfiguration `default`: settings of the cluster-wide controllers. */
import * as v from "valibot";
import type { Issue, Kind } from "./kind.ts";
import { objectSchema } from "./resource.ts";
import {
  annotationMap,
  checkedText,
  cidrText,
  durationText,
  integer,
  labelMap,
  NAME,
  oneOf,
  regexpText,
  selectorText,
  stringMap,
} from "./fields.ts";
import { nameColumn } from "./columns.ts";
import { show } from "./show.ts";

const duration = v.optional(durationText);
/** It stands within the names of host endpoints, `NODE-generateName-auto-hep`. */
const middleOfNameText = checkedText(
  (s) => s === "" || NAME.test(`n-${s}-h`) && s.length <= 253,
  "a part of a name: at most 253 lower-case letters, digits, '-' and '.', with no '.' at either end",
);
const enabled = v.optional(oneOf("Enabled", "Disabled"));
const periodic = v.optional(v.object({ reconcilerPeriod: duration }));

const spec = v.object({
  logSeverityScreen: v.optional(
    oneOf("None", "Debug", "Info", "Warning", "Error", "Fatal", "Panic"),
  ),
  healthChecks: v.optional(oneOf("Enabled", "Disabled"), "Enabled"),
  etcdV3CompactionPeriod: duration,
  prometheusMetricsPort: v.optional(integer(0, 65535), 9094),
  controllers: v.optional(
    v.object({
      node: v.optional(v.object({
        reconcilerPeriod: duration,
        syncLabels: enabled,
        hostEndpoint: v.optional(v.object({
          autoCreate: enabled,
          createDefaultHostEndpoint: enabled,
          templates: v.optional(v.array(v.object({
            generateName: v.optional(middleOfNameText),
            interfaceCIDRs: v.optional(v.array(cidrText)),
            interfacePattern: v.optional(regexpText),
            labels: v.optional(labelMap),
            annotations: v.optional(annotationMap),
            nodeSelector: v.optional(selectorText),
          }))),
        })),
        leakGracePeriod: v.optional(durationText, "15m0s"),
      })),
      policy: periodic,
      workloadEndpoint: periodic,
      serviceAccount: periodic,
      namespace: periodic,
      loadBalancer: v.optional(v.object({
        assignIPs: v.optional(oneOf("AllServices", "RequestedServicesOnly"), "AllServices"),
      })),
      /** As 3.32 calls the next. */
      policyMigration: v.optional(v.object({
        enabled: v.optional(oneOf("Enabled", "Disabled"), "Enabled"),
      })),
      migration: v.optional(v.object({
        policyNameMigrator: v.optional(oneOf("Enabled", "Disabled"), "Enabled"),
      })),
    }),
    {},
  ),
  debugProfilePort: v.optional(integer(0, 65535, "int32")),
});

const schema = objectSchema("KubeControllersConfiguration", "projectcalico.org/v3", {
  spec: v.optional(spec, {}),
  status: v.optional(
    v.object({ runningConfig: v.optional(spec), environmentVars: v.optional(stringMap) }),
    {},
  ),
});

export type KubeControllersConfiguration = v.InferOutput<typeof schema>;
export type KubeControllersConfigurationInput = v.InferInput<typeof schema>;

export const kubeControllersConfigurationKind: Kind<
  KubeControllersConfiguration,
  KubeControllersConfigurationInput
> = {
  kind: "KubeControllersConfiguration",
  apiVersion: "projectcalico.org/v3",
  plural: "kubecontrollersconfigurations",
  home: "calico",
  namespaced: false,
  crd: true,
  names: [
    "kubecontrollersconfiguration",
    "kubecontrollersconfigurations",
    "kubecontrollersconfig",
    "kubecontrollersconfigs",
  ],
  schema,
  columns: [nameColumn],
  checkWrite({ metadata, spec }) {
    const issues = templateIssues(spec.controllers.node?.hostEndpoint?.templates ?? []);
    if (metadata.name === "default") return issues;
    return [{
      path: "metadata.name",
      message: `${show(metadata.name)} is not allowed: want default, the one of the cluster`,
    }, ...issues];
  },
};

type Controllers = KubeControllersConfiguration["spec"]["controllers"];
type Template = NonNullable<
  NonNullable<NonNullable<Controllers["node"]>["hostEndpoint"]>["templates"]
>[number];

/** Each template makes host endpoints of its own name, for addresses or interfaces that it names. */
function templateIssues(templates: readonly Template[]): Issue[] {
  const issues: Issue[] = [];
  templates.forEach(({ generateName, interfaceCIDRs, interfacePattern }, i) => {
    const path = `spec.controllers.node.hostEndpoint.templates[${i}]`;
    const first = templates.findIndex((template) => template.generateName === generateName);
    if (!generateName) {
      issues.push({
        path: `${path}.generateName`,
        message: "is missing: the names of its host endpoints are made of it",
      });
    } else if (first < i) {
      issues.push({
        path: `${path}.generateName`,
        message: `${show(generateName)} is that of templates[${first}] too: want one for each`,
      });
    }
    if (!interfaceCIDRs?.length && !interfacePattern) {
      issues.push({ path, message: "has neither interfaceCIDRs nor interfacePattern: want one" });
    }
  });
  return issues;
}
