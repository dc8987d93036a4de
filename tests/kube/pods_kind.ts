/** Pods: the defaults of their spec, what of it may be changed, and addresses in both notations. */
import { isMap, type KubeObject, same } from "./object.ts";
import { fill, resource } from "./kind_line.ts";
import { type FieldError, forbiddenField, invalidValue, required } from "./status.ts";

function preparePod(object: KubeObject, old: KubeObject | undefined): void {
  const spec = object.spec ??= {};
  fill(spec, {
    restartPolicy: "Always",
    dnsPolicy: "ClusterFirst",
    schedulerName: "default-scheduler",
    securityContext: {},
    terminationGracePeriodSeconds: 30,
    enableServiceLinks: true,
  });
  spec.serviceAccountName ??= spec.serviceAccount ?? "default";
  spec.serviceAccount = spec.serviceAccountName;
  for (const container of [...(spec.containers ?? []), ...(spec.initContainers ?? [])]) {
    if (!isMap(container)) continue;
    fill(container, {
      resources: {},
      imagePullPolicy: "IfNotPresent",
      terminationMessagePath: "/dev/termination-log",
      terminationMessagePolicy: "File",
    });
    for (const port of (container.ports ?? []) as any[]) {
      fill(port, { protocol: "TCP" });
      if (spec.hostNetwork) fill(port, { hostPort: port.containerPort });
    }
  }
  if (!old) object.status = { phase: "Pending", qosClass: "BestEffort" };
  firstOfMany(object.status, "podIP", "podIPs");
  firstOfMany(object.status, "hostIP", "hostIPs");
}

/** The old field with one address and the new one with all say the same. */
function firstOfMany(status: any, one: string, all: string): void {
  const list = status?.[all] as { ip: string }[] | undefined;
  if (status?.[one] && list?.[0]?.ip !== status[one]) {
    // Whoever writes the old field alone means that address alone.
    status[all] = [{ ip: status[one] }];
  } else if (list?.length && !status[one]) status[one] = list[0].ip;
}

/** What of a pod's spec may still be changed. */
function mutable(spec: any): unknown {
  const { activeDeadlineSeconds: _a, tolerations: _t, terminationGracePeriodSeconds: _g, ...rest } =
    spec;
  const images = (list: any[] | undefined) => list?.map(({ image: _, ...container }) => container);
  return {
    ...rest,
    containers: images(spec.containers),
    initContainers: images(spec.initContainers),
  };
}

export const pods = resource({
  plural: "pods",
  singular: "pod",
  kind: "Pod",
  shortNames: ["po"],
  categories: ["all"],
  status: true,
  generation: true,
  deleteAnswersObject: true,
  fields: [
    "spec.nodeName",
    "spec.restartPolicy",
    "spec.schedulerName",
    "spec.serviceAccountName",
    "spec.hostNetwork",
    "status.phase",
    "status.podIP",
    "status.podIPs",
    "status.nominatedNodeName",
  ],
  prepare: preparePod,
  check(object, old) {
    const faults: FieldError[] = [];
    const containers = object.spec.containers;
    if (!Array.isArray(containers) || containers.length === 0) {
      faults.push(required("spec.containers"));
    } else {
      containers.forEach((container, i) => {
        if (!container?.name) faults.push(required(`spec.containers[${i}].name`));
        if (!container?.image) faults.push(required(`spec.containers[${i}].image`));
        (container?.ports ?? []).forEach((port: any, j: number) => {
          const field = `spec.containers[${i}].ports[${j}].containerPort`;
          const n = port.containerPort;
          if (n === undefined) faults.push(required(field));
          else if (!Number.isInteger(n) || n < 1 || n > 65535) {
            faults.push(invalidValue(field, n, "must be between 1 and 65535, inclusive"));
          }
        });
      });
    }
    if (old && !same(mutable(object.spec), mutable(old.spec))) {
      faults.push(
        forbiddenField(
          "spec",
          "pod updates may not change fields other than `spec.containers[*].image`, " +
            "`spec.initContainers[*].image`, `spec.activeDeadlineSeconds`, `spec.tolerations` " +
            "(only additions to existing tolerations), `spec.terminationGracePeriodSeconds`",
        ),
      );
    }
    return faults;
  },
});
