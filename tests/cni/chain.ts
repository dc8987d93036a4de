/**
 * A list of plugins as a runtime runs it (CNI SPEC, section 3): ADD and CHECK forwards, DEL backwards,
 * each with the configuration's name and version and the result so far.
 */
import assert from "node:assert/strict";
import type { CallOptions, CniHarness } from "./harness.ts";
import { stockPlugin } from "./harness.ts";

export interface ChainCall extends CallOptions {
  readonly container: string;
  readonly netns: string;
}

export class Chain {
  /** The final result of each container's ADD. */
  readonly results = new Map<string, any>();

  constructor(
    readonly harness: CniHarness,
    readonly plugins: Record<string, unknown>[],
    readonly cniVersion = "1.0.0",
  ) {}

  async add(call: ChainCall): Promise<any> {
    let result: any;
    for (const plugin of this.plugins) {
      const { code, stdout, stderr, json } = await this.#call("ADD", call, plugin, result);
      assert.equal(code, 0, `ADD of ${plugin.type}: ${stdout}${stderr}`);
      result = json;
    }
    this.results.set(call.container, result);
    return result;
  }

  /** `without`: plugins that are left out. */
  async check(call: ChainCall, without: string[] = []): Promise<void> {
    for (const plugin of this.plugins.filter(({ type }) => !without.includes(type as string))) {
      const before = this.results.get(call.container);
      const { code, stdout, stderr } = await this.#call("CHECK", call, plugin, before);
      assert.equal(code, 0, `CHECK of ${plugin.type}: ${stdout}${stderr}`);
    }
  }

  async del(call: ChainCall): Promise<void> {
    for (const plugin of [...this.plugins].reverse()) {
      const before = this.results.get(call.container);
      const { code, stdout, stderr } = await this.#call("DEL", call, plugin, before);
      assert.equal(code, 0, `DEL of ${plugin.type}: ${stdout}${stderr}`);
    }
    this.results.delete(call.container);
  }

  #call(command: string, call: ChainCall, plugin: Record<string, unknown>, prevResult: any) {
    const type = plugin.type as string;
    const conf = { ...this.harness.conf({ cniVersion: this.cniVersion, ...plugin }), prevResult };
    return this.harness.call({
      ...call,
      command,
      conf,
      plugin: type.startsWith("tortie") || type.startsWith("calico") ? type : stockPlugin(type),
    });
  }
}
