/**
 * The parts of the node service that look at tracked connections, with the kernel's own table under
 * them. Lists are read between other work, so those who read and those who write have sockets apart.
 */
import { openConntrack } from "../../ffi/conntrack.ts";
import type { Netns } from "../../ffi/netns.ts";
import type { PolicyEngine } from "../../policy/engine.ts";
import type { WorkloadEndpoint } from "../model/workload_endpoint.ts";
import type { Ip } from "../net/mod.ts";
import { FlowCutter, type FlowCutterParts } from "./flow_cutter.ts";
import type { Log } from "./log.ts";
import { ReleasedAddresses } from "./released_addresses.ts";

export interface FlowPartsOptions {
  readonly engine: PolicyEngine;
  readonly kernel: {
    hostAddresses(): Iterable<Ip>;
    isUp(interfaceName: string): boolean | undefined;
  };
  readonly log: Log;
  /** Endpoints of this node as a former process has seen them. */
  readonly known?: Iterable<WorkloadEndpoint>;
  /** Absent: this process's. */
  readonly netns?: Netns;
  readonly onPass?: FlowCutterParts["onPass"];
  /** `released.settle` wants to be called again. */
  readonly onFailure?: () => void;
}

export interface FlowParts {
  readonly cutter: FlowCutter;
  readonly released: ReleasedAddresses;
  close(): Promise<void>;
}

export function openFlowParts(options: FlowPartsOptions): FlowParts {
  const { engine, kernel, log, known, netns, onPass, onFailure } = options;
  const writing = openConntrack(netns);
  const [cutting, clearing] = [openConntrack(netns), openConntrack(netns)];
  const cutter = new FlowCutter({
    engine,
    reading: cutting,
    writing,
    hostAddresses: () => kernel.hostAddresses(),
    isUp: (name) => kernel.isUp(name) === true,
    log,
    onPass,
  });
  const isUp = (name: string) => kernel.isUp(name);
  const released = new ReleasedAddresses(
    { reading: clearing, writing, isUp, log, onFailure },
    known,
  );
  return {
    cutter,
    released,
    async close() {
      await Promise.all([cutter.close(), released.idle()]);
      for (const table of [writing, cutting, clearing]) table.close();
    },
  };
}
