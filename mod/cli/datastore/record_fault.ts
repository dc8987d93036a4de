/**
 * Why a record of an export cannot be what its key says, so that neither an export prints it nor an import
 * writes it: a block that is misread gives the addresses of running pods to others. What is only
 * out of step with other records, as `ipam check` finds it, is no reason: a datastore had it, and it is
 * carried over.
 */
import { examineBlock } from "../../ipam/check/block_faults.ts";
import { countsOf } from "../../ipam/check/handle_faults.ts";
import { affinityState } from "../../ipam/affinities.ts";
import { ipamConfigFault } from "../../model/ipam_config.ts";
import { parseBlockKey, parseHandleKey, parseResourceKey } from "../../model/keys.ts";
import { show } from "../../model/show.ts";
import { formatPrefix, parseStrictPrefix } from "../../net/mod.ts";
import { isJsonObject } from "../../store/json.ts";
import type { Part } from "./content.ts";

/** undefined where the value can be read, and is the record of this key. */
export function recordFault(part: Part, key: string, value: unknown): string | undefined {
  if (part === "affinities" && (value === null || value === "")) return undefined;
  if (!isJsonObject(value)) return `it is ${show(value)}, and not an object`;
  switch (part) {
    case "blocks":
      return blockFault(key, value);
    case "affinities":
      return affinityState(value) === undefined
        ? `its state is ${show(value.state)}; want confirmed, pending or pendingDeletion`
        : undefined;
    case "handles":
      return handleFault(key, value);
    case "config":
      return ipamConfigFault(value);
    case "kubernetes":
      return objectFault(key, value);
  }
}

function blockFault(key: string, value: Record<string, unknown>): string | undefined {
  const { block, findings } = examineBlock(parseBlockKey(key)!, key, value, Infinity);
  if (!block) return findings.map(({ message }) => message).join("; ");
  const isIndex = (index: unknown) =>
    index === null || Number.isInteger(index) && (index as number) >= 0;
  const strange = (value.allocations as unknown[]).findIndex((index) => !isIndex(index));
  return strange < 0
    ? undefined
    : `allocations[${strange}] is ${
      show((value.allocations as unknown[])[strange])
    }; want null, or ` +
      "the place of an attribute";
}

function handleFault(key: string, value: Record<string, unknown>): string | undefined {
  const counts = countsOf(value);
  if (!counts) return "it has no readable counts under block";
  for (const [cidr, count] of counts) {
    const prefix = parseStrictPrefix(cidr);
    if (!prefix || formatPrefix(prefix) !== cidr) {
      return `it counts in ${show(cidr)}, which is no block`;
    }
    if (count < 0) return `it counts ${count} addresses in ${cidr}`;
  }
  const { handleID: id } = value;
  return id !== undefined && id !== null && id !== parseHandleKey(key)
    ? `it says that it is handle ${show(id)}`
    : undefined;
}

/** What an object of Kubernetes' says of its name is as its key has it. */
function objectFault(key: string, { metadata }: Record<string, unknown>): string | undefined {
  const at = parseResourceKey(key)!;
  const { name = at.name, namespace = at.namespace } = isJsonObject(metadata) ? metadata : {};
  return name === at.name && (namespace || undefined) === at.namespace
    ? undefined
    : `it says that it is ${show(namespace ? `${namespace}/${name}` : name)}`;
}
