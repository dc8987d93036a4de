/**
 * What the plugin does where no node service answers. Loaded only then.
 *
 *   ADD      code 11: without the service no policy reaches the kernel, and an address without policy
 *            must not be given
 *   STATUS   code 50
 *   DEL, GC  by the very code of the service, on the kernel of this process and on the datastore,
 *            where it can be reached; where not, nothing is touched and the runtime tries again, as in
 *            Calico: what was removed from the kernel alone would leak its address
 *   CHECK    what the kernel says, and the record where the datastore can be reached
 *
 * The datastore is the one that the configuration (`"tortie": {"store": …}`) or TORTIE_STORE names,
 * else the node's embedded one, which is free when its service is down.
 */

import { checkIpamType } from "./addresses.ts";
import { check } from "./check.ts";
import type { CniDeps } from "./deps.ts";
import { parseAttachment, parseCommand } from "./environment.ts";
import { CniCode, CniError, errorBody } from "./errors.ts";
import { toCniError } from "./failure.ts";
import { identify } from "./identity.ts";
import { guessVersion, type NetConf, parseNetConf } from "./netconf.ts";
import { netlinkKernel } from "./plumbing.ts";
import type { CniReply, CniRequest } from "./request.ts";
import { CniServer } from "./server.ts";
import { LATEST_VERSION } from "./versions.ts";
import { Ipam } from "../mod/ipam/ipam.ts";
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
    case "ADD":
      parseAttachment(command, request.env);
      checkIpamType(parseNetConf(request.stdin).ipam.type);
      throw new CniError(
        CniCode.tryAgain,
        `The pod cannot be attached now: ${absent}. Start it with \`systemctl start tortie\`, or see ` +
          "its log.",
      );
    case "STATUS":
      // A version without STATUS, or a broken configuration, is told first.
      return await throughServer(request, unreachable(absent), env, parseNetConf(request.stdin));
    case "VERSION":
    case "GC":
    case "DEL":
    case "CHECK": {
      const conf = parseNetConf(request.stdin);
      const store = await openStore(conf, env, absent);
      try {
        if (command === "CHECK" && store instanceof UnreachableStore) {
          const attachment = parseAttachment(command, request.env);
          const identity = identify(attachment, conf.name, nodeName(env, conf));
          await check({ kernel: netlinkKernel() }, conf, attachment, identity);
          return { exit: 0, body: "" };
        }
        return await throughServer(request, store, env, conf);
      } finally {
        await store.close();
      }
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
): Promise<CniReply> {
  const deps: CniDeps = {
    store,
    ipam: new Ipam(store),
    kernel: netlinkKernel(),
    nodeName: nodeName(env, conf),
    mtu: () => 0,
    endpointProgrammed: () => Promise.reject(new Error("there is no agent in this process")),
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

async function openStore(
  conf: NetConf,
  env: Readonly<Record<string, string>>,
  absent: string,
): Promise<Store> {
  const place = conf.store ?? env.TORTIE_STORE ??
    `${env.TORTIE_STATE_DIR || "/var/lib/tortie"}/store.kv`;
  const path = place.replace(/^(kv|unix):(\/\/)?/, "");
  if (path.endsWith(".kv") || place.startsWith("kv:")) {
    // Opening would make the file; a store that is not there holds nothing of ours to release.
    if (!exists(path)) {
      return unreachable(`${absent}, and there is no datastore at ${path}`);
    }
    try {
      const { openKv } = await import("../mod/store/kv.ts");
      return await openKv(path, { waitMs: LOCK_PATIENCE });
    } catch (error) {
      return unreachable(`${absent}, and ${(error as Error).message}`);
    }
  }
  const { remoteStore } = await import("../mod/store/remote.ts");
  const store = remoteStore(path, { patienceMs: STORE_PATIENCE });
  try {
    await store.get("/calico/resources/v3/projectcalico.org/clusterinformations/default");
    return store;
  } catch (error) {
    await store.close();
    return unreachable(`${absent}, and ${(error as Error).message}`);
  }
}

/** A store that says of each operation why there is none. */
class UnreachableStore implements Store {
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
