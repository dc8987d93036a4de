import assert from "node:assert/strict";
import { bundle } from "./build.ts";

Deno.test("what is used once is closed in the bundle too", async () => {
  const folder = await Deno.makeTempDir();
  try {
    await Deno.writeTextFile(
      `${folder}/probe.ts`,
      `export const closed: string[] = [];
       class Door {
         constructor(readonly name: string) {}
         look() { return "seen"; }
         [Symbol.dispose]() { closed.push(this.name); }
       }
       export function once(): string {
         using door = new Door("only");
         return door.look();
       }`,
    );
    await bundle(`${folder}/out`, `${folder}/probe.ts`);
    const probe = await import(`file://${folder}/out/probe.js`);
    assert.equal(probe.once(), "seen");
    assert.deepEqual(probe.closed, ["only"]);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});
