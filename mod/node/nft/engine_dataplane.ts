/** What the policy engine says, put into the kernel: the deltas of each turn, both families. */
import type { PolicyEngine } from "../../../policy/engine.ts";
import type { RulesetDelta } from "../../../policy/rules.ts";
import type { NftDataplane } from "./dataplane.ts";

export class EngineDataplane {
  /** Taken by the dataplane, and perhaps not in the kernel yet: it may have refused. */
  #untold: RulesetDelta[] = [];

  /**
   * The engine's changes are taken here and nowhere else.
   * @param onApplied told what has changed, as soon as the kernel has it
   */
  constructor(
    readonly dataplane: NftDataplane,
    readonly onApplied: (deltas: readonly RulesetDelta[]) => void = () => {},
  ) {}

  /** Applies what has changed since the last call, at first all of it. */
  async apply(engine: PolicyEngine): Promise<void> {
    await this.dataplane.update(this.#take(engine));
    this.#tell();
  }

  /** Reads the kernel, and mends what differs from what the engine says now. */
  async resync(engine: PolicyEngine): Promise<void> {
    await this.dataplane.resync(this.#take(engine));
    this.#tell();
  }

  #take(engine: PolicyEngine): RulesetDelta[] {
    const deltas = [engine.changes(4), engine.changes(6)].filter((delta) => delta !== undefined);
    this.#untold.push(...deltas);
    return deltas;
  }

  #tell(): void {
    const deltas = this.#untold;
    this.#untold = [];
    if (deltas.length > 0) this.onApplied(deltas);
  }
}
