/**
 * What the plugin does where no node service answers. Loaded only then.
 *
 *   ADD      code 11: without the service no policy reaches the kernel, and an address without policy
 *            must not be given. The IPAM plugin under another interface plugin has no policy to wait
 *            for: on etcd and Kubernetes, whose data is there without this node's service, it answers
 *   STATUS   code 50
 *   DEL, GC  by the very code of the service, on the kernel of this process and on the datastore,
 *            where it can be reached; where not, nothing is touched and the runtime tries again, as in
 *            Calico: what was removed from the kernel alone would leak its address
 *   CHECK    what the kernel says, and the record where the datastore can be reached
 *
 * A service needs no credentials from the configuration, and while it runs the plugin reads none. Only
 * here, in its place, are those of the configuration used; where they have expired, the answer names the
 * service, with which the runtime's next try succeeds.
 *
 * The datastore is the one that the configuration names (`"tortie": {"store": …}`, or Calico's own
 * keys), else TORTIE_STORE or Calico's variables, else the node's embedded one, which is free when its
 * service is down. Pods and Namespaces beside an etcd are in the API of its `kubernetes.kubeconfig`.
 */

import { checkIpamType } from "./addresses.ts";
import { check } from "./check.ts";
import type { CniDeps } from "./deps.ts";
import { parseAttachment, parseCommand } from "./environment.ts";
import { CniCode, CniError, errorBody } from "./errors.ts";
import { toCniError } from "./failure.ts";
import { identify } from "./identity.ts";
import { guessVersion, type NetConf, parseNetConf } from "./netconf.ts";
import { pairHolder } from "./pair_holders.ts";
import { netlinkKernel } from "./plumbing.ts";
import type { CniReply, CniRequest } from "./request.ts";
import { CniServer } from "./server.ts";
import { LATEST_VERSION } from "./versions.ts";
import { Ipam } from "../mod/ipam/ipam.ts";
import {
  type DatastoreLocation,
  describeLocation,
  LocationError,
  locationFromEnvironment,
  parseStoreName,
} from "../mod/store/location.ts";
import { openDatastore } from "../mod/store/open.ts";
import { type Store, StoreError } from "../mod/store/store.ts";
import { readSysctl } from "../ffi/sysctl.ts";

/** How long the datastore has to answer, in milliseconds. */
const STORE_PATIENCE = 3_000;

/** How long other calls of this kind may hold the embedded datastore, in milliseconds. */
const LOCK_PATIENCE = 5_000;

/** Answers a call without a node service; `why` is what kept the plugin from reaching it. */
export async function runOffline(
  request: CniRequest,
  env: Readonly<Record<string, string>>,
  socketPath: string,
  why: string,
): Promise<CniReply> {
  try {
    return await answer(request, env, `no node service answers at ${socketPath} (${why})`);
  } catch (thrown) {
    const version = guessVersion(request.stdin) ?? LATEST_VERSION;
    return { exit: 1, body: errorBody(version, toCniError(thrown)) };
  }
}

async function answer(
  request: CniRequest,
  env: Readonly<Record<string, string>>,
  absent: string,
): Promise<CniReply> {
  const command = parseCommand(request.env);
  switch (command) {
    case "ADD": {
      parseAttachment(command, request.env);
      const conf = parseNetConf(request.stdin);
      checkIpamType(conf.ipam.type, /-ipam$/.test(request.argv0) ? "ipam" : "interface");
      const location = locate(conf, env);
      const shared = location.kind === "etcd" || location.kind === "kubernetes";
      if (shared && /-ipam$/.test(request.argv0)) {
        return await withStore(conf, env, absent, async (store) => {
          const kubernetes = location.kind === "etcd" && conf.kubernetes
            ? await openBeside(conf.kubernetes)
            : undefined;
          try {
            return await throughServer(request, store, env, conf, kubernetes);
          } finally {
            await kubernetes?.close();
          }
        });
      }
      throw new CniError(
        CniCode.tryAgain,
        `The pod cannot be attached now: ${absent}. Start it with \`systemctl start tortie\`, or see ` +
          "its log.",
      );
    }
    case "STATUS":
      // A version without STATUS, or a broken configuration, is told first.
      return await throughServer(request, unreachable(absent), env, parseNetConf(request.stdin));
    case "VERSION":
    case "GC":
    case "DEL":
    case "CHECK": {
      const conf = parseNetConf(request.stdin);
      return await withStore(conf, env, absent, async (store) => {
        if (command === "CHECK" && store instanceof UnreachableStore) {
          const attachment = parseAttachment(command, request.env);
          const identity = identify(attachment, conf.name, nodeName(env, conf));
          await check({ kernel: netlinkKernel() }, conf, attachment, identity);
          return { exit: 0, body: "" };
        }
        return await throughServer(request, store, env, conf);
      });
    }
    default:
      return command satisfies never;
  }
}

async function throughServer(
  request: CniRequest,
  store: Store,
  env: Readonly<Record<string, string>>,
  conf: NetConf,
  kubernetes?: Store,
): Promise<CniReply> {
  // What the runtime's log has of a plugin that succeeds is its standard error.
  const warn = (why: string) => console.error(`tortie: ${why}`);
  const ipam = new Ipam(store, { warn, kubernetes });
  const deps: CniDeps = {
    store,
    kubernetes,
    ipam,
    leases: ipam,
    kernel: netlinkKernel(),
    nodeName: nodeName(env, conf),
    mtu: () => 0,
    endpointProgrammed: () => Promise.reject(new Error("there is no agent in this process")),
    unroutedHolder: pairHolder,
  };
  return await new CniServer(deps).handle(request);
}

/** The node's name as its service wrote it down, else as it was configured. */
function nodeName(env: Readonly<Record<string, string>>, conf: NetConf): string {
  const written = fileText(`${env.TORTIE_CALICO_DIR || "/var/lib/calico"}/nodename`)?.trim();
  const configured = conf.nodeName?.startsWith("__") ? undefined : conf.nodeName;
  const name = env.NODENAME || written || configured || readSysctl("kernel/hostname");
  return (name ?? "").trim().toLowerCase();
}

function fileText(path: string): string | undefined {
  try {
    return Deno.readTextFileSync(path);
  } catch {
    return undefined;
  }
}

function exists(path: string): boolean {
  try {
    return Deno.statSync(path).isFile;
  } catch {
    return false;
  }
}

function locate(conf: NetConf, env: Readonly<Record<string, string>>): DatastoreLocation {
  const variable = (name: string) => env[name];
  try {
    if (conf.store) return parseStoreName(conf.store, "tortie.store", variable);
    if (conf.datastore) return conf.datastore;
    if (env.TORTIE_STORE) return parseStoreName(env.TORTIE_STORE, "TORTIE_STORE", variable);
    return locationFromEnvironment(variable) ??
      { kind: "kv", path: `${env.TORTIE_STATE_DIR || "/var/lib/tortie"}/store.kv` };
  } catch (error) {
    if (!(error instanceof LocationError)) throw error;
    throw new CniError(CniCode.configuration, `The datastore cannot be found: ${error.message}.`);
  }
}

/** Runs the action on the datastore, or on one that says of each operation why there is none. */
async function withStore<T>(
  conf: NetConf,
  env: Readonly<Record<string, string>>,
  absent: string,
  action: (store: Store) => Promise<T>,
): Promise<T> {
  const location = locate(conf, env);
  let store: Store;
  try {
    // Opening would make the file; a store that is not there holds nothing of ours to release.
    if (location.kind === "kv" && !exists(location.path)) {
      throw new StoreError("unavailable", `there is no datastore at ${describeLocation(location)}`);
    }
    store = await openDatastore(location, { waitMs: LOCK_PATIENCE, patienceMs: STORE_PATIENCE });
  } catch (error) {
    if (!(error instanceof StoreError)) throw error;
    store = unreachable(
      error.kind === "denied"
        ? `${absent}. Start it with \`systemctl start tortie\`: it has credentials of its own. In its ` +
          `place those of the configuration were tried, and are refused: ${error.message}`
        : `${absent}, and ${error.message}`,
    );
  }
  try {
    return await action(store);
  } finally {
    await store.close();
  }
}

/** The Kubernetes API that has the pods of an etcd's cluster. */
async function openBeside(location: DatastoreLocation): Promise<Store> {
  try {
    return await openDatastore(location, {
      beside: true,
      lazily: true,
      patienceMs: STORE_PATIENCE,
    });
  } catch (error) {
    if (!(error instanceof StoreError)) throw error;
    return unreachable(`${describeLocation(location)} cannot be used: ${error.message}`);
  }
}

/** A store that says of each operation why there is none. */
class UnreachableStore implements Store {
  readonly epoch = 0;
  constructor(readonly why: string) {}
  #fail(): Promise<never> {
    return Promise.reject(new StoreError("unavailable", this.why));
  }
  get = () => this.#fail();
  list = () => this.#fail();
  create = () => this.#fail();
  update = () => this.#fail();
  put = () => this.#fail();
  delete = () => this.#fail();
  // deno-lint-ignore require-yield
  async *watch(): AsyncGenerator<never> {
    await this.#fail();
  }
  close = () => Promise.resolve();
}

function unreachable(why: string): UnreachableStore {
  return new UnreachableStore(why);
}
