/**
 * CNI_ARGS: `K=V` pairs joined by `;`. From Kubernetes come the pod's name and namespace, from people
 * and from Calico's own delegation `IP`. Unknown keys are ignored, with or without IgnoreUnknown, as
 * Calico does; text that is not made of pairs is refused (code 4).
 */

import { formatIp, type Ip, parseIp } from "../mod/net/mod.ts";
import { CniCode, CniError } from "./errors.ts";

export interface CniArgs {
  /** Both or neither: the call speaks of this pod. */
  readonly pod?: { readonly namespace: string; readonly name: string };
  /** K8S_POD_UID, where the runtime gives it. */
  readonly podUid?: string;
  /** Addresses asked for by IP=, at most one of each family. */
  readonly addresses: Ip[];
}

/** CniError `environment` where the text cannot be used. */
export function parseArgs(text: string): CniArgs {
  const pairs = new Map<string, string>();
  for (const part of text.split(";")) {
    if (part === "") continue;
    const equals = part.indexOf("=");
    if (equals < 1) {
      throw refuse(`holds ${JSON.stringify(part.slice(0, 80))}, which is not KEY=VALUE`);
    }
    pairs.set(part.slice(0, equals), part.slice(equals + 1));
  }
  const name = pairs.get("K8S_POD_NAME") ?? "";
  const namespace = pairs.get("K8S_POD_NAMESPACE") ?? "";
  if ((name === "") !== (namespace === "")) {
    throw refuse("has only one of K8S_POD_NAME and K8S_POD_NAMESPACE; give both or none");
  }
  if (name !== "" && !isSubdomain(name)) {
    throw refuse(`K8S_POD_NAME ${JSON.stringify(name.slice(0, 80))} is not the name of a pod`);
  }
  if (namespace !== "" && !isLabel(namespace)) {
    throw refuse(
      `K8S_POD_NAMESPACE ${JSON.stringify(namespace.slice(0, 80))} is not the name of a namespace`,
    );
  }
  return {
    pod: name === "" ? undefined : { namespace, name },
    podUid: pairs.get("K8S_POD_UID") || undefined,
    addresses: parseAddresses(pairs.get("IP") ?? ""),
  };
}

function parseAddresses(text: string): Ip[] {
  const found: Ip[] = [];
  for (const word of text.split(",").map((w) => w.trim())) {
    if (word === "") continue;
    // A prefix length is of no use to us: the address is always the pod's alone.
    const ip = parseIp(word.replace(/\/\d+$/, ""));
    if (!ip) throw refuse(`IP=${JSON.stringify(word.slice(0, 60))} is not an IP address`);
    const same = found.find((f) => f.family === ip.family);
    if (same) {
      throw refuse(
        `asks for two IPv${ip.family} addresses, ${formatIp(same)} and ${formatIp(ip)}; give one`,
      );
    }
    found.push(ip);
  }
  return found;
}

function isLabel(text: string): boolean {
  return text.length <= 63 && /^[a-z0-9]([-a-z0-9]*[a-z0-9])?$/.test(text);
}

function isSubdomain(text: string): boolean {
  return text.length <= 253 &&
    /^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$/.test(text);
}

function refuse(what: string): CniError {
  return new CniError(CniCode.environment, `CNI_ARGS ${what}.`);
}
