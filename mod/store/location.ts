/**
 * Where a datastore is, as a value, and how it is read from the many places where Calico's users write
 * it down: calicoctl.cfg, environment variables (also with CALICO_ in front, which win over the bare ones,
 * as in Calico, and Felix's FELIX_ forms, which win over both), the CNI network configuration, and our own
 * `--store`. One table says how each setting is called where; `open.ts` opens what comes out. Nothing is
 * read from disk here but by name.
 *
 *     calicoctl.cfg --\
 *     environment -----> settings (text, and who said it) -> DatastoreLocation -> openDatastore
 *     CNI netconf ----/
 *
 * As in Calico the type may be left out where there are etcd endpoints, or in a file that names a
 * kubeconfig. Unlike Calico, nothing at all means no answer (undefined) and not Kubernetes: the caller then
 * has its own default. KUBECONFIG alone may have been set for kubectl, so that it is asked for by itself.
 */
import { isJsonObject } from "./json.ts";

/** A setting that cannot be understood, or two that contradict: says which, and what may stand there. */
export class LocationError extends Error {
  override readonly name = "LocationError";
}

/** A certificate or key: the path of a PEM file, which may be exchanged on disk, or the text itself. */
export type Pem = { readonly file: string } | { readonly pem: string };

export interface TlsFiles {
  /** Who signed the server's certificate, and nobody else; without it, the system's authorities count. */
  readonly ca?: Pem;
  /** The client's certificate and its key: both or neither. */
  readonly cert?: Pem;
  readonly key?: Pem;
}

/** The embedded store in a file: of the process that opens it. */
export interface KvLocation {
  readonly kind: "kv";
  readonly path: string;
}

/** A store that another process serves over a Unix socket. */
export interface SocketLocation {
  readonly kind: "socket";
  readonly path: string;
}

export interface EtcdLocation {
  readonly kind: "etcd";
  /** `http://` or `https://`, host and port, without a path; at least one. */
  readonly endpoints: readonly string[];
  readonly username?: string;
  readonly password?: string;
  readonly tls: TlsFiles;
}

/**
 * The Kubernetes API. With neither kubeconfig nor apiEndpoint: `defaultKubeconfig` where that file is
 * there, else the service account of the pod in which we run.
 */
export interface KubernetesLocation {
  readonly kind: "kubernetes";
  readonly kubeconfig?: string;
  /** The text of a kubeconfig; wins over the path. */
  readonly kubeconfigInline?: string;
  readonly defaultKubeconfig?: string;
  /** Of the kubeconfig; without it, its current one. */
  readonly context?: string;
  /** These win over what the kubeconfig says. */
  readonly apiEndpoint?: string;
  readonly token?: string;
  readonly tls: TlsFiles;
  readonly insecureSkipTlsVerify: boolean;
  /** `crd.projectcalico.org/v1` or `projectcalico.org/v3`; without it, what the server has. */
  readonly apiGroup?: "crd.projectcalico.org/v1" | "projectcalico.org/v3";
  /** IPAM is host-local's, on the podCIDR of each Node. */
  readonly usePodCidr: boolean;
}

export type DatastoreLocation = KvLocation | SocketLocation | EtcdLocation | KubernetesLocation;

type Environment = (name: string) => string | undefined;

/** How one setting is called: in calicoctl.cfg, in the environment, by Felix, by the CNI plugin. */
interface Setting {
  readonly key: string;
  readonly env?: string;
  readonly felix?: string;
  /** Path of members in the network configuration. */
  readonly cni?: string;
}

const SETTINGS = [
  { key: "datastoreType", env: "DATASTORE_TYPE", felix: "DATASTORETYPE", cni: "datastore_type" },
  { key: "etcdEndpoints", env: "ETCD_ENDPOINTS", felix: "ETCDENDPOINTS", cni: "etcd_endpoints" },
  { key: "etcdDiscoverySrv", env: "ETCD_DISCOVERY_SRV", cni: "etcd_discovery_srv" },
  // Older ways to name one endpoint.
  { key: "etcdAuthority", env: "ETCD_AUTHORITY", felix: "ETCDADDR", cni: "etcd_authority" },
  { key: "etcdScheme", env: "ETCD_SCHEME", felix: "ETCDSCHEME", cni: "etcd_scheme" },
  { key: "etcdUsername", env: "ETCD_USERNAME" },
  { key: "etcdPassword", env: "ETCD_PASSWORD" },
  { key: "etcdKeyFile", env: "ETCD_KEY_FILE", felix: "ETCDKEYFILE", cni: "etcd_key_file" },
  { key: "etcdCertFile", env: "ETCD_CERT_FILE", felix: "ETCDCERTFILE", cni: "etcd_cert_file" },
  {
    key: "etcdCACertFile",
    env: "ETCD_CA_CERT_FILE",
    felix: "ETCDCAFILE",
    cni: "etcd_ca_cert_file",
  },
  { key: "etcdKey", env: "ETCD_KEY" },
  { key: "etcdCert", env: "ETCD_CERT" },
  { key: "etcdCACert", env: "ETCD_CA_CERT" },
  { key: "kubeconfig", env: "KUBECONFIG", cni: "kubernetes.kubeconfig" },
  { key: "kubeconfigInline" },
  { key: "k8sCurrentContext", env: "K8S_CURRENT_CONTEXT" },
  { key: "k8sAPIEndpoint", env: "K8S_API_ENDPOINT", cni: "kubernetes.k8s_api_root" },
  { key: "k8sAPIToken", env: "K8S_API_TOKEN", cni: "policy.k8s_auth_token" },
  { key: "k8sKeyFile", env: "K8S_KEY_FILE", cni: "policy.k8s_client_key" },
  { key: "k8sCertFile", env: "K8S_CERT_FILE", cni: "policy.k8s_client_certificate" },
  { key: "k8sCAFile", env: "K8S_CA_FILE", cni: "policy.k8s_certificate_authority" },
  { key: "k8sInsecureSkipTLSVerify", env: "K8S_INSECURE_SKIP_TLS_VERIFY" },
  { key: "usePodCIDR", env: "USE_POD_CIDR" },
  { key: "calicoAPIGroup", env: "CALICO_API_GROUP" },
] as const satisfies readonly Setting[];

/** Keys of a Calico client configuration that say how hard it works, not where the datastore is. */
const IGNORED_KEYS = new Set(["k8sDisableNodePoll", "k8sClientQPS", "k8sClientBurst"]);

const NETCONF = "the network configuration";

type Key = typeof SETTINGS[number]["key"];

/** What was said, and how whoever said it calls the setting. */
interface Said {
  readonly text: string;
  readonly name: string;
  /** A file, or the network configuration: no variable counts beside it. */
  readonly within?: string;
}

type Settings = Partial<Record<Key, Said>>;

/** As the environment has it; undefined where it names no datastore. */
export function locationFromEnvironment(env: Environment): DatastoreLocation | undefined {
  return locationOf(environmentSettings(env), env);
}

/** DATASTORE_TYPE, under whichever of its names. */
export function datastoreTypeOf(env: Environment): string | undefined {
  return environmentSettings(env).datastoreType?.text;
}

/** The Kubernetes API of KUBECONFIG, where the environment says nothing else of the datastore. */
export function locationOfKubeconfig(env: Environment): KubernetesLocation | undefined {
  const settings = environmentSettings(env);
  if (!settings.kubeconfig || settings.datastoreType || locationOf(settings, env)) return undefined;
  return kubernetesOf(settings, env);
}

/** The Kubernetes API that kubectl would take where nothing is named; who takes it looks whether it is there. */
export function defaultKubernetes(env: Environment): KubernetesLocation {
  return kubernetesOf({}, env);
}

/**
 * As a configuration file has it, already parsed: Calico's CalicoAPIConfig, or the same keys without
 * its envelope. The whole file counts and no variable beside it, as in Calico. undefined where it names
 * no datastore.
 */
export function locationFromConfig(
  value: unknown,
  path: string,
  env: Environment,
): DatastoreLocation | undefined {
  if (value === null || value === undefined) return undefined;
  if (!isJsonObject(value)) throw new LocationError(`the configuration ${path} is not an object`);
  const { kind, apiVersion, ...rest } = inKnownCase(value, ["kind", "apiVersion", "spec"], path);
  const spec = rest.spec ?? value;
  if (kind !== undefined && kind !== "CalicoAPIConfig") {
    throw new LocationError(`the configuration ${path} is of kind "${kind}", not CalicoAPIConfig`);
  }
  if (apiVersion !== undefined && apiVersion !== "projectcalico.org/v3") {
    throw new LocationError(
      `the configuration ${path} has apiVersion "${apiVersion}", not projectcalico.org/v3`,
    );
  }
  if (!isJsonObject(spec)) {
    throw new LocationError(`spec of the configuration ${path} is no object`);
  }
  const settings: Settings = {};
  const keys = [...SETTINGS.map(({ key }) => key), ...IGNORED_KEYS];
  for (const [key, member] of Object.entries(inKnownCase(spec, keys, path))) {
    const setting = SETTINGS.find((s) => s.key === key);
    if (!setting) {
      // An envelope says that every key is Calico's: a misspelt one is told, as calicoctl does.
      if (spec === value || IGNORED_KEYS.has(key)) continue;
      throw new LocationError(
        `the configuration ${path} has the unknown key spec.${key}` +
          (key === "store" ? "; tortie's own store stands beside spec, at the left margin" : ""),
      );
    }
    add(settings, setting.key, member, `${key} of ${path}`, path);
  }
  const location = locationOf(settings, env);
  if (location || settings.datastoreType) return location;
  return settings.kubeconfig ?? settings.kubeconfigInline ? kubernetesOf(settings, env) : undefined;
}

/** With keys that differ from a known one by case alone under that one, as Go's JSON reader has them. */
function inKnownCase(
  object: Record<string, unknown>,
  known: readonly string[],
  path: string,
): Record<string, unknown> {
  const result = new Map<string, unknown>();
  for (const [key, member] of Object.entries(object)) {
    const name = known.find((one) => one.toLowerCase() === key.toLowerCase()) ?? key;
    if (result.has(name)) {
      throw new LocationError(
        `the configuration ${path} has ${name} twice, in two spellings; leave one`,
      );
    }
    result.set(name, member);
  }
  return Object.fromEntries(result);
}

/** As a CNI network configuration has it; undefined where it names no datastore. */
export function locationFromNetConf(
  fields: Record<string, unknown>,
  env: Environment = () => undefined,
): DatastoreLocation | undefined {
  const settings: Settings = {};
  for (const { key, ...names } of SETTINGS) {
    const cni: string | undefined = (names as Omit<Setting, "key">).cni;
    if (!cni) continue;
    let value: unknown = fields;
    for (const part of cni.split(".")) value = isJsonObject(value) ? value[part] : undefined;
    add(settings, key, value, `${cni} of ${NETCONF}`, NETCONF);
  }
  const { datastoreType, etcdEndpoints, etcdAuthority } = settings;
  // `kubernetes.kubeconfig` alone tells the plugin where Pods are, not where Calico's data is.
  if (!datastoreType && !etcdEndpoints && !etcdAuthority) return undefined;
  return locationOf(settings, env);
}

/** Where Pods are, as a CNI network configuration has it; undefined where it does not say. */
export function kubernetesOfNetConf(
  { kubernetes }: Record<string, unknown>,
): DatastoreLocation | undefined {
  const path = isJsonObject(kubernetes) ? kubernetes.kubeconfig : undefined;
  if (typeof path !== "string" || path === "") return undefined;
  return parseStoreName(
    `kubernetes:${path}`,
    `kubernetes.kubeconfig of ${NETCONF}`,
    () => undefined,
  );
}

/**
 * What a store's name means: `kv:PATH` or a path that ends in .kv, `unix:PATH` or the path of a socket,
 * `etcd:ENDPOINT,…` (or just the URLs), `kubernetes:` with or without the path of a kubeconfig. What
 * the name does not say of credentials comes from the environment.
 */
export function parseStoreName(text: string, from: string, env: Environment): DatastoreLocation {
  const [scheme, rest] = /^[a-z0-9]+:/.test(text)
    ? text.split(/:(?:\/\/)?(.*)/s)
    : [text.endsWith(".kv") ? "kv" : "unix", text];
  const settings = environmentSettings(env);
  delete settings.etcdDiscoverySrv;
  delete settings.etcdAuthority;
  switch (scheme) {
    case "kv":
    case "unix":
      if (rest) return { kind: scheme === "kv" ? "kv" : "socket", path: rest };
      break;
    case "http":
    case "https":
    case "etcd": {
      const endpoints = scheme === "etcd" ? text.replace(/^etcd:(\/\/)?/, "") : text;
      settings.datastoreType = { text: "etcdv3", name: from };
      settings.etcdEndpoints = { text: endpoints, name: from };
      return locationOf(settings, env)!;
    }
    case "kubernetes":
      settings.datastoreType = { text: "kubernetes", name: from };
      if (rest) settings.kubeconfig = { text: rest, name: from };
      return locationOf(settings, env)!;
  }
  throw new LocationError(
    `the store "${text}" of ${from} is not understood; want the path of a served store's socket, ` +
      "kv:PATH for an embedded store, etcd:ENDPOINTS or kubernetes:",
  );
}

/** The Kubernetes datastore in this context of the kubeconfig, whatever else the environment names. */
export function locationOfContext(context: string, env: Environment): KubernetesLocation {
  const settings = environmentSettings(env);
  settings.datastoreType = { text: "kubernetes", name: "--context" };
  settings.k8sCurrentContext = { text: context, name: "--context" };
  delete settings.k8sAPIEndpoint;
  delete settings.k8sAPIToken;
  return locationOf(settings, env) as KubernetesLocation;
}

/**
 * The Kubernetes API beside an etcd, where Pods, Nodes, Namespaces and policies are: that of KUBECONFIG,
 * else of the service account of the pod in which we run. undefined where the environment names none,
 * and beside any other datastore: what happens to be set there for kubectl is no word about it.
 */
export function locationBeside(
  datastore: DatastoreLocation,
  env: Environment,
): DatastoreLocation | undefined {
  if (datastore.kind !== "etcd") return undefined;
  const { kubeconfig } = environmentSettings(env);
  if (kubeconfig) return parseStoreName(`kubernetes:${kubeconfig.text}`, kubeconfig.name, env);
  return env("KUBERNETES_SERVICE_HOST")
    ? parseStoreName("kubernetes:", "KUBERNETES_SERVICE_HOST", env)
    : undefined;
}

/** The datastore in words, for messages; no secrets. */
export function describeLocation(location: DatastoreLocation): string {
  switch (location.kind) {
    case "kv":
    case "socket":
      return location.path;
    case "etcd":
      return `etcd at ${location.endpoints.join(", ")}`;
    case "kubernetes": {
      const { apiEndpoint, kubeconfig, context } = location;
      const where = apiEndpoint ?? kubeconfig ?? "its default place";
      return `the Kubernetes API at ${where}${context ? ` (context ${context})` : ""}`;
    }
  }
}

function environmentSettings(env: Environment): Settings {
  const settings: Settings = {};
  for (const { key, ...names } of SETTINGS) {
    const { env: name, felix } = names as Omit<Setting, "key">;
    const candidates = name ? [`CALICO_${name}`, name] : [];
    if (felix) candidates.unshift(`FELIX_${felix}`);
    const said = candidates.find((candidate) => env(candidate));
    if (said) add(settings, key, env(said), said);
  }
  return settings;
}

function add(
  settings: Settings,
  key: Key,
  value: unknown,
  name: string,
  within?: string,
): void {
  if (value === undefined || value === null || value === "") return;
  if (typeof value !== "string" && typeof value !== "boolean") {
    throw new LocationError(`${name} must be a text, not ${JSON.stringify(value)}`);
  }
  settings[key] = { text: String(value), name, within };
}

/** How a setting is to be called beside another, for advice. */
function beside({ within }: Said, key: Key): string {
  const { env, cni }: Setting = SETTINGS.find((setting) => setting.key === key)!;
  if (within === undefined) return `set ${env}`;
  const name = within === NETCONF ? cni : key;
  return name === undefined
    ? `set ${env}`
    : `set ${name} in ${within}, beside which no variable counts`;
}

function locationOf(settings: Settings, env: Environment): DatastoreLocation | undefined {
  const { datastoreType: type, etcdEndpoints, etcdAuthority, etcdDiscoverySrv } = settings;
  if (!type) {
    if (etcdEndpoints ?? etcdAuthority ?? etcdDiscoverySrv) return etcdOf(settings);
    if (settings.k8sAPIEndpoint) return kubernetesOf(settings, env);
    return undefined;
  }
  switch (type.text.toLowerCase()) {
    case "etcdv3":
    case "etcd":
      return etcdOf(settings);
    case "kubernetes":
      return kubernetesOf(settings, env);
    case "kv":
      return undefined;
    default:
      throw new LocationError(
        `the datastore type "${type.text}" of ${type.name} is not known; use etcdv3, kubernetes or kv`,
      );
  }
}

function etcdOf(settings: Settings): EtcdLocation {
  const { etcdEndpoints, etcdAuthority, etcdScheme, etcdDiscoverySrv } = settings;
  if (etcdDiscoverySrv && !etcdEndpoints) {
    throw new LocationError(
      `${etcdDiscoverySrv.name} asks for the members by DNS SRV records, which this build does not ` +
        `do; ${beside(etcdDiscoverySrv, "etcdEndpoints")}`,
    );
  }
  const tls: TlsFiles = {
    ca: pem(settings, "etcdCACertFile", "etcdCACert"),
    cert: pem(settings, "etcdCertFile", "etcdCert"),
    key: pem(settings, "etcdKeyFile", "etcdKey"),
  };
  refuseMixture(settings);
  refuseHalf(
    settings.etcdCertFile ?? settings.etcdCert,
    settings.etcdKeyFile ?? settings.etcdKey,
    "certificate",
    "key",
  );
  // As in etcd's client: a user without a password, or the reverse, is nobody.
  const { etcdUsername, etcdPassword } = settings;
  const user = etcdUsername && etcdPassword;
  const authority: Said | undefined = etcdAuthority &&
    { text: `${etcdScheme?.text || "http"}://${etcdAuthority.text}`, name: etcdAuthority.name };
  const said = etcdEndpoints ?? authority;
  if (!said) {
    const { datastoreType } = settings;
    throw new LocationError(
      `${datastoreType!.name} says etcdv3, but no endpoint is named; ` +
        beside(datastoreType!, "etcdEndpoints"),
    );
  }
  const secure = tls.ca !== undefined || tls.cert !== undefined;
  // Calico passes over what is empty beside others: a comma at the end.
  const endpoints = said.text.split(",").map((text) => text.trim());
  const written = endpoints.filter((text) => text !== "");
  return {
    kind: "etcd",
    endpoints: (written.length > 0 ? written : endpoints)
      .map((text) => endpoint(text, said, secure)),
    username: user && etcdUsername.text,
    password: user && etcdPassword.text,
    tls,
  };
}

/** One endpoint as an origin; without a scheme, certificates say which one is meant. */
function endpoint(text: string, said: Said, secure: boolean): string {
  const bad = (why: string) =>
    new LocationError(
      `the endpoint "${text.replace(/\/\/.*@/, "//…@")}" of ${said.name} ${why}; ` +
        "write http://HOST:PORT or https://HOST:PORT, separated by commas",
    );
  if (text === "") throw bad("is empty");
  const url = URL.parse(text.includes("://") ? text : `${secure ? "https" : "http"}://${text}`);
  if (!url || url.hostname === "") throw bad("is not understood");
  if (url.protocol !== "http:" && url.protocol !== "https:") {
    throw bad(`has the scheme ${url.protocol.slice(0, -1)}`);
  }
  if (url.username || url.password) {
    throw bad(`holds a user; ${beside(said, "etcdUsername")}, and the password likewise`);
  }
  if ((url.pathname !== "/" && url.pathname !== "") || url.search || url.hash) {
    throw bad("has a path behind the port");
  }
  return url.origin;
}

/** Certificates come either all from files or all inline, as in Calico. */
function refuseMixture(settings: Settings): void {
  const files = settings.etcdKeyFile ?? settings.etcdCertFile ?? settings.etcdCACertFile;
  const inline = settings.etcdKey ?? settings.etcdCert ?? settings.etcdCACert;
  if (files && inline) {
    throw new LocationError(
      `${inline.name} is given inline and ${files.name} as a file; give certificates and key all ` +
        "as files or all inline",
    );
  }
}

function refuseHalf(
  first: Said | undefined,
  second: Said | undefined,
  one: string,
  other: string,
): void {
  if ((first === undefined) === (second === undefined)) return;
  const [there, missing] = first ? [first, other] : [second!, one];
  throw new LocationError(`${there.name} is set but no ${missing} beside it; set both or neither`);
}

function pem(settings: Settings, file: Key, inline: Key): Pem | undefined {
  const path = settings[file], text = settings[inline];
  if (path) return { file: path.text };
  if (!text) return undefined;
  if (!text.text.includes("-----BEGIN ")) {
    throw new LocationError(`${text.name} is no PEM text (it has no "-----BEGIN" line)`);
  }
  return { pem: text.text };
}

function kubernetesOf(settings: Settings, env: Environment): KubernetesLocation {
  const { k8sKeyFile, k8sCertFile, calicoAPIGroup: group } = settings;
  refuseHalf(k8sCertFile, k8sKeyFile, "client certificate", "client key");
  const apiEndpoint = settings.k8sAPIEndpoint;
  if (apiEndpoint && !/^https?:\/\/[^/]/.test(apiEndpoint.text)) {
    throw new LocationError(`${apiEndpoint.name}="${apiEndpoint.text}" is not an http(s) URL`);
  }
  if (group && group.text !== "crd.projectcalico.org/v1" && group.text !== "projectcalico.org/v3") {
    throw new LocationError(
      `${group.name}="${group.text}" is not one of crd.projectcalico.org/v1, projectcalico.org/v3`,
    );
  }
  const file = (key: Key): Pem | undefined => {
    const path = settings[key]?.text;
    return path ? { file: path } : undefined;
  };
  const home = env("HOME");
  return {
    kind: "kubernetes",
    kubeconfig: settings.kubeconfig?.text,
    kubeconfigInline: settings.kubeconfigInline?.text,
    defaultKubeconfig: home ? `${home}/.kube/config` : undefined,
    context: settings.k8sCurrentContext?.text,
    apiEndpoint: apiEndpoint?.text,
    token: settings.k8sAPIToken?.text,
    tls: { ca: file("k8sCAFile"), cert: file("k8sCertFile"), key: file("k8sKeyFile") },
    insecureSkipTlsVerify: boolean(settings.k8sInsecureSkipTLSVerify),
    apiGroup: group?.text as KubernetesLocation["apiGroup"],
    usePodCidr: boolean(settings.usePodCIDR),
  };
}

/** As Go's strconv.ParseBool. */
function boolean(said: Said | undefined): boolean {
  if (!said) return false;
  if (/^(1|t|true)$/i.test(said.text)) return true;
  if (/^(0|f|false)$/i.test(said.text)) return false;
  throw new LocationError(`${said.name}="${said.text}" is not a boolean; use true or false`);
}
