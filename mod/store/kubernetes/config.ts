/**
 * What the driver must be told of the cluster: the same members as a Kubernetes location, which
 * `../location.ts` reads from Calico's many places.
 *
 *     kubeconfig text or path(s), or its default path where that file is there
 *         + context -> cluster + user          (kubeconfig.ts)
 *     else the service account of the pod in which we run   (cluster.ts)
 *         + apiEndpoint, token, tls of our own, which win over both
 */

import type { KubernetesLocation } from "../location.ts";

export type { Pem } from "../location.ts";

export interface KubernetesConfig extends Partial<Omit<KubernetesLocation, "kind">> {
  /** First part of the names of pods' interfaces on the host (Felix's InterfacePrefix): `cali`. */
  readonly interfacePrefix?: string;
}

/** How long things may take, in milliseconds. Tests shorten them. */
export interface Timing {
  /** One answer, or the beginning of a stream. */
  readonly answerMs: number;
  /** A read is tried again for so long while the server is away. */
  readonly patienceMs: number;
  /** No watch has said a word for so long: the server is asked for a sign of life (`pulse.ts`). */
  readonly pulseMs: number;
  /** A watch stays without a word for so long: it is opened anew. Bookmarks come each minute. */
  readonly silenceMs: number;
  /** A watch is tried again for so long before its reader hears that the server is away. */
  readonly outageMs: number;
  /** A kind that was not served is asked for again after so long. */
  readonly missingMs: number;
  /** How old a token from a file may be. */
  readonly tokenMs: number;
}

export const TIMING: Timing = {
  answerMs: 15_000,
  patienceMs: 10_000,
  pulseMs: 30_000,
  silenceMs: 150_000,
  outageMs: 30_000,
  missingMs: 45_000,
  tokenMs: 60_000,
};
