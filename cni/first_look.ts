/**
 * All that an ADD asks of the records before it does anything, asked in one turn: each answer would cost
 * a round trip of its own otherwise, and they cost more than all that ADD does in the kernel. The caller
 * holds the attachment's locks, so nobody of this node writes meanwhile what is asked here; what others
 * write is found out by compare-and-swap, or was asked too early whenever it was asked.
 *
 * The answers are judged in the order in which `attach.ts` awaits them, whichever came first or failed.
 */

import type { Family, Ip } from "../mod/net/mod.ts";
import type { ReadAhead } from "../mod/ipam/types.ts";
import type { CniDeps } from "./deps.ts";
import { hasNetworkProfile, siblingEndpoints } from "./endpoint.ts";
import { type EndpointEntry, readEndpoint } from "./endpoint_record.ts";
import type { Attachment } from "./environment.ts";
import type { EndpointIdentity } from "./identity.ts";
import type { NetConf } from "./netconf.ts";
import { checkDatastoreReady } from "./status.ts";
import { readSubject, type Subject } from "./subject.ts";

export interface FirstLook {
  /** Rejects while the datastore is locked. */
  readonly ready: Promise<void>;
  readonly subject: Promise<Subject>;
  /** What stands under the attachment's own key. */
  readonly found: Promise<EndpointEntry | undefined>;
  /** Endpoints whose host sides may have the names that this one's could get. */
  readonly others: Promise<EndpointEntry[]>;
  /**
   * What the attachment's handle has in IPAM; undefined: there is no such handle. Asked when it is called,
   * where that is a look into files.
   */
  readonly held: () => Promise<readonly Ip[] | undefined>;
  /** What an automatic assignment follows from. */
  readonly ahead: ReadAhead | undefined;
  /** Whether the network has the profile of plain containers; undefined: not asked, since a pod is named. */
  readonly profiled: Promise<boolean> | undefined;
}

export function lookFirst(
  deps: CniDeps,
  conf: NetConf,
  attachment: Attachment,
  identity: EndpointIdentity,
): FirstLook {
  const { store, ipam } = deps;
  const families: Family[] = [];
  if (conf.ipam.assignIpv4) families.push(4);
  if (conf.ipam.assignIpv6) families.push(6);
  const held = () => ipam.ipsByHandle(identity.handle);
  const asked = ipam.readAhead && held();
  const look: FirstLook = {
    ready: checkDatastoreReady(store, deps.locked),
    subject: readSubject(
      deps.kubernetes ?? store,
      identity,
      conf.policyFromKubernetes,
      attachment.args.podUid,
    ),
    found: readEndpoint(store, identity.key),
    others: siblingEndpoints(store, identity),
    held: () => asked ?? held(),
    ahead: ipam.readAhead?.({
      host: identity.node,
      use: "Workload",
      namespace: identity.pod === undefined ? undefined : identity.namespace,
    }, families),
    profiled: identity.pod === undefined ? hasNetworkProfile(store, conf.name) : undefined,
  };
  // Who failed before is told, and then nobody awaits the others.
  const { ready, subject, found, others, profiled } = look;
  for (const answer of [ready, subject, found, others, asked, profiled]) answer?.catch(() => {});
  return look;
}
