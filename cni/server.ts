/**
 * The node's side of CNI: takes a call as the plugin sent it (`request.ts`) and answers it. Everything
 * that a runtime may ask is decided here: is the call well formed, which role was called (a name that
 * ends in `-ipam` is the IPAM plugin), which attachments must not be worked on at once, and what the
 * answer looks like in the version that was asked for.
 *
 * Order of judgement: the command, whether the configuration's version has it, the CNI_ variables, the
 * configuration. Locks: one container, one pod, one host interface name and one IPAM handle at a time;
 * others run side by side.
 *
 * An ADD counts only when its answer reached the caller: if it cannot be delivered (the plugin was
 * killed meanwhile) the attachment is taken away again before anybody else gets its locks. It is
 * marked "in use" before the answer goes out, so that whoever has the answer has a pod that no later
 * call takes for a remainder, however this process ends.
 */

import type { CniDeps } from "./deps.ts";
import { attach } from "./attach.ts";
import { check } from "./check.ts";
import { checkIpamType } from "./addresses.ts";
import { detach } from "./detach.ts";
import { type Attachment, type CniCommand, parseAttachment, parseCommand } from "./environment.ts";
import { CniCode, CniError, errorBody } from "./errors.ts";
import { toCniError } from "./failure.ts";
import { collectGarbage, requireValidAttachments } from "./gc.ts";
import { HostLocalIpam } from "./host_local/ipam.ts";
import { type EndpointIdentity, handleId, hostInterfaceName, identify } from "./identity.ts";
import { ipamAdd, ipamCheck, ipamDel, ipamGc } from "./ipam_plugin.ts";
import { KeyedLocks } from "./locks.ts";
import { guessVersion, type NetConf, parseNetConf } from "./netconf.ts";
import { podCidrs } from "./pod_cidrs.ts";
import type { CniReply, CniRequest } from "./request.ts";
import { appendResult, formatResult, parseResult } from "./result.ts";
import { checkDatastoreReady, status } from "./status.ts";
import { atLeast, type CniVersion, LATEST_VERSION, VERSION_ANSWER } from "./versions.ts";

/** Hands the answer to the caller; false where it cannot be had any more. */
export type Deliver = (reply: CniReply) => Promise<boolean>;

const SUCCESS: CniReply = { exit: 0, body: "" };

/** Commands that came with a later version of the specification. */
const SINCE: Partial<Record<CniCommand, CniVersion>> = {
  CHECK: "0.4.0",
  GC: "1.1.0",
  STATUS: "1.1.0",
};

/** One node's CNI server. */
export class CniServer {
  readonly #locks = new KeyedLocks();
  /** Handles of ADDs that are under way. */
  readonly #adding = new Set<string>();
  /** For each GC that runs, the handles that were added since it began, or were being added then. */
  readonly #addedSince = new Set<Set<string>>();
  /** Handles of ADDs whose answer is on its way: whether it arrived is still to be seen. */
  readonly #answered = new Set<string>();

  constructor(readonly deps: CniDeps) {}

  /**
   * Answers one call. Never throws. With `deliver` the answer goes through it, exactly once; without
   * it whoever called has the answer when this resolves.
   */
  async handle(request: CniRequest, deliver: Deliver = () => Promise.resolve(true)) {
    let delivered = false;
    const once: Deliver = (reply) => {
      delivered = true;
      return deliver(reply);
    };
    let reply: CniReply;
    try {
      reply = await this.#answer(request, once);
    } catch (thrown) {
      const error = toCniError(thrown);
      this.#logFailure(request, error);
      reply = {
        exit: 1,
        body: errorBody(guessVersion(request.stdin) ?? LATEST_VERSION, error),
      };
    }
    if (!delivered) await deliver(reply).catch(() => false);
    return reply;
  }

  async #answer(request: CniRequest, deliver: Deliver): Promise<CniReply> {
    const command = parseCommand(request.env);
    if (command === "VERSION") return { exit: 0, body: VERSION_ANSWER };
    const version = guessVersion(request.stdin);
    const since = SINCE[command];
    if (version && since && !atLeast(version, since)) {
      throw new CniError(
        CniCode.incompatibleVersion,
        `${command} came with version ${since} of the CNI specification, and the network ` +
          `configuration has cniVersion ${version}.`,
      );
    }
    const isIpam = (request.argv0.split("/").pop() ?? "").endsWith("-ipam");
    switch (command) {
      case "ADD":
      case "DEL":
      case "CHECK": {
        const attachment = parseAttachment(command, request.env);
        const conf = parseNetConf(request.stdin);
        return isIpam
          ? await this.#ipamAttachment(command, conf, attachment, deliver)
          : await this.#attachment(command, conf, attachment, deliver);
      }
      case "GC":
        await this.#gc(parseNetConf(request.stdin), isIpam);
        return SUCCESS;
      case "STATUS":
        await status(
          this.deps.store,
          this.deps.nodeName,
          parseNetConf(request.stdin).ipam.hostLocal === undefined,
          this.deps.locked,
        );
        return SUCCESS;
      default:
        return command satisfies never;
    }
  }

  async #attachment(
    command: "ADD" | "DEL" | "CHECK",
    conf: NetConf,
    attachment: Attachment,
    deliver: Deliver,
  ): Promise<CniReply> {
    checkIpamType(conf.ipam.type, "interface");
    const hostLocal = this.#hostLocal(conf, attachment);
    const deps = hostLocal ? { ...this.deps, ipam: hostLocal } : this.deps;
    this.#warnOfOtherName(conf);
    const identity = identify(attachment, conf.name, deps.nodeName);
    return await this.#locks.hold(this.#keys(identity), async () => {
      switch (command) {
        case "ADD":
          return await this.#add(deps, conf, attachment, identity, deliver);
        case "DEL":
          await detach(deps, identity, attachment.netns, {
            ready: checkDatastoreReady(deps.store, deps.locked),
          });
          return SUCCESS;
        case "CHECK":
          await check({ ...deps, recorded: hostLocal }, conf, attachment, identity);
          return SUCCESS;
        default:
          return command satisfies never;
      }
    });
  }

  /** IPAM on host-local's files, where the configuration wants that. */
  #hostLocal(conf: NetConf, attachment?: Attachment): HostLocalIpam | undefined {
    const { kernel } = this.deps;
    return conf.ipam.hostLocal && new HostLocalIpam(
      conf.name,
      conf.ipam.hostLocal,
      attachment,
      () => podCidrs(this.deps),
      () => kernel.hostAddresses(),
    );
  }

  async #add(
    deps: CniDeps,
    conf: NetConf,
    attachment: Attachment,
    identity: EndpointIdentity,
    deliver: Deliver,
  ): Promise<CniReply> {
    using _ = this.#beginAdd(identity.handle);
    const before = conf.prevResult === undefined || conf.prevResult === null
      ? undefined
      : parseResult(conf.prevResult, conf.cniVersion);
    const own = await attach(deps, conf, attachment, identity);
    const result = before ? appendResult(before, own) : own;
    const reply: CniReply = {
      exit: 0,
      body: JSON.stringify(formatResult(result, conf.cniVersion)) + "\n",
    };
    if (!await this.#deliver(identity.handle, reply, deliver)) {
      await this.#takeBack(deps, identity, attachment);
    }
    return reply;
  }

  /** GCs that are under way, or begin meanwhile, hear of it. */
  #beginAdd(handle: string): Disposable {
    this.#adding.add(handle);
    for (const added of this.#addedSince) added.add(handle);
    return { [Symbol.dispose]: () => void this.#adding.delete(handle) };
  }

  async #deliver(handle: string, reply: CniReply, deliver: Deliver): Promise<boolean> {
    this.#answered.add(handle);
    try {
      return await deliver(reply).catch(() => false);
    } finally {
      this.#answered.delete(handle);
    }
  }

  /** Nobody took the answer, so for the runtime this ADD failed. */
  async #takeBack(
    deps: CniDeps,
    identity: EndpointIdentity,
    attachment: Attachment,
  ): Promise<void> {
    const fields = { endpoint: identity.name, container: identity.containerId };
    try {
      await detach(deps, identity, attachment.netns);
      this.deps.log?.("warn", "the caller went away before its answer; the ADD was undone", fields);
    } catch (error) {
      this.deps.log?.("error", "the caller went away before its answer, and undoing failed", {
        ...fields,
        error: (error as Error).message,
      });
    }
  }

  async #ipamAttachment(
    command: "ADD" | "DEL" | "CHECK",
    conf: NetConf,
    attachment: Attachment,
    deliver: Deliver,
  ): Promise<CniReply> {
    const { deps } = this;
    checkIpamType(conf.ipam.type, "ipam");
    const handle = handleId(conf.name, attachment.containerId, attachment.ifname);
    const keys = [`handle:${handle}`, `gateways:${conf.name}`];
    return await this.#locks.hold(keys, async () => {
      switch (command) {
        case "ADD": {
          using _ = this.#beginAdd(handle);
          await checkDatastoreReady(deps.store, deps.locked);
          const result = await ipamAdd(deps, conf, attachment);
          const reply: CniReply = {
            exit: 0,
            body: JSON.stringify(formatResult(result, conf.cniVersion)) + "\n",
          };
          if (!await this.#deliver(handle, reply, deliver)) {
            await ipamDel(deps, conf, attachment);
          }
          return reply;
        }
        case "DEL":
          await checkDatastoreReady(deps.store, deps.locked);
          await ipamDel(deps, conf, attachment);
          return SUCCESS;
        case "CHECK":
          await ipamCheck(deps, conf, attachment);
          return SUCCESS;
        default:
          return command satisfies never;
      }
    });
  }

  async #gc(conf: NetConf, isIpam: boolean): Promise<void> {
    const { store, locked } = this.deps;
    requireValidAttachments(conf);
    // Whoever calls may have these answers already: they are waited for, other work is left alone.
    const answered = new Set(this.#answered);
    const added = this.#adding.difference(answered);
    this.#addedSince.add(added);
    try {
      await checkDatastoreReady(store, locked);
      const whenFree = async (keys: string[], handle: string, work: () => Promise<void>) => {
        const busy = keys.some((key) => this.#locks.held(key));
        if (added.has(handle) || busy && !answered.has(handle)) return;
        await this.#locks.hold(keys, async () => {
          await checkDatastoreReady(store, locked);
          await work();
        });
      };
      if (isIpam) {
        await this.#locks.hold(
          [`gateways:${conf.name}`],
          () =>
            ipamGc(this.deps, conf, (handle, work) => whenFree([`handle:${handle}`], handle, work)),
        );
      } else {
        const hostLocal = this.#hostLocal(conf);
        await collectGarbage(
          hostLocal
            ? { ...this.deps, ipam: hostLocal, recordedHandles: () => hostLocal.handles() }
            : this.deps,
          conf,
          (handle, identity, work) =>
            whenFree(identity ? this.#keys(identity) : [`handle:${handle}`], handle, work),
        );
      }
    } finally {
      this.#addedSince.delete(added);
    }
  }

  #keys(identity: EndpointIdentity): string[] {
    const keys = [
      `container:${identity.containerId}`,
      `handle:${identity.handle}`,
      `link:${hostInterfaceName(identity, this.deps.interfacePrefix ?? "cali")}`,
    ];
    if (identity.pod !== undefined) keys.push(`pod:${identity.namespace}/${identity.pod}`);
    return keys;
  }

  /** A configuration of another machine's image: its name for the node is not believed. */
  #warnOfOtherName(conf: NetConf): void {
    const { nodeName } = this.deps;
    if (conf.nodeName === undefined || conf.nodeName === nodeName) return;
    if (conf.nodeName.startsWith("__")) return;
    this.deps.log?.("warn", "the network configuration names another node; it is not believed", {
      configuration: conf.nodeName,
      node: nodeName,
    });
  }

  #logFailure(request: CniRequest, error: CniError): void {
    this.deps.log?.(error.code === CniCode.internal ? "error" : "warn", "a CNI call failed", {
      command: request.env.CNI_COMMAND,
      container: request.env.CNI_CONTAINERID,
      interface: request.env.CNI_IFNAME,
      code: error.code,
      error: error.message,
      ...(error.details && { details: error.details }),
    });
  }
}
