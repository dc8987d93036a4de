/** What the policy engine says, put into the kernel: the deltas of each turn, both families. */
import type { PolicyEngine } from "../../../policy/engine.ts";
import type { RulesetDelta } from "../../../policy/rules.ts";
import type { NftDataplane } from "./dataplane.ts";

export class EngineDataplane {
  /** The engine's changes are taken here and nowhere else. */
  constructor(readonly dataplane: NftDataplane) {}

  /** Applies what has changed since the last call, at first all of it. */
  apply(engine: PolicyEngine): Promise<void> {
    return this.dataplane.update(takeChanges(engine));
  }

  /** Reads the kernel, and mends what differs from what the engine says now. */
  async resync(engine: PolicyEngine): Promise<void> {
    const deltas = takeChanges(engine);
    await this.dataplane.resync(deltas);
  }
}

function takeChanges(engine: PolicyEngine): RulesetDelta[] {
  return [engine.changes(4), engine.changes(6)].filter((delta) => delta !== undefined);
}
