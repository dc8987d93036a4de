/**
 * A list over one kind or many, as of one moment. The first kind is listed as of now, which tells the
 * counter's value R; all others as they were at R (`resourceVersionMatch=Exact`), page by page. Where R
 * has been compacted away before all were read, or the server was lost meanwhile (its etcd may have been
 * put back from a backup, and hold another state of R), it begins anew.
 *
 * That needs one counter for all kinds: kube-apiserver gives the revision of its etcd, which is one for
 * all, unless it runs with --etcd-servers-overrides for a resource that we read. Before the first list
 * over many kinds that is looked at: asked one after the other, the counters must not go down. Where
 * they do, the list is refused, because a watch from R would lose or repeat that kind's events.
 */
import {
  type BrokenEntry,
  compareRevisions,
  type Entry,
  type Listing,
  StoreError,
} from "../store.ts";
import type { KubernetesApi } from "./api.ts";
import { ApiError, Unreachable } from "./failure.ts";
import type { Missing } from "./missing.ts";
import { revisionOf, type Source } from "./source.ts";
import type { Part } from "./sources.ts";

const ATTEMPTS = 6;
/** Kinds that are listed side by side. */
const SIDE_BY_SIDE = 4;

interface Found {
  readonly entries: Entry[];
  readonly broken: BrokenEntry[];
}

export async function listParts<T>(
  api: KubernetesApi,
  missing: Missing,
  cheapest: Source,
  parts: readonly Part[],
  prefix: string,
): Promise<Listing<T>> {
  for (let attempt = 1;; attempt++) {
    const { losses } = api.connection;
    try {
      const found: Found = { entries: [], broken: [] };
      const revision = await atOneMoment(api, missing, cheapest, parts, prefix, found);
      if (losses !== api.connection.losses) {
        if (attempt < ATTEMPTS) continue;
        throw new Unreachable("it was lost again and again while all was listed", true);
      }
      const { entries, broken } = found;
      // Names of Kubernetes are ASCII: the order of units is that of bytes, and ten times as quick.
      entries.sort((a, b) => a.key < b.key ? -1 : 1);
      return { entries: entries as Entry<T>[], ...(broken.length > 0 && { broken }), revision };
    } catch (error) {
      const gone = error instanceof ApiError && (error.status === 410 || error.isFuture);
      if (!gone || attempt === ATTEMPTS) throw error;
    }
  }
}

async function atOneMoment(
  api: KubernetesApi,
  missing: Missing,
  cheapest: Source,
  parts: readonly Part[],
  prefix: string,
  found: Found,
): Promise<string> {
  const rest = [...parts];
  let revision: string | undefined;
  while (revision === undefined && rest.length > 0) {
    const part = rest.shift()!;
    revision = await readPart(api, missing, part, prefix, found);
  }
  revision ??= await anyRevision(api, missing, cheapest);
  const moment = revision;
  await Promise.all(Array.from({ length: SIDE_BY_SIDE }, async () => {
    for (let part; (part = rest.shift());) {
      await readPart(api, missing, part, prefix, found, moment);
    }
  }));
  return revision;
}

/** Adds what one kind has; its revision, or undefined where the kind is not served. */
async function readPart(
  api: KubernetesApi,
  missing: Missing,
  { source, narrowings }: Part,
  prefix: string,
  found: Found,
  exactly?: string,
): Promise<string | undefined> {
  let revision = exactly;
  if (missing.isKnown(source)) return undefined;
  for (const narrowing of narrowings) {
    try {
      for await (const page of api.pages(source.resource, narrowing, revision)) {
        revision ??= page.resourceVersion;
        for (const object of page.items) {
          const readings = source.read(object);
          if (readings.length === 0 && source.strange) {
            const revision = revisionOf(object), told = source.strange(object);
            // A record of IPAM may be told by its object's name alone, which no prefix fits.
            const asked = source.isMarked ? told : told.filter(({ key }) => key.startsWith(prefix));
            found.broken.push(...asked.map((one) => ({ ...one, revision })));
          }
          for (const { key, value } of readings) {
            if (value === undefined || !key.startsWith(prefix)) continue;
            found.entries.push({ key, value, revision: revisionOf(object) });
          }
        }
      }
    } catch (error) {
      const meant = await missing.meaning(source, error);
      if (meant === undefined) return undefined;
      throw meant;
    }
  }
  return revision;
}

/** The counter, whatever kinds are served. */
export async function anyRevision(
  api: KubernetesApi,
  missing: Missing,
  cheapest: Source,
): Promise<string> {
  if (!missing.isKnown(cheapest)) {
    try {
      return await api.revision(cheapest.resource);
    } catch (error) {
      const meant = await missing.meaning(cheapest, error);
      if (meant !== undefined) throw meant;
    }
  }
  // Without Calico's CRDs, the namespaces are there.
  return await api.revision(NAMESPACES);
}

const NAMESPACES = {
  group: "",
  version: "v1",
  plural: "namespaces",
  kind: "Namespace",
  namespaced: false,
};

/** Throws where two kinds have different counters. */
export async function checkOneCounter(
  api: KubernetesApi,
  missing: Missing,
  sources: readonly Source[],
): Promise<void> {
  let last: { revision: string; plural: string } | undefined;
  for (const source of sources) {
    if (missing.isKnown(source)) continue;
    const { plural } = source.resource;
    let revision: string;
    try {
      revision = await api.revision(source.resource);
    } catch (error) {
      const meant = await missing.meaning(source, error);
      if (meant === undefined) continue;
      throw meant;
    }
    if (!/^[0-9]+$/.test(revision) || (last && compareRevisions(revision, last.revision) < 0)) {
      throw new StoreError(
        "invalid",
        `the Kubernetes API ${api.server} counts ${plural} apart (${revision} after ` +
          `${last?.revision ?? "nothing"} of ${last?.plural ?? "the others"}): it keeps them in ` +
          "another etcd (--etcd-servers-overrides), and tortie needs one for all that it reads",
      );
    }
    last = { revision, plural };
  }
}
