/**
 * How much an endpoint may send and get (its qosControls) as rules at the head of its chains, before
 * anything else is asked there: so they count all of its packets, of old connections too, and a packet
 * over a limit needs no verdict of policy. What is over a rate is dropped at once (nothing queues);
 * a connection that is one too many is refused.
 *
 * A rule keeps its count while it stands as it is, and a change of policy leaves it where it is
 * (mod/node/nft/rule_edits.ts). The chains see what is forwarded to and from the pod and what it sends
 * to its host; what the host itself sends to its pods passes no chain and is not counted.
 */
import type { Direction } from "./effective.ts";
import type { QosLimit, QosObject } from "./inputs.ts";
import type { Rule } from "./rules.ts";

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
