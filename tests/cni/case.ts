/**
 * What one check of the CNI specification needs: the shared node, containers that are cleaned up
 * behind it, and a look at the node afterwards, which must be as it was.
 */
import assert from "node:assert/strict";
import { type CallOptions, type CallResult, CniHarness } from "./harness.ts";

/** A check under the id by which it is known, with what it says. */
export interface Check {
  readonly id: string;
  readonly name: string;
  run(c: Case): Promise<void>;
}

/** Makes an eth0 that is none of ours, in a namespace. */
export const FOREIGN = ["ip", "link", "add", "eth0", "type", "veth", "peer", "name", "foreign0"];

export class Case {
  #namespaces: string[] = [];
  #number = 0;

  constructor(readonly harness: CniHarness) {}

  /** A new namespace, gone after the check. */
  async namespace(): Promise<string> {
    const path = await this.harness.addNamespace();
    this.#namespaces.push(path);
    return path;
  }

  /** A container ID that no other check uses. */
  container(): string {
    return `c${this.#number++}-${crypto.randomUUID().slice(0, 8)}`;
  }

  conf(more: Record<string, unknown> = {}): Record<string, unknown> {
    return this.harness.conf(more);
  }

  async call(options: CallOptions = {}): Promise<CallResult> {
    return await this.harness.call(options);
  }

  /** ADD that must succeed, in a namespace and for a container of its own unless they are given. */
  async add(options: CallOptions = {}): Promise<Added> {
    const netns = options.netns ?? await this.namespace();
    const container = options.container ?? this.container();
    const result = await this.call({ ...options, container, netns });
    assert.equal(result.code, 0, `ADD: ${result.stdout}${result.stderr}`);
    return { ...result, netns, container, ifname: options.ifname ?? "eth0" };
  }

  async del(added: Added, options: CallOptions = {}): Promise<CallResult> {
    return await this.call({
      command: "DEL",
      container: added.container,
      netns: added.netns,
      ifname: added.ifname,
      ...options,
    });
  }

  /** A call that must be refused with this code (or one of these), and say why. */
  async refused(codes: number | number[], options: CallOptions): Promise<CallResult> {
    const result = await this.call(options);
    assert.notEqual(result.code, 0, `should be refused: ${result.stdout}`);
    assert.ok(
      [codes].flat().includes(result.json?.code),
      `code ${result.json?.code} (${result.json?.msg}), want ${codes}`,
    );
    assert.ok(typeof result.json.msg === "string" && result.json.msg.length > 10);
    assert.equal(result.stdout.trim().split("\n").length, 1);
    return result;
  }

  /** The interface inside a namespace as `ip` shows it, or undefined. */
  async interface(path: string, name = "eth0"): Promise<any> {
    return (await this.harness.ip(path, "addr", "show")).find((link) => link.ifname === name);
  }

  /** Takes everything of the network away, as GC with an empty list does, and looks. */
  async finish(): Promise<void> {
    if (this.harness.servicePid === undefined) await this.harness.startService();
    for (const name of ["testnet", "othernet"]) {
      const gc = await this.call({
        command: "GC",
        conf: this.conf({ cniVersion: "1.1.0", name, "cni.dev/valid-attachments": [] }),
      });
      assert.equal(gc.code, 0, gc.stdout);
    }
    for (const path of this.#namespaces) await this.harness.deleteNamespace(path);
    assert.deepEqual(await this.harness.traces(), [], "something is left after the check");
  }
}

export interface Added extends CallResult {
  readonly netns: string;
  readonly container: string;
  readonly ifname: string;
}

/** Runs one check; its own failure counts before that of cleaning up. */
export async function runCheck(check: Check, harness: CniHarness): Promise<void> {
  const c = new Case(harness);
  let failure: unknown;
  try {
    await check.run(c);
  } catch (error) {
    failure = error;
  }
  try {
    await c.finish();
  } catch (error) {
    failure ??= error;
  }
  if (failure) throw failure;
}
