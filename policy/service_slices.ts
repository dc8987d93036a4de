/**
 * EndpointSlices (discovery.k8s.io/v1): which addresses and ports stand behind a service. A slice
 * names its service by a label, which may change like any other.
 */
import { formatIp, parseIp } from "../mod/net/mod.ts";
import { type EndpointSliceObject, listOf, textOf } from "./inputs.ts";
import { protocolNumber } from "./protocol.ts";
import type { ServiceEndpoints, SetRegistry } from "./set_registry.ts";

export class ServiceSlices {
  /** Slice -> `namespace/service`. */
  readonly #services = new Map<string, string>();

  constructor(readonly sets: SetRegistry) {}

  /** Undefined: the slice is gone. */
  set(namespace: string, name: string, object: EndpointSliceObject | undefined): void {
    const slice = `${namespace}/${name}`;
    const label = textOf(object?.metadata?.labels?.["kubernetes.io/service-name"]);
    const service = label === "" ? undefined : `${namespace}/${label}`;
    const before = this.#services.get(slice);
    if (before !== undefined && before !== service) {
      this.sets.setService(before, slice, undefined);
      this.#services.delete(slice);
    }
    if (!object || service === undefined) return;
    this.#services.set(slice, service);
    this.sets.setService(service, slice, endpointsOf(object));
  }
}

/** The ready ones; an endpoint that does not say counts as ready. */
function endpointsOf(object: EndpointSliceObject): ServiceEndpoints {
  return {
    addresses: listOf(object.endpoints)
      .filter((e) => e?.conditions?.ready !== false)
      .flatMap((e) => listOf(e?.addresses))
      .map((a) => parseIp(textOf(a)))
      .filter((ip) => ip !== undefined)
      .map(formatIp),
    ports: listOf(object.ports).flatMap((p) => {
      const protocol = protocolNumber(p?.protocol ?? "TCP");
      return protocol !== undefined && typeof p?.port === "number" && Number.isInteger(p.port)
        ? [{ protocol, port: p.port }]
        : [];
    }),
  };
}
