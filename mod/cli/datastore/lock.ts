/**
 * The lock of a datastore: ClusterInformation `default` with `datastoreReady: false`. While it stands,
 * the CNI plugin refuses pods with an error that the runtime tries again after (code 11), and agents
 * leave the kernel as it is. It keeps nobody from writing: as with calicoctl, the one who locked it
 * works on.
 *
 * An import that has begun and not ended is noted there too, so that a datastore that holds the half
 * of a cluster is not unlocked by mistake.
 */
import {
  type ClusterInformation,
  clusterInformationKind,
  lockReason,
} from "../../model/cluster_information.ts";
import { ResourceError } from "../../store/resource_error.ts";
import type { Resources } from "../../store/resources.ts";

/** Says which file is being imported (SHA-256). */
export const IMPORT_ANNOTATION = "tortie.projectcalico.org/unfinished-import";

const isUnreadable = (error: unknown) =>
  error instanceof ResourceError && error.kind === "malformed";

/** undefined where there is none, or none that can be read. */
export async function clusterOf(resources: Resources): Promise<ClusterInformation | undefined> {
  try {
    return await resources.get(clusterInformationKind, "default");
  } catch (error) {
    if (isUnreadable(error)) return undefined;
    throw error;
  }
}

export function isLocked(cluster: ClusterInformation | undefined): boolean {
  return cluster !== undefined && lockReason(cluster) !== undefined;
}

export function unfinishedImport(cluster: ClusterInformation | undefined): string | undefined {
  return cluster?.metadata.annotations?.[IMPORT_ANNOTATION];
}

/** Changes ClusterInformation `default`, which is made where it is missing. */
export async function modifyCluster(
  resources: Resources,
  change: (cluster: ClusterInformation) => ClusterInformation | undefined,
): Promise<ClusterInformation> {
  await resources.ensureInitialized();
  return await resources.modify(clusterInformationKind, "default", undefined, change);
}

/** Writes nothing where it is so already, and a new one, of another GUID, where it cannot be read. */
export async function setLock(resources: Resources, locked: boolean): Promise<void> {
  try {
    await modifyCluster(
      resources,
      (cluster) =>
        cluster.spec.datastoreReady === !locked
          ? undefined
          : { ...cluster, spec: { ...cluster.spec, datastoreReady: !locked } },
    );
  } catch (error) {
    if (!isUnreadable(error)) throw error;
    const { kind, apiVersion } = clusterInformationKind;
    const clusterGUID = crypto.randomUUID().replaceAll("-", "");
    await resources.replace(clusterInformationKind, {
      ...{ kind, apiVersion, metadata: { name: "default" } },
      spec: { clusterGUID, datastoreReady: !locked },
    });
  }
}

export function withAnnotation(
  cluster: ClusterInformation,
  value: string | undefined,
): ClusterInformation {
  const { [IMPORT_ANNOTATION]: _, ...others } = cluster.metadata.annotations ?? {};
  const annotations = value === undefined ? others : { ...others, [IMPORT_ANNOTATION]: value };
  const { annotations: _2, ...metadata } = cluster.metadata;
  return {
    ...cluster,
    metadata: { ...metadata, ...Object.keys(annotations).length > 0 && { annotations } },
  } as ClusterInformation;
}
