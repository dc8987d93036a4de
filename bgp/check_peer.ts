/**
 * Whether a peer's configuration can work, judged before anything is tried with it: a peer that cannot
 * has this as its status, and no other peer notices. And what becomes of its session when the
 * configuration is another one.
 */
import { addressBits, compareIp, formatIp, type Ip, sameIp } from "../mod/net/mod.ts";
import type { AddressFamily, PeerConfig } from "./config.ts";

const MAX_AS = 0xffffffff;

export function familiesOf(peer: PeerConfig): readonly AddressFamily[] {
  return peer.families ?? [peer.address.family === 4 ? "ipv4" : "ipv6"];
}

function between(n: number, least: number, most: number): boolean {
  return Number.isInteger(n) && n >= least && n <= most;
}

/** What is wrong, with the remedy where there is one; undefined for nothing. */
export function checkPeer(peer: PeerConfig, speakerAs: number): string | undefined {
  const {
    address,
    source,
    port = 179,
    remoteAs,
    localAs = speakerAs,
    password,
    ttlSecurity,
    holdTime = 90,
    keepaliveTime,
    sendHoldTime = 480,
    gracefulRestart = 120,
  } = peer;
  const bytes = address.bytes;
  if (bytes.length * 8 !== addressBits(address.family)) return "the peer's address is not one";
  if (bytes.every((b) => b === 0) || bytes[0] >= (address.family === 4 ? 224 : 255)) {
    return `${formatIp(address)} is not the address of a host`;
  }
  if (!between(port, 1, 65535)) return `port ${port} is not between 1 and 65535`;
  if (!between(remoteAs, 1, MAX_AS)) return `the peer's AS ${remoteAs} is not 1 to ${MAX_AS}`;
  if (!between(localAs, 1, MAX_AS)) return `our AS ${localAs} is not 1 to ${MAX_AS}`;
  if (source && source.family !== address.family) {
    return `the source ${formatIp(source)} is of another family than ${formatIp(address)}`;
  }
  if (source && compareIp(source, address) === 0) {
    return `${formatIp(address)} is our own address: a session with oneself is no session`;
  }
  if (password !== undefined) {
    const length = new TextEncoder().encode(password).length;
    if (length === 0 || length > 80) return "the password has no or more than 80 bytes";
  }
  if (ttlSecurity !== undefined && !between(ttlSecurity, 1, 254)) {
    return `TTL security of ${ttlSecurity} hops is not between 1 and 254`;
  }
  if (holdTime !== 0 && !between(holdTime, 3, 65535)) {
    return `a hold time of ${holdTime} s is not 0 or 3 to 65535`;
  }
  if (keepaliveTime !== undefined && !(keepaliveTime > 0)) {
    return `a keepalive time of ${keepaliveTime} s is not above 0`;
  }
  if (!(sendHoldTime > 0)) return `a send hold time of ${sendHoldTime} s is not above 0`;
  if (gracefulRestart !== false && !between(gracefulRestart, 0, 4095)) {
    return `a restart time of ${gracefulRestart} s is not 0 to 4095`;
  }
  if (familiesOf(peer).length === 0) return "no address family to exchange";
  return undefined;
}

/**
 * What a new configuration asks of the session that is there:
 *
 *   nothing   it holds at once
 *   reopen    the connection, or what an OPEN alone can tell, is to be another one between the same
 *             two ends: with graceful restart nobody drops a route for that
 *   anew      an end is another one, or carries something else: what it has said before is void
 */
export function changeOf(former: PeerConfig, next: PeerConfig): "nothing" | "reopen" | "anew" {
  const same = (a: Ip | undefined, b: Ip | undefined) =>
    a === b || (a !== undefined && b !== undefined && sameIp(a, b));
  if (
    !same(former.address, next.address) || !same(former.source, next.source) ||
    former.remoteAs !== next.remoteAs || former.localAs !== next.localAs ||
    familiesOf(former).join() !== familiesOf(next).join()
  ) return "anew";
  const reopen = former.password !== next.password || former.ttlSecurity !== next.ttlSecurity ||
    former.holdTime !== next.holdTime || former.gracefulRestart !== next.gracefulRestart;
  return reopen ? "reopen" : "nothing";
}
