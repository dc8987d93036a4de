/**
 * Which live connections does policy no longer allow? Packets of an established connection pass the
 * chains of endpoints unseen, so a change from allow to deny leaves it open until somebody ends its
 * tracking. This judges a tracked connection as if it began now; `mod/node` cuts those that fail.
 *
 * A connection is judged as the forward hook saw its first packet: from the client's own address
 * (masquerading comes later) to the server behind any service address (its translation came before),
 * which is where the replies come from. What the host itself began is not policed and never cut.
 */
import { formatIp, type Ip } from "../mod/net/mod.ts";
import { ExplainError, type PolicyView } from "./explain.ts";

export interface FlowTuple {
  readonly source: Ip;
  readonly destination: Ip;
  /** Layer 4 protocol number. */
  readonly protocol: number;
  readonly sourcePort?: number;
  readonly destinationPort?: number;
  readonly icmp?: { readonly type: number; readonly code: number };
}

/** A tracked connection (ffi's `Flow` is one). */
export interface TrackedFlow {
  /** The first packet as it was sent. */
  readonly original: FlowTuple;
  /** An answer as it will be sent. */
  readonly reply: FlowTuple;
}

/** Whether the connection would be allowed if it began now. */
export function isFlowAllowed(
  view: PolicyView,
  { original, reply }: TrackedFlow,
  /** Whether an address (canonical text) is this host's. */
  isHostAddress: (address: string) => boolean,
): boolean {
  const source = formatIp(original.source);
  if (isHostAddress(source)) return true;
  try {
    return view.allows({
      from: { ip: source },
      to: { ip: formatIp(reply.source) },
      protocol: original.protocol,
      port: original.destinationPort === undefined
        ? undefined
        : reply.sourcePort ?? original.destinationPort,
      sourcePort: original.sourcePort,
      icmpType: original.icmp?.type,
      icmpCode: original.icmp?.code,
    });
  } catch (error) {
    // A protocol whose ports were not tracked cannot be judged: leave it alone.
    if (error instanceof ExplainError) return true;
    throw error;
  }
}
