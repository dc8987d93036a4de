/**
 * Where the datastore is, and how to get at it. In this order:
 *
 *   --store, else TORTIE_STORE        a served store's socket, kv:PATH, etcd:ENDPOINTS, kubernetes:
 *   --context                         the Kubernetes API of that context of the kubeconfig
 *   -c FILE, else /etc/tortie/config.yaml     its `store`, or Calico's keys
 *   /etc/calico/calicoctl.cfg         Calico's keys; where a file names a datastore, no variable counts
 *   DATASTORE_TYPE, ETCD_ENDPOINTS …  Calico's variables
 *   the node's socket                 $TORTIE_RUN_DIR/tortie.sock (/run/tortie)
 *   the embedded store's file         $TORTIE_STATE_DIR/store.kv (/var/lib/tortie), where nobody serves it
 *
 * What each of these may say is read in `mod/store/location.ts`.
 */
import type { Prefix } from "../net/mod.ts";
import {
  type DatastoreLocation,
  describeLocation,
  LocationError,
  locationFromConfig,
  locationFromEnvironment,
  locationOfContext,
  parseStoreName,
} from "../store/location.ts";
import { openDatastore } from "../store/open.ts";
import type { Resources } from "../store/resources.ts";
import { type Store, StoreError } from "../store/store.ts";
import { type Call, textOption } from "./command.ts";
import { CliError, EXIT, failure, type Io, usageError } from "./io.ts";

/** One place where the datastore may be. */
export interface Candidate {
  readonly location: DatastoreLocation;
  /** Who named it, for messages: `--store`, `TORTIE_STORE`, `the node's socket`. */
  readonly from: string;
  /** Named by the user, so that a file that is not there is made. */
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
  return [
    {
      location: { kind: "socket", path: nodeSocket(io) },
      from: "the node's socket",
      named: false,
    },
    { location: { kind: "kv", path: storeFile(io) }, from: "the embedded store", named: false },
  ];
}

async function namedStore(call: Call): Promise<Candidate | undefined> {
  const { io } = call;
  const env = (name: string) => io.env(name);
  const store = textOption(call, "store");
  const context = textOption(call, "context");
  const [name, from] = store ? [store, "--store"] : [io.env("TORTIE_STORE"), "TORTIE_STORE"];
  if (store || (name && !context)) {
    return { location: parseStoreName(name!, from, env), from, named: true };
  }
  if (context) {
    const from = `--context ${context}`;
    return { location: locationOfContext(context, env), from, named: true };
  }
  const configured = await configuredStore(io, textOption(call, "config"));
  if (configured) return configured;
  const location = locationFromEnvironment(env);
  return location && { location, from: "the environment", named: true };
}

/** What configuration files name: this one, or those in their usual places. */
export async function configuredStore(
  io: Io,
  config: string | undefined,
): Promise<Candidate | undefined> {
  for (const path of config ? [config] : [DEFAULT_CONFIG, CALICOCTL_CONFIG]) {
    const location = await inWords(() => storeOfFile(io, path, config !== undefined));
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
    text = await Deno.readTextFile(path);
  } catch (error) {
    if (!must && error instanceof Deno.errors.NotFound) return undefined;
    throw failure(`the configuration ${path} cannot be read: ${(error as Error).message}`);
  }
  const { parseYaml, YamlError } = await import("./yaml.ts");
  let value: any;
  try {
    value = parseYaml(text, path)[0]?.value;
  } catch (error) {
    if (error instanceof YamlError) throw failure(error.message);
    throw error;
  }
  const env = (name: string) => io.env(name);
  if (typeof value?.store === "string") return parseStoreName(value.store, path, env);
  return locationFromConfig(value, path, env);
}

async function inWords<T>(action: () => Promise<T>): Promise<T> {
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

/** Opens the command's datastore; CliError "unreachable" that says what was tried. */
export async function openStore(call: Call): Promise<OpenStore> {
  const tried: string[] = [];
  for (const candidate of await locateStore(call)) {
    const { location, from } = candidate;
    const opened = await open(candidate);
    if (typeof opened !== "string") {
      return { store: opened, location, close: () => opened.close() };
    }
    tried.push(`${describeLocation(location)} (${from}): ${opened}`);
    if (location.kind === "etcd" || location.kind === "kubernetes") {
      throw new CliError(EXIT.unreachable, `the datastore cannot be used: ${tried[0]}`);
    }
  }
  throw new CliError(
    EXIT.unreachable,
    `the datastore cannot be reached: ${tried.join("; ")}. Start \`${call.program} node run\` or ` +
      `\`${call.program} datastore serve\`, or name a store with --store`,
  );
}

/** The store, or why it cannot be had. */
async function open({ location, named }: Candidate): Promise<Store | string> {
  try {
    if (location.kind === "socket") {
      // Asked once here: a store that was never there is no store that is away for a moment.
      const { connectUnix } = await import("../rpc/connect.ts");
      (await connectUnix(location.path)).close();
    }
    if (location.kind === "kv" && !named) await Deno.stat(location.path);
  } catch (error) {
    return reasonOf(error, location.kind === "kv" ? "no such file" : "no such socket");
  }
  try {
    return await openDatastore(location, { lazily: location.kind === "socket" });
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
export async function withStore<T>(call: Call, action: (store: Store) => Promise<T>): Promise<T> {
  return await withOpen(await openStore(call), action);
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
): Promise<T> {
  return withStore(call, async (store) => action(await resourcesOf(store)));
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
      const own = await ipam();
      await own.releaseIps(addresses.map((address) => ({ address })));
      await own.removeHost(node);
    },
  });
}
