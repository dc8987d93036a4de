/**
 * What the driver must be told of the cluster: the same members as a Kubernetes location, which
 * `../location.ts` reads from Calico's many places.
 *
 *     kubeconfig text or path(s), or its default path where that file is there
 *         + context -> cluster + user          (kubeconfig.ts)
 *     else the service account of the pod in which we run   (cluster.ts)
 *         + apiEndpoint, token, tls of our own, which win over both
 */

/** A certificate or key: the path of a PEM file, which may be exchanged on disk, or the text itself. */
export type Pem = { readonly file: string } | { readonly pem: string };

export interface KubernetesConfig {
  /** One path, or several with `:` between, as $KUBECONFIG. */
  readonly kubeconfig?: string;
  /** The text of a kubeconfig; wins over the path. */
  readonly kubeconfigInline?: string;
  /** Used where no kubeconfig and no apiEndpoint is named, and the file is there. */
  readonly defaultKubeconfig?: string;
  /** Of the kubeconfig; without it, its current one. */
  readonly context?: string;
  /** `https://host:port`, with or without a path. These win over what the kubeconfig says. */
  readonly apiEndpoint?: string;
  readonly token?: string;
  readonly tls?: { readonly ca?: Pem; readonly cert?: Pem; readonly key?: Pem };
  readonly insecureSkipTlsVerify?: boolean;
  /** Only Calico's classic group is served by this driver; the other one is refused. */
  readonly apiGroup?: "crd.projectcalico.org/v1" | "projectcalico.org/v3";
  /** IPAM is host-local's, on the podCIDR of each Node: tunnel addresses follow from it. */
  readonly usePodCidr?: boolean;
  /** First part of the names of pods' interfaces on the host (Felix's InterfacePrefix): `cali`. */
  readonly interfacePrefix?: string;
}

/** How long things may take, in milliseconds. Tests shorten them. */
export interface Timing {
  /** One answer, or the beginning of a stream. */
  readonly answerMs: number;
  /** A read is tried again for so long while the server is away. */
  readonly patienceMs: number;
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
  silenceMs: 150_000,
  outageMs: 30_000,
  missingMs: 45_000,
  tokenMs: 60_000,
};
