/**
 * Errors of other rooms in the words of the CNI specification: what passes by itself is code 11 (the
 * runtime tries again), what somebody must change is one of our own codes, and anything else is a bug
 * of ours and says so.
 */

import { KernelError } from "../ffi/errors.ts";
import { IpamError, type IpamErrorKind } from "../mod/ipam/errors.ts";
import { StoreError } from "../mod/store/store.ts";
import { asCniError, CniCode, CniError } from "./errors.ts";

/** What was thrown, as the error that the runtime is told. */
export function toCniError(thrown: unknown): CniError {
  if (thrown instanceof CniError) return thrown;
  if (thrown instanceof IpamError) {
    const remedy = REMEDIES[thrown.kind];
    const message = sentence(thrown.message) + (remedy ? ` ${remedy}` : "");
    return new CniError(codeOfIpam(thrown), message, undefined, { cause: thrown });
  }
  if (thrown instanceof StoreError) {
    const away = thrown.kind === "unavailable" || thrown.kind === "conflict";
    // A new token, certificate or role makes it good, and nothing about the pod was wrong.
    const passing = away || thrown.kind === "denied";
    return new CniError(
      passing ? CniCode.tryAgain : CniCode.datastore,
      `The datastore ${away ? "cannot be reached now" : "refuses"}: ${sentence(thrown.message)}`,
      undefined,
      { cause: thrown },
    );
  }
  if (thrown instanceof KernelError) {
    return new CniError(CniCode.kernel, sentence(thrown.message), undefined, { cause: thrown });
  }
  return asCniError(thrown, CniCode.internal, "Bug in tortie");
}

const REMEDIES: Partial<Record<IpamErrorKind, string>> = {
  noFreeAddresses: "Delete pods, or add an IPPool.",
  noPools: "Create an IPPool whose selectors take this node and namespace.",
  nodeUnknown: "The node service registers the node when it starts.",
  poolFamily: "Name pools of that family.",
  poolUnknown: "Name IPPools that are there, by name or CIDR.",
  notInPool: "Name an address in an enabled IPPool.",
  poolDisabled: "Name another pool, or enable this one.",
};

function codeOfIpam(error: IpamError): CniCode {
  switch (error.kind) {
    // Somebody else's DEL, a retry or the node service's start makes these good.
    case "addressTaken":
    case "noFreeAddresses":
    case "blockLimit":
    case "draining":
    case "conflict":
    case "notEmpty":
    case "nodeUnknown":
      return CniCode.tryAgain;
    case "poolFamily":
    case "poolUnknown":
    case "poolDisabled":
    case "noPools":
    case "notInPool":
    case "notForUse":
    case "affinityMismatch":
      return CniCode.addresses;
    case "badRecord":
      return CniCode.datastore;
    case "badRequest":
      return CniCode.internal;
    default:
      return error.kind satisfies never;
  }
}

function sentence(text: string): string {
  return /[.!?]$/.test(text) ? text : `${text}.`;
}
