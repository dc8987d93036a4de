/**
 * EndpointSlices (discovery.k8s.io/v1): which addresses and ports stand behind a service. A slice
 * names its service by a label, which may change like any other. A port that is none is nobody's: no
 * packet has it, so to leave it out is exact whether a rule allows or denies; it is named.
 */
import { formatIp, parseIp } from "../mod/net/mod.ts";
import { type EndpointSliceObject, listOf, textOf } from "./inputs.ts";
import { show } from "../mod/model/show.ts";
import { protocolNumber } from "./protocol.ts";
import { portProtocols } from "./rules.ts";
import type { ServiceEndpoints, SetRegistry } from "./set_registry.ts";

export class ServiceSlices {
  /** Slice -> `namespace/service`. */
  readonly #services = new Map<string, string>();

  constructor(readonly sets: SetRegistry) {}

  /** Undefined: the slice is gone. Gives back what of it could not be understood, in words. */
  set(namespace: string, name: string, object: EndpointSliceObject | undefined): string[] {
    const slice = `${namespace}/${name}`;
    const label = textOf(object?.metadata?.labels?.["kubernetes.io/service-name"]);
    const service = label === "" ? undefined : `${namespace}/${label}`;
    const before = this.#services.get(slice);
    if (before !== undefined && before !== service) {
      this.sets.setService(before, slice, undefined);
      this.#services.delete(slice);
    }
    const problems: string[] = [];
    if (!object || service === undefined) return problems;
    this.#services.set(slice, service);
    this.sets.setService(service, slice, endpointsOf(object, problems));
    return problems;
  }
}

/** The ready ones; an endpoint that does not say counts as ready. */
function endpointsOf(object: EndpointSliceObject, problems: string[]): ServiceEndpoints {
  return {
    addresses: listOf(object.endpoints)
      .filter((e) => e?.conditions?.ready !== false)
      .flatMap((e) => listOf(e?.addresses))
      .map((a) => parseIp(textOf(a)))
      .filter((ip) => ip !== undefined)
      .map(formatIp),
    ports: listOf(object.ports).flatMap((p, i) => {
      const port: unknown = p?.port ?? undefined;
      // A slice may leave its ports to whoever knows them.
      if (port === undefined) return [];
      const protocol = protocolNumber(p?.protocol ?? "TCP");
      const wrong = protocol === undefined || !portProtocols.has(protocol)
        ? `protocol: ${show(p?.protocol)} is none of TCP, UDP and SCTP`
        : typeof port !== "number" || !Number.isInteger(port) || port < 1 || port > 65535
        ? `port: ${show(port)} is no port from 1 to 65535`
        : undefined;
      if (wrong === undefined) return [{ protocol: protocol!, port: port as number }];
      problems.push(`ports[${i}].${wrong}; it is passed over`);
      return [];
    }),
  };
}
