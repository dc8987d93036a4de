/**
 * Where the datastore is, and how to get at it. What the command line says counts before any variable.
 * In this order:
 *
 *   --store                           a served store's socket, kv:PATH, etcd:ENDPOINTS, kubernetes:
 *   -c FILE                           its `store`, or Calico's keys; it must name one
 *   --context                         the Kubernetes API of that context of the kubeconfig (or of FILE); under the
 *                                     name calicoctl a context of the Kubernetes API that is named anyway, or of
 *                                     that of kubectl where nothing is; another datastore it leaves as it is
 *   TORTIE_STORE                      as --store
 *   /etc/tortie/config.yaml           as -c, where it is there and names one
 *   /etc/calico/calicoctl.cfg         likewise; under the name calicoctl before tortie's file
 *   DATASTORE_TYPE, ETCD_ENDPOINTS …  Calico's variables; no such counts where a file names a datastore
 *   KUBECONFIG alone                  unless this machine has an embedded store; under the name calicoctl always
 *   the node's socket                 $TORTIE_RUN_DIR/tortie.sock (/run/tortie)
 *   the embedded store's file         $TORTIE_STATE_DIR/store.kv (/var/lib/tortie), where nobody serves it
 *   ~/.kube/config                    where there is no such file; or the service account of our pod
 *
 * What each of these may say is read in `mod/store/location.ts`. `WHERE_HELP` in `commands.ts` says the same to users.
 */
import type { Prefix } from "../net/mod.ts";
import {
  type DatastoreLocation,
  datastoreTypeOf,
  defaultKubernetes,
  describeLocation,
  LocationError,
  locationFromConfig,
  locationFromEnvironment,
  locationOfContext,
  locationOfKubeconfig,
  parseStoreName,
} from "../store/location.ts";
import { openDatastore } from "../store/open.ts";
import type { Resources } from "../store/resources.ts";
import { type Store, StoreError } from "../store/store.ts";
import { type Call, textOption } from "./command.ts";
import { fileReason, readTextOf } from "./files.ts";
import { CliError, EXIT, type Io, usageError } from "./io.ts";
import { visible } from "./visible.ts";
import type { Program } from "./voice.ts";

/** One place where the datastore may be. */
export interface Candidate {
  readonly location: DatastoreLocation;
  /** Who named it, for messages: `--store`, `TORTIE_STORE`, `the node's socket`. */
  readonly from: string;
  /** Named by the user, so that a command that writes makes a file that is not there. */
  readonly named: boolean;
}

export const DEFAULT_CONFIG = "/etc/tortie/config.yaml";
export const CALICOCTL_CONFIG = "/etc/calico/calicoctl.cfg";

/** The socket of this machine's node service. */
export function nodeSocket(io: Io): string {
  return `${io.env("TORTIE_RUN_DIR") || "/run/tortie"}/tortie.sock`;
}

function storeFile(io: Io): string {
  return `${io.env("TORTIE_STATE_DIR") || "/var/lib/tortie"}/store.kv`;
}

/** Where a command's datastore is; the default locations are told in the order of trying. */
export async function locateStore(call: Call): Promise<Candidate[]> {
  const { io } = call;
  const named = await inWords(() => namedStore(call));
  if (named) return [named];
  const own: Candidate[] = [
    {
      location: { kind: "socket", path: nodeSocket(io) },
      from: "the node's socket",
      named: false,
    },
    { location: { kind: "kv", path: storeFile(io) }, from: "the embedded store", named: false },
  ];
  // A store that is there and cannot be used is told, and no other cluster taken for it.
  if (await isThere(storeFile(io))) return own;
  const location = await inWords(() => defaultCluster(io));
  return location ? [...own, { location, from: "the default", named: false }] : own;
}

/** The cluster that kubectl would ask without KUBECONFIG. */
async function defaultCluster(io: Io): Promise<DatastoreLocation | undefined> {
  if (datastoreTypeOf((name) => io.env(name))) return undefined;
  const location = defaultKubernetes((name) => io.env(name));
  const { defaultKubeconfig: file } = location;
  if (file && await isThere(file)) return { ...location, kubeconfig: file };
  return io.env("KUBERNETES_SERVICE_HOST") ? location : undefined;
}

/**
 * The Kubernetes API of KUBECONFIG where nothing else names a datastore. On a machine with an embedded
 * store it is there for kubectl, and what was in that store must not seem gone.
 */
export async function kubeconfigAlone(
  io: Io,
  program: Program,
): Promise<DatastoreLocation | undefined> {
  const location = await inWords(() => locationOfKubeconfig((name) => io.env(name)));
  if (!location || program !== "calicoctl" && await isThere(storeFile(io))) return undefined;
  return location;
}

/** Also where it cannot be told, as behind a directory that this user may not enter. */
async function isThere(path: string): Promise<boolean> {
  return await Deno.stat(path).then(
    () => true,
    (error) => !(error instanceof Deno.errors.NotFound),
  );
}

async function namedStore(call: Call): Promise<Candidate | undefined> {
  const env = (name: string) => call.io.env(name);
  const store = textOption(call, "store");
  if (store) {
    return { location: parseStoreName(store, "--store", env), from: "--store", named: true };
  }
  const config = textOption(call, "config");
  const context = textOption(call, "context");
  if (context === undefined) return config ? await ofFile(call.io, config) : await ofMachine(call);
  const ofContext = (): Candidate => ({
    location: locationOfContext(context, env),
    from: `--context ${context}`,
    named: true,
  });
  const calicoctl = call.program === "calicoctl";
  if (config === undefined && !calicoctl) return ofContext();
  const found = config ? await ofFile(call.io, config) : await ofMachine(call);
  if (found?.location.kind === "kubernetes") {
    // K8S_API_ENDPOINT and a token of variables are of no context.
    const isVariables = found.from === "the environment" || found.from === "KUBECONFIG";
    return isVariables ? ofContext() : { ...found, location: { ...found.location, context } };
  }
  if (calicoctl) return found ?? ofContext();
  throw usageError(
    `--context ${context} is one of the Kubernetes API, and ${config} names ` +
      `${describeLocation(found!.location)}; give one of the two`,
  );
}

async function ofFile(io: Io, config: string): Promise<Candidate> {
  return { location: await namedInFile(io, config), from: `-c ${config}`, named: true };
}

/** What variables and the files in their usual places name. */
async function ofMachine({ io, program }: Call): Promise<Candidate | undefined> {
  const env = (name: string) => io.env(name);
  const variable = io.env("TORTIE_STORE");
  if (variable) {
    const from = "TORTIE_STORE";
    return { location: parseStoreName(variable, from, env), from, named: true };
  }
  const configured = await configuredStore(io, program);
  if (configured) return configured;
  const location = locationFromEnvironment(env);
  if (location) return { location, from: "the environment", named: true };
  const kubeconfig = await kubeconfigAlone(io, program);
  return kubeconfig && { location: kubeconfig, from: "KUBECONFIG", named: true };
}

/** What the file of -c names; it is an error where that is nothing: another datastore was meant. */
export async function namedInFile(io: Io, path: string): Promise<DatastoreLocation> {
  const location = await inWords(() => storeOfFile(io, path, true));
  if (location) return location;
  throw usageError(
    `the configuration ${path} names no datastore; want store: WHERE at the left margin, or below spec ` +
      "Calico's keys, such as datastoreType and etcdEndpoints, or kubeconfig",
  );
}

/** What configuration files in their usual places name. */
export async function configuredStore(
  io: Io,
  program: Program,
): Promise<Candidate | undefined> {
  const usual = [DEFAULT_CONFIG, CALICOCTL_CONFIG];
  for (const path of program === "calicoctl" ? usual.reverse() : usual) {
    const location = await inWords(() => storeOfFile(io, path, false));
    if (location) return { location, from: path, named: true };
  }
  return undefined;
}

async function storeOfFile(
  io: Io,
  path: string,
  must: boolean,
): Promise<DatastoreLocation | undefined> {
  let text: string;
  try {
    text = await readTextOf(path, io);
  } catch (error) {
    if (!must && error instanceof Deno.errors.NotFound) return undefined;
    if (error instanceof CliError) throw usageError(error.message);
    throw usageError(`the configuration ${path} cannot be read: ${fileReason(error)}`);
  }
  const { parseYaml, YamlError } = await import("./yaml.ts");
  let value: any;
  try {
    value = parseYaml(text, path)[0]?.value;
  } catch (error) {
    if (error instanceof YamlError) throw usageError(error.message);
    throw error;
  }
  const env = (name: string) => io.env(name);
  if (typeof value?.store === "string") return parseStoreName(value.store, path, env);
  return locationFromConfig(value, path, env);
}

async function inWords<T>(action: () => T | Promise<T>): Promise<T> {
  try {
    return await action();
  } catch (error) {
    if (error instanceof LocationError) throw usageError(error.message);
    throw error;
  }
}

/** An open datastore; close it when done. */
export interface OpenStore {
  readonly store: Store;
  readonly location: DatastoreLocation;
  close(): Promise<void>;
}

export interface OpenOptions {
  /** An embedded store that is named and not there is made: the command fills it. */
  readonly make?: boolean;
  /** Hears what is wrong and does not keep the store from going on. */
  readonly onTrouble?: (message: string) => void;
}

/** Opens the command's datastore; CliError "unreachable" that says what was tried. */
export async function openStore(call: Call, options: OpenOptions = {}): Promise<OpenStore> {
  const tried: string[] = [];
  for (const candidate of await locateStore(call)) {
    const { location, from } = candidate;
    const opened = await open(call, candidate, options);
    if (typeof opened !== "string") {
      return { store: opened, location, close: () => opened.close() };
    }
    tried.push(`${describeLocation(location)} (${from}): ${opened}`);
    if (candidate.named && (location.kind === "etcd" || location.kind === "kubernetes")) {
      throw new CliError(EXIT.unreachable, `the datastore cannot be used: ${tried[0]}`);
    }
  }
  const remedy = call.program === "calicoctl"
    ? "Name a datastore with -c FILE or in the environment (DATASTORE_TYPE and ETCD_ENDPOINTS or " +
      "KUBECONFIG), or start the node service"
    : "Start `tortie node run` or `tortie datastore serve`, or name a store with --store";
  throw new CliError(
    EXIT.unreachable,
    `the datastore cannot be reached: ${tried.join("; ")}. ${remedy}`,
  );
}

/** The store, or why it cannot be had. */
async function open(
  { io }: Call,
  { location, named }: Candidate,
  { make = false, onTrouble }: OpenOptions,
): Promise<Store | string> {
  try {
    if (location.kind === "socket") {
      // Asked once here: a store that was never there is no store that is away for a moment.
      const { connectUnix } = await import("../rpc/connect.ts");
      (await connectUnix(location.path)).close();
    }
    if (location.kind === "kv" && !(named && make)) await Deno.stat(location.path);
  } catch (error) {
    if (location.kind === "socket") return reasonOf(error, "no such socket");
    return reasonOf(error, `no such file${named ? " (apply, create and import make one)" : ""}`);
  }
  try {
    return await openDatastore(location, {
      lazily: location.kind === "socket",
      onTrouble,
      onWarning: onTrouble ?? ((message) => io.stderr(`warning: ${visible(message)}\n`)),
    });
  } catch (error) {
    if (error instanceof StoreError) return error.message;
    throw error;
  }
}

function reasonOf(error: unknown, absent: string): string {
  if (error instanceof Deno.errors.NotFound) return absent;
  if (error instanceof Deno.errors.ConnectionRefused) return "nobody serves it";
  if (error instanceof Deno.errors.PermissionDenied) return "this user may not use it";
  return (error as Error).message;
}

/** Runs an action on the command's datastore. */
export async function withStore<T>(
  call: Call,
  action: (store: Store) => Promise<T>,
  options: OpenOptions = {},
): Promise<T> {
  return await withOpen(await openStore(call, options), action);
}

/** As withStore, where more than the store itself is of interest. */
export async function withOpen<T>(
  opened: OpenStore,
  action: (store: Store) => Promise<T>,
): Promise<T> {
  try {
    return await action(opened.store);
  } catch (error) {
    if (error instanceof StoreError && error.kind === "unavailable") {
      throw new CliError(
        EXIT.unreachable,
        `${describeLocation(opened.location)}: ${error.message}`,
      );
    }
    throw error;
  } finally {
    await opened.close();
  }
}

/** Runs an action on the resources of the command's datastore. */
export function withResources<T>(
  call: Call,
  action: (resources: Resources) => Promise<T>,
  options: OpenOptions = {},
): Promise<T> {
  return withStore(call, async (store) => action(await resourcesOf(store)), options);
}

/** Resources whose deletion takes their addresses and blocks along. */
export async function resourcesOf(store: Store): Promise<Resources> {
  const { Resources } = await import("../store/resources.ts");
  const ipam = async () => new (await import("../ipam/ipam.ts")).Ipam(store);
  return new Resources(store, {
    async releasePoolAffinities(cidr: Prefix, heirs: readonly Prefix[]) {
      // An assignment that read the pool before it was disabled may still be under way.
      await new Promise((resolve) => setTimeout(resolve, 500));
      await (await ipam()).releasePoolAffinities(cidr, heirs);
    },
    async releaseNode(node, addresses) {
      await (await ipam()).releaseNode(node, addresses);
    },
  });
}
