import assert from "node:assert/strict";
import { Collection } from "./archive.ts";
import type { Io } from "../io.ts";

Deno.test("two archives of one second are two files", async () => {
  const folder = await Deno.makeTempDir();
  try {
    const write = () => new Collection("diagnostics", {} as Io, 0).write(folder, "d.tar.gz");
    assert.equal(await write(), `${folder}/d.tar.gz`);
    assert.equal(await write(), `${folder}/d-2.tar.gz`);
    assert.equal(await write(), `${folder}/d-3.tar.gz`);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});
