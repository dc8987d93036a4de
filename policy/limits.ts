/**
 * How much an endpoint may send and get (its qosControls) as rules in chains of their own, which stand
 * before policy: an endpoint's policy accepts an old connection's packet once and for all, and the one
 * to whom it goes would not see it. So limits count all packets, and one that is over a limit needs no
 * verdict. What is over a rate is dropped at once (nothing queues); a connection that is one too many
 * is refused.
 *
 * A rule keeps its count while it stands as it is: changes of policy do not touch these chains. They
 * see what is forwarded to and from the pod and what it sends to its host; what the host itself sends
 * to its pods is not counted, as it is not policed.
 */
import type { Direction } from "./effective.ts";
import type { QosLimit, QosObject } from "./inputs.ts";
import { chains } from "./names.ts";
import type { Rule } from "./rules.ts";

/** Maps from interfaces to the chains of their limits. */
export const limitMaps: Readonly<Record<Direction, string>> = {
  egress: chains.fromLimits,
  ingress: chains.toLimits,
};

const counter = { do: "counter" } as const;

/** Of a number in a rule: 32 bits. */
const MOST = 0xffff_ffff;
/** Packets come in heaps of up to 64 KiB (GRO, GSO): one heap must pass. */
const LEAST_BURST = 0x1_0000;
/** Beyond this the kernel refuses the sum of rate and burst; no interface of a pod is so fast. */
const MOST_RATE = 1e10;

export function limitRules(direction: Direction, qos: QosObject | undefined): Rule[] {
  if (!qos) return [];
  const value = (limit: QosLimit): number | undefined => {
    const number = qos[`${direction}${limit}`];
    return typeof number === "number" && Number.isFinite(number) && number >= 1
      ? Math.floor(number)
      : undefined;
  };
  const rules: Rule[] = [];
  const bandwidth = value("Bandwidth");
  if (bandwidth !== undefined && bandwidth / 8 <= MOST_RATE) {
    const burst = Math.min(Math.max((value("Burst") ?? 0) / 8, LEAST_BURST), MOST);
    rules.push({
      statements: [
        {
          match: "over-rate",
          rate: Math.ceil(bandwidth / 8),
          burst: Math.ceil(burst),
          unit: "bytes",
        },
        counter,
        { do: "drop" },
      ],
      comment: `Drop ${direction} over ${bandwidth} bit/s`,
      origin: { is: "static" },
    });
  }
  const packetRate = value("PacketRate");
  if (packetRate !== undefined) {
    rules.push({
      statements: [
        {
          match: "over-rate",
          rate: Math.min(packetRate, MOST),
          burst: Math.min(value("PacketBurst") ?? 5, MOST),
          unit: "packets",
        },
        counter,
        { do: "drop" },
      ],
      comment: `Drop ${direction} over ${packetRate} packets/s`,
      origin: { is: "static" },
    });
  }
  const connections = value("MaxConnections");
  if (connections !== undefined) {
    rules.push({
      statements: [
        { match: "ctstate", states: ["new"] },
        { match: "over-connections", count: Math.min(connections, MOST) },
        counter,
        { do: "reject" },
      ],
      comment: `Refuse ${direction} over ${connections} connections`,
      origin: { is: "static" },
    });
  }
  return rules;
}
