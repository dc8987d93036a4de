/**
 * The chains of policies and profiles with the sets that they name: rendered in both families, set or
 * taken away as one.
 */
import type { Direction, EffectiveRule } from "./effective.ts";
import type { Output } from "./output.ts";
import type { PolicyParameters } from "./parameters.ts";
import { closedRule } from "./render_endpoint.ts";
import { type RenderedRules, renderRules } from "./render_rule.ts";
import type { Family, Origin } from "./rules.ts";
import type { SetRegistry } from "./set_registry.ts";

/** What a chain holds, and how its rules are called. */
export interface RuleChain {
  readonly rules: readonly EffectiveRule[];
  readonly direction: Direction;
  /** `knp default/allow-web ingress`. */
  readonly title: string;
  origin(rule: number): Origin;
}

const families: readonly Family[] = [4, 6];

export class RuleChains {
  readonly #rendered: Record<Family, Map<string, RenderedRules>> = { 4: new Map(), 6: new Map() };

  constructor(
    readonly sets: SetRegistry,
    readonly output: Output,
    readonly parameters: PolicyParameters,
  ) {}

  /** Lets nothing pass a chain whose rules cannot be made: others jump to it. */
  close(name: string): void {
    const chain = { name, rules: [closedRule(this.parameters)] };
    for (const family of families) this.output.setChain(family, name, chain);
  }

  /** Sets a chain, or with undefined takes it away. */
  set(name: string, chain: RuleChain | undefined): void {
    for (const family of families) {
      const before = this.#rendered[family].get(name);
      const after = chain && renderRules(
        chain.rules,
        family,
        chain.direction,
        chain.title,
        (rule) => chain.origin(rule),
        this.parameters,
      );
      if (after) this.#rendered[family].set(name, after);
      else this.#rendered[family].delete(name);
      // New sets are taken before old ones are given back: those in both stay as they are.
      for (const [id, spec] of after?.sets ?? []) this.sets.acquire(family, id, spec);
      for (const id of before?.sets.keys() ?? []) this.sets.release(family, id);
      this.output.setChain(family, name, after && { name, rules: after.rules });
    }
  }
}
