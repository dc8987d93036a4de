/**
 * Where the datastore is, and how to get at it. In this order:
 *
 *   --store, else TORTIE_STORE        path of a served store's socket, or kv:PATH for an embedded one
 *   -c FILE, else /etc/tortie/config.yaml     its `store`
 *   the node's socket                 $TORTIE_RUN_DIR/tortie.sock (/run/tortie)
 *   the embedded store's file         $TORTIE_STATE_DIR/store.kv (/var/lib/tortie), where nobody serves it
 *
 * calicoctl.cfg and DATASTORE_TYPE name datastores (etcdv3, kubernetes) for which this build has no
 * driver; that is said, instead of quietly taking another one.
 */
import type { Prefix } from "../net/mod.ts";
import type { Resources } from "../store/resources.ts";
import { type Store, StoreError } from "../store/store.ts";
import { type Call, textOption } from "./command.ts";
import { CliError, EXIT, failure, type Io, usageError } from "./io.ts";

export interface StoreLocation {
  readonly kind: "socket" | "kv";
  readonly path: string;
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

/** What a store's name means: a socket's path, `unix:PATH`, `kv:PATH`, or a path that ends in .kv. */
export function parseLocation(text: string, from: string): StoreLocation {
  const [scheme, path] = /^[a-z0-9]+:/.test(text)
    ? text.split(/:(?:\/\/)?(.*)/s)
    : [text.endsWith(".kv") ? "kv" : "unix", text];
  if (path && (scheme === "kv" || scheme === "unix")) {
    return { kind: scheme === "kv" ? "kv" : "socket", path, from, named: true };
  }
  throw usageError(
    `the store "${text}" of ${from} is not understood; want the path of a served store's socket, ` +
      "or kv:PATH for an embedded store",
  );
}

/** Where a command's datastore is; the default locations are told in the order of trying. */
export async function locateStore(call: Call): Promise<StoreLocation[]> {
  const { io } = call;
  const context = textOption(call, "context");
  if (context) throw otherDriver("kubernetes", `--context ${context}`);
  const flag = textOption(call, "store");
  if (flag) return [parseLocation(flag, "--store")];
  const variable = io.env("TORTIE_STORE");
  if (variable) return [parseLocation(variable, "TORTIE_STORE")];
  const config = textOption(call, "config");
  for (const path of config ? [config] : [DEFAULT_CONFIG, CALICOCTL_CONFIG]) {
    const location = await configuredStore(path, config !== undefined);
    if (location) return [location];
  }
  const type = io.env("DATASTORE_TYPE");
  if (type && type !== "kv") throw otherDriver(type, "DATASTORE_TYPE");
  return [
    { kind: "socket", path: nodeSocket(io), from: "the node's socket", named: false },
    { kind: "kv", path: storeFile(io), from: "the embedded store", named: false },
  ];
}

async function configuredStore(path: string, must: boolean): Promise<StoreLocation | undefined> {
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
  if (typeof value?.store === "string") return parseLocation(value.store, path);
  const type = value?.datastoreType ?? value?.spec?.datastoreType;
  if (typeof type === "string" && type !== "kv") throw otherDriver(type, path);
  return undefined;
}

function otherDriver(type: string, from: string): CliError {
  return failure(
    `the datastore type "${type}" of ${from} has no driver in this build; name an embedded or ` +
      "served store with --store",
  );
}

/** An open datastore; close it when done. */
export interface OpenStore {
  readonly store: Store;
  readonly location: StoreLocation;
  close(): Promise<void>;
}

/** Opens the command's datastore; CliError "unreachable" that says what was tried. */
export async function openStore(call: Call): Promise<OpenStore> {
  const tried: string[] = [];
  for (const location of await locateStore(call)) {
    const opened = location.kind === "socket"
      ? await openSocket(location)
      : await openFile(location);
    if (typeof opened !== "string") return opened;
    tried.push(`${location.path} (${location.from}): ${opened}`);
  }
  throw new CliError(
    EXIT.unreachable,
    `the datastore cannot be reached: ${tried.join("; ")}. Start \`${call.program} node run\` or ` +
      `\`${call.program} datastore serve\`, or name a store with --store`,
  );
}

/** The store, or why it cannot be had. */
async function openSocket(location: StoreLocation): Promise<OpenStore | string> {
  const { connectUnix } = await import("../rpc/connect.ts");
  try {
    // Asked once here: a store that was never there is no store that is away for a moment.
    (await connectUnix(location.path)).close();
  } catch (error) {
    return reasonOf(error, "no such socket");
  }
  const { remoteStore } = await import("../store/remote.ts");
  const store = remoteStore(location.path);
  return { store, location, close: () => store.close() };
}

async function openFile(location: StoreLocation): Promise<OpenStore | string> {
  if (!location.named) {
    try {
      await Deno.stat(location.path);
    } catch (error) {
      return reasonOf(error, "no such file");
    }
  }
  const { openKv } = await import("../store/kv.ts");
  try {
    const store = await openKv(location.path);
    return { store, location, close: () => store.close() };
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
  const opened = await openStore(call);
  try {
    return await action(opened.store);
  } catch (error) {
    if (error instanceof StoreError && error.kind === "unavailable") {
      throw new CliError(EXIT.unreachable, `${opened.location.path}: ${error.message}`);
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
    async releasePoolAffinities(cidr: Prefix) {
      // An assignment that read the pool before it was disabled may still be under way.
      await new Promise((resolve) => setTimeout(resolve, 500));
      await (await ipam()).releasePoolAffinities(cidr);
    },
    async releaseNode(node, addresses) {
      const own = await ipam();
      await own.releaseIps(addresses.map((address) => ({ address })));
      await own.removeHost(node);
    },
  });
}
