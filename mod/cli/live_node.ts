/**
 * Before a Node is deleted: its addresses are given to others then, so a machine whose service still
 * reports and that has pods is not deleted unasked. calicoctl does not ask, and is told only.
 */
import { felixStatusKey } from "../model/keys.ts";
import { nodeKind } from "../model/node.ts";
import { workloadEndpointKind } from "../model/workload_endpoint.ts";
import { ResourceError, resourceName } from "../store/resource_error.ts";
import type { Resources } from "../store/resources.ts";
import { readRaw } from "../store/raw.ts";
import { type Call, flagOption } from "./command.ts";

/** ResourceError "refused" where it is alive and has pods. */
export async function refuseLiveNode(
  call: Call,
  resources: Resources,
  name: string,
): Promise<void> {
  if (flagOption(call, "force") || !await reports(resources, name)) return;
  const { items } = await resources.list(workloadEndpointKind);
  const count = items.filter(({ spec }) => spec.node === name).length;
  if (count === 0) return;
  const resource = resourceName(nodeKind.kind, name);
  const endpoints = count === 1 ? "1 endpoint" : `${count} endpoints`;
  const said = `${resource} has ${endpoints}, and its service has reported within the last minutes`;
  if (call.program === "calicoctl") {
    call.io.stderr(`warning: ${said}: their addresses may be given to others from now on\n`);
    return;
  }
  throw new ResourceError(
    "refused",
    resource,
    `${said}: drain it first, or wait until it is known to be down; --force deletes it all the same, ` +
      "and the addresses of pods that still run there may be given to others",
  );
}

async function reports({ store }: Resources, node: string): Promise<boolean> {
  return await readRaw(store, felixStatusKey(node)) !== undefined;
}
