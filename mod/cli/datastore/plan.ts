/**
 * What an import has to do, and what keeps it from being done: desired is the file, actual is what
 * the datastore holds, the plan is the difference. An import that was cut off is so taken up where
 * it ended, and one that is done has nothing left to do.
 *
 * Only the built-in tiers may differ in the datastore, and on Kubernetes its Nodes: every client
 * makes the ones, Kubernetes the others. Any other object that the file has not, or has otherwise, is
 * somebody's: the import is refused with its name.
 */
import { BUILT_IN_TIERS } from "../../model/tier.ts";
import {
  canonical,
  type Content,
  type Item,
  itemKey,
  itemText,
  PARTS,
  type StoredRecord,
} from "./content.ts";
import { CALICO_KINDS, isConverted } from "./file.ts";

export interface Plan {
  /** In the order of writing. */
  readonly create: readonly Item[];
  readonly replace: readonly Item[];
  readonly records: readonly StoredRecord[];
  /** What the datastore holds already. */
  readonly same: number;
  /** What a Kubernetes datastore has from Kubernetes. */
  readonly skipped: readonly Item[];
  /** Kubernetes' own objects likewise. */
  readonly skippedRecords: number;
  /** Nodes that Kubernetes does not know. */
  readonly unknownNodes: readonly string[];
  /** Objects of the datastore that are in the way, as `IPPool p`. */
  readonly inTheWay: readonly string[];
}

/** `kubernetes`: the datastore is Kubernetes' own, with Nodes, Pods and Profiles of its own. */
export function planImport(wanted: Content, there: Content, kubernetes: boolean): Plan {
  const before = new Map(there.items.map((item) => [itemKey(item), item]));
  const wantedKeys = new Set(wanted.items.map(itemKey));
  const [create, replace, skipped]: Item[][] = [[], [], []];
  const [unknownNodes, inTheWay]: string[][] = [[], []];
  let same = 0;
  for (const item of wanted.items) {
    if (kubernetes && isKubernetes(item)) {
      skipped.push(item);
      continue;
    }
    const old = before.get(itemKey(item));
    const isNode = kubernetes && isCalicosNode(item);
    if (old && itemText(old) === itemText(item)) same++;
    else if (old && (isNode || isBuiltIn(item))) replace.push(item);
    else if (old) inTheWay.push(`${nameOf(item)} (it differs)`);
    else if (isNode) unknownNodes.push(item.object.metadata.name);
    else create.push(item);
  }
  for (const item of there.items) {
    if (wantedKeys.has(itemKey(item)) || isBuiltIn(item)) continue;
    if (kubernetes && (isKubernetes(item) || isCalicosNode(item))) continue;
    inTheWay.push(nameOf(item));
  }
  const records: StoredRecord[] = [];
  let skippedRecords = 0;
  for (const part of PARTS) {
    if (kubernetes && part === "kubernetes") {
      skippedRecords += wanted.records[part].length;
      continue;
    }
    same += planRecords(wanted.records[part], there.records[part], records, inTheWay);
  }
  create.sort((a, b) => rank(a) - rank(b));
  return { create, replace, records, same, skipped, skippedRecords, unknownNodes, inTheWay };
}

/** Adds what is to be written and what is in the way; returns how many are there already. */
function planRecords(
  wanted: readonly StoredRecord[],
  there: readonly StoredRecord[],
  records: StoredRecord[],
  inTheWay: string[],
): number {
  let same = 0;
  const before = new Map(there.map(({ key, value }) => [key, value]));
  for (const record of wanted) {
    const old = before.get(record.key);
    before.delete(record.key);
    if (old === undefined) records.push(record);
    else if (canonical(old) === canonical(record.value)) same++;
    else inTheWay.push(`${record.key} (it differs)`);
  }
  inTheWay.push(...before.keys());
  return same;
}

function isCalicosNode({ kind }: Item): boolean {
  return kind.kind === "Node";
}

/** Objects that are Kubernetes' there, or are made of Kubernetes' own. */
function isKubernetes(item: Item): boolean {
  const { kind } = item.kind;
  return kind === "WorkloadEndpoint" || kind === "Profile" || isConverted(item);
}

function isBuiltIn({ kind, object }: Item): boolean {
  return kind.kind === "Tier" && Object.hasOwn(BUILT_IN_TIERS, object.metadata.name);
}

export function nameOf({ kind, object: { metadata } }: Item): string {
  const { name, namespace } = metadata;
  return `${kind.kind} ${namespace ? `${namespace}/` : ""}${name}`;
}

/** Calico's order, then endpoints and what is left. */
function rank({ kind }: Item): number {
  const at = CALICO_KINDS.indexOf(kind);
  return at < 0 ? CALICO_KINDS.length : at;
}
