/** Against what a real Calico 3.32 wrote: our reading and writing of its records gives its bytes. */
import assert from "node:assert/strict";
import { parseJson, printJson } from "../store/json.ts";
import { parseBlockKey } from "../model/keys.ts";
import { type AllocationBlock, readBlock, written } from "./block.ts";
import { giveBackHandle } from "./block_changes.ts";
import { checkBlock } from "./testing/checks.ts";

const DUMP = new URL("../../../shared/reference/calico-etcd-dump.md", import.meta.url);

async function read(): Promise<string | undefined> {
  try {
    return await Deno.readTextFile(DUMP);
  } catch {
    return undefined;
  }
}

const text = await read();
const where = text === undefined ? " (skipped: shared/reference is not here)" : "";

/** Key and JSON texts of a section: `key`, then one or two fenced values. */
function records(section: string): { key: string; values: string[] }[] {
  const body = text!.split(`\n## ${section}\n`)[1].split("\n## ")[0];
  return body.split(/\n(?=[a-z: ]*`\/calico)/).slice(1).map((part) => ({
    key: /`([^`]+)`/.exec(part)![1],
    values: [...part.matchAll(/```json\n(.*)\n```/g)].map((match) => match[1]),
  }));
}

Deno.test({
  name: `Calico's blocks are read and written without a change${where}`,
  ignore: text === undefined,
  fn() {
    const blocks = records("IPAM: blocks");
    assert(blocks.length >= 6);
    for (const { key, values: [json] } of blocks) {
      const prefix = parseBlockKey(key)!;
      const block = readBlock(parseJson(json), prefix);
      checkBlock(prefix, block);
      const before = { ...block, sequenceNumber: BigInt(block.sequenceNumber) - 1n };
      assert.equal(printJson(written(before)), json);
    }
  },
});

Deno.test({
  name: `a release by handle writes what Calico's did${where}`,
  ignore: text === undefined,
  fn() {
    const changed = records("IPAM: what a release changes").filter((r) => r.values.length === 2);
    assert.equal(changed.length, 2);
    const handles = ["calnet.ctr6", "calsmall.ctr3"];
    changed.forEach(({ key, values: [before, after] }, i) => {
      const block: AllocationBlock = readBlock(parseJson(before), parseBlockKey(key)!);
      const released = giveBackHandle(block, handles[i], { seconds: 0, now: 0 });
      assert.equal(released.ordinals.length, 1);
      assert.equal(printJson(written(released.block)), after);
    });
  },
});
