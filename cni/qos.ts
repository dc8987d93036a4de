/**
 * What a pod's annotations say about how much it may send and get (Calico's QoS controls):
 *
 *     qos.projectcalico.org/ingressBandwidth …   bits a second, with ingressBurst in bits
 *     kubernetes.io/ingress-bandwidth …          the same, where Calico's is missing
 *     qos.projectcalico.org/ingressPacketRate    packets a second, with ingressPacketBurst
 *     qos.projectcalico.org/ingressMaxConnections
 *
 * and the same for egress. Ingress is what goes to the pod. Values are Kubernetes quantities; limits and
 * defaults are Calico's, but what Calico's plugin would bend into its limits is refused here. The
 * endpoint carries them as qosControls, and policy renders them as rules (`policy/limits.ts`): what is
 * over a limit is dropped, not queued. So what needs a queue (peakrate, minburst), and marking with
 * DSCP, cannot be followed and is refused. Pure.
 */

import { type AnnotationSource, quote } from "./annotation_source.ts";

/** As the WorkloadEndpoint has it; members in Calico's order. */
export interface QosControls {
  readonly ingressBandwidth?: number;
  readonly egressBandwidth?: number;
  readonly ingressBurst?: number;
  readonly egressBurst?: number;
  readonly ingressPacketRate?: number;
  readonly egressPacketRate?: number;
  readonly ingressPacketBurst?: number;
  readonly egressPacketBurst?: number;
  readonly ingressMaxConnections?: number;
  readonly egressMaxConnections?: number;
}

export const QOS_PREFIX = "qos.projectcalico.org/";

interface Limits {
  readonly least: number;
  readonly most: number;
  readonly unit: string;
}

/** Calico allows 1P; a rule of the kernel counts up to this, beyond what a pair of interfaces carries. */
const BANDWIDTH: Limits = { least: 1e3, most: 1e11, unit: "bits a second" };
const BURST: Limits = { least: 1e3, most: 34_359_738_360, unit: "bits" };
const PACKET_RATE: Limits = { least: 1, most: 10_000, unit: "packets a second" };
const PACKET_BURST: Limits = { least: 1, most: 10_000, unit: "packets" };
const CONNECTIONS: Limits = { least: 1, most: 4_294_967_295, unit: "connections" };

/** Where a bandwidth has no burst, and a packet rate none (Calico). */
const DEFAULT_BURST = 4_294_967_296;
const DEFAULT_PACKET_BURST = 5;

const REFUSED = ["dscp", ...both("Peakrate"), ...both("Minburst")];

/** All of Calico's, with those that are refused. */
export const QOS_NAMES: readonly string[] = [
  ...REFUSED,
  ...["Bandwidth", "Burst", "PacketRate", "PacketBurst", "MaxConnections"].flatMap(both),
].map((name) => QOS_PREFIX + name);

/** undefined: no control at all. CniError `annotation` where one cannot be followed. */
export function readQos(pod: AnnotationSource): QosControls | undefined {
  for (const name of REFUSED) {
    if (!pod.has(QOS_PREFIX + name)) continue;
    throw pod.refuse(
      QOS_PREFIX + name,
      "is not supported here: limits drop what is over them, without a queue or marks; remove it",
    );
  }
  const value = (name: string, limits: Limits) => quantity(pod, QOS_PREFIX + name, limits);
  const bandwidth = (direction: "ingress" | "egress") => {
    const kubernetes = quantity(pod, `kubernetes.io/${direction}-bandwidth`, BANDWIDTH);
    return value(`${direction}Bandwidth`, BANDWIDTH) ?? kubernetes;
  };
  const needs = (name: string, what: string, limits: Limits, base: number | undefined) => {
    const found = value(name, limits);
    if (found !== undefined && base === undefined) {
      throw pod.refuse(QOS_PREFIX + name, `needs ${QOS_PREFIX}${what} beside it`);
    }
    return found;
  };
  const ingressBandwidth = bandwidth("ingress"), egressBandwidth = bandwidth("egress");
  const ingressPacketRate = value("ingressPacketRate", PACKET_RATE);
  const egressPacketRate = value("egressPacketRate", PACKET_RATE);
  const controls: QosControls = {
    ingressBandwidth,
    egressBandwidth,
    ingressBurst: needs("ingressBurst", "ingressBandwidth", BURST, ingressBandwidth) ??
      (ingressBandwidth && DEFAULT_BURST),
    egressBurst: needs("egressBurst", "egressBandwidth", BURST, egressBandwidth) ??
      (egressBandwidth && DEFAULT_BURST),
    ingressPacketRate,
    egressPacketRate,
    ingressPacketBurst:
      needs("ingressPacketBurst", "ingressPacketRate", PACKET_BURST, ingressPacketRate) ??
        (ingressPacketRate && DEFAULT_PACKET_BURST),
    egressPacketBurst:
      needs("egressPacketBurst", "egressPacketRate", PACKET_BURST, egressPacketRate) ??
        (egressPacketRate && DEFAULT_PACKET_BURST),
    ingressMaxConnections: value("ingressMaxConnections", CONNECTIONS),
    egressMaxConnections: value("egressMaxConnections", CONNECTIONS),
  };
  const given = Object.entries(controls).filter(([, v]) => v !== undefined);
  return given.length > 0 ? Object.fromEntries(given) : undefined;
}

function both(what: string): string[] {
  return [`ingress${what}`, `egress${what}`];
}

function quantity(pod: AnnotationSource, name: string, limits: Limits): number | undefined {
  if (!pod.has(name)) return undefined;
  const text = pod.text(name);
  const found = parseQuantity(text);
  const { least, most, unit } = limits;
  if (found === undefined) {
    throw pod.refuse(name, `${quote(text)} is not a quantity of Kubernetes, such as 10M or 500k`);
  }
  if (found < least || found > most) {
    throw pod.refuse(name, `${quote(text)} is not from ${least} to ${most} ${unit}`);
  }
  return found;
}

const FACTORS: Readonly<Record<string, number>> = {
  n: 1e-9,
  u: 1e-6,
  m: 1e-3,
  "": 1,
  k: 1e3,
  M: 1e6,
  G: 1e9,
  T: 1e12,
  P: 1e15,
  E: 1e18,
  Ki: 2 ** 10,
  Mi: 2 ** 20,
  Gi: 2 ** 30,
  Ti: 2 ** 40,
  Pi: 2 ** 50,
  Ei: 2 ** 60,
};

/** A quantity of Kubernetes as a whole number, rounded up; undefined where it is none. */
export function parseQuantity(text: string): number | undefined {
  const parts = /^([+-]?(?:\d+\.?\d*|\.\d+))(?:([eE][+-]?\d+)|([a-zA-Z]*))$/.exec(text);
  if (!parts) return undefined;
  const [, digits, exponent = "", suffix = ""] = parts;
  if (!Object.hasOwn(FACTORS, suffix)) return undefined;
  return Math.ceil(Number(digits + exponent) * FACTORS[suffix]);
}
