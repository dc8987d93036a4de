/**
 * CHECK: is the attachment still what ADD answered? Compared are the result of ADD (`prevResult`, as
 * the plugins behind us may have changed it), the kernel on both sides, and the endpoint's record.
 * What later plugins add (routes, addresses, sysctls) is none of our business; what ADD made and is
 * gone is an error, and all of it is listed in one answer.
 */

import { formatIp, formatPrefix, type Ip, parseCidr, parseIp, sameIp } from "../mod/net/mod.ts";
import type { Store } from "../mod/store/store.ts";
import type { Attachment } from "./environment.ts";
import type { CniIpam } from "./deps.ts";
import { addressesOf } from "./endpoint.ts";
import { readEndpoint } from "./endpoint_record.ts";
import { CniCode, CniError } from "./errors.ts";
import { type EndpointIdentity, isOf } from "./identity.ts";
import type { CniKernel, PodLink } from "./kernel.ts";
import type { NetConf } from "./netconf.ts";
import { type CniResult, parseResult } from "./result.ts";

/** `prevResult` of a CHECK; CniError `configuration` where it is missing. */
export function requirePrevResult(conf: NetConf): CniResult {
  if (conf.prevResult === undefined || conf.prevResult === null) {
    throw new CniError(
      CniCode.configuration,
      "Network configuration: prevResult is missing; CHECK compares with what ADD answered.",
    );
  }
  return parseResult(conf.prevResult, conf.cniVersion);
}

/**
 * Throws CniError `check` with everything that differs. Without a store only the kernel is looked at;
 * `recorded`: addresses must be on record there too.
 */
export async function check(
  parts: { kernel: CniKernel; store?: Store; recorded?: Pick<CniIpam, "ipsByHandle"> },
  conf: NetConf,
  attachment: Attachment,
  identity: EndpointIdentity,
): Promise<void> {
  const result = requirePrevResult(conf);
  const wrong = await kernelDifferences(parts.kernel, attachment, result);
  if (parts.store) {
    wrong.push(...await recordDifferences(parts.store, identity, attachment, result));
  }
  if (parts.recorded && !await parts.recorded.ipsByHandle(identity.handle)) {
    wrong.push("no file of host-local says that it has an address");
  }
  if (wrong.length > 0) {
    throw new CniError(
      CniCode.check,
      `Interface ${attachment.ifname} of container ${attachment.containerId} is not as ADD left ` +
        `it: ${wrong.join("; ")}. DEL and ADD it again.`,
    );
  }
}

async function kernelDifferences(
  kernel: CniKernel,
  attachment: Attachment,
  result: CniResult,
): Promise<string[]> {
  const netns = await kernel.openNamespace(attachment.netns!);
  let link: PodLink | undefined;
  try {
    link = await netns.link(attachment.ifname);
  } finally {
    netns.close();
  }
  if (!link) return [`there is no interface ${attachment.ifname} in ${attachment.netns}`];
  const wrong: string[] = [];
  const index = result.interfaces.findIndex((i) =>
    i.name === attachment.ifname && i.sandbox !== undefined
  );
  const expected = result.interfaces[index];
  if (!expected) wrong.push(`prevResult has no interface ${attachment.ifname} with a sandbox`);
  if (expected?.mac && expected.mac.toLowerCase() !== link.mac) {
    wrong.push(`its MAC is ${link.mac} and was ${expected.mac}`);
  }
  if (!link.up) wrong.push("it is down");
  if (!link.host) wrong.push("its host side is missing");
  else if (!link.host.up) wrong.push(`its host side ${link.host.name} is down`);

  const own: Ip[] = [];
  for (const ip of result.ips) {
    if (ip.interface !== undefined && ip.interface !== index) continue;
    const cidr = parseCidr(ip.address)!;
    own.push(cidr.ip);
    const there = link.addresses.some((a) =>
      sameIp(a.ip, cidr.ip) && a.length === cidr.prefix.length
    );
    if (!there) wrong.push(`the address ${ip.address} is missing`);
  }
  for (const route of result.routes) {
    const destination = parseCidr(route.dst)!.prefix;
    // Routes of a family without address here are another plugin's.
    if (!own.some((ip) => ip.family === destination.ip.family)) continue;
    const gateway = route.gw === undefined ? undefined : parseIp(route.gw);
    const there = link.routes.some((r) =>
      formatPrefix(r.destination) === formatPrefix(destination) &&
      (gateway === undefined || (r.gateway !== undefined && sameIp(r.gateway, gateway)))
    );
    if (!there) {
      wrong.push(`the route ${route.dst}${route.gw ? ` via ${route.gw}` : ""} is missing`);
    }
  }
  if (link.host) {
    for (const ip of await kernel.missingHostRoutes(link.host.name, own)) {
      wrong.push(`the host has no route to ${formatIp(ip)} over ${link.host.name}`);
    }
  }
  return wrong;
}

async function recordDifferences(
  store: Store,
  identity: EndpointIdentity,
  attachment: Attachment,
  result: CniResult,
): Promise<string[]> {
  const entry = await readEndpoint(store, identity.key);
  const found = entry?.value;
  if (!found) {
    const state = entry ? `cannot be read: ${entry.damage}` : "is missing";
    return [`WorkloadEndpoint ${identity.namespace}/${identity.name} ${state}`];
  }
  if (!isOf(found, attachment.containerId)) {
    return [`its WorkloadEndpoint belongs to container ${found.spec.containerID} by now`];
  }
  const recorded = addressesOf(found);
  return result.ips
    .map((ip) => parseCidr(ip.address)!.ip)
    .filter((ip) => !recorded.some((r) => sameIp(r, ip)))
    .map((ip) => `its WorkloadEndpoint does not have the address ${formatIp(ip)}`);
}
