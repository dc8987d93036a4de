/** Automatic host endpoints as they are written; what another did at the same moment is no fault. */
import { type HostEndpoint, hostEndpointKind } from "../model/host_endpoint.ts";
import { ResourceError, type Resources } from "../store/resources.ts";
import type { HostEndpointAction } from "./host_endpoints.ts";

export async function writeHostEndpoint(
  resources: Resources,
  action: HostEndpointAction,
): Promise<void> {
  switch (action.do) {
    case "delete":
      await resources.delete(hostEndpointKind, action.name).catch(ignoreRaces);
      return;
    case "create":
      await resources.create(hostEndpointKind, {
        kind: "HostEndpoint",
        apiVersion: "projectcalico.org/v3",
        ...action.endpoint,
      }).catch(ignoreRaces);
      return;
    case "update": {
      const { metadata, spec } = action.endpoint;
      await resources.modify(
        hostEndpointKind,
        metadata.name,
        undefined,
        (stored: HostEndpoint) => ({
          ...stored,
          metadata: { ...stored.metadata, ...metadata },
          spec: { ...stored.spec, ...spec },
        }),
      ).catch(ignoreRaces);
      return;
    }
  }
}

/** Another did it, or undid it, at the same moment: the next turn sees. */
export function ignoreRaces(error: unknown): void {
  const raced = error instanceof ResourceError &&
    ["notFound", "exists", "conflict"].includes(error.kind);
  if (!raced) throw error;
}
