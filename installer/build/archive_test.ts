import assert from "node:assert/strict";
import { inflateEntry, untar } from "./archive.ts";
import { bytesOf, gzip, tar, zip } from "./testing.ts";

const content = bytesOf("something to say, and to say, and to say again\n".repeat(40));
const files = { "package/a": bytesOf("a"), "package/b": content, "package/c": bytesOf("") };

Deno.test("a file is taken out of a .tgz", async () => {
  const tgz = await gzip(tar(files));
  for (const [name, bytes] of Object.entries(files)) {
    assert.deepEqual(await untar(tgz, name), bytes);
  }
  await assert.rejects(untar(tgz, "package/d"), /has no file package\/d/);
});

Deno.test("a damaged .tgz is refused", async () => {
  const whole = tar(files);
  const tgz = await gzip(whole);
  await assert.rejects(untar(tgz.slice(0, tgz.length - 20), "package/c"));
  await assert.rejects(untar(bytesOf("no gzip at all"), "package/a"));
  // The second file's content is cut off inside a whole gzip.
  await assert.rejects(untar(await gzip(whole.slice(0, 1600)), "package/b"), /damaged/);
  const flipped = whole.slice();
  flipped[3] ^= 1;
  await assert.rejects(untar(await gzip(flipped), "package/b"), /damaged/);
});

Deno.test("a file is taken out of a zip, deflated or stored", async () => {
  for (const stored of [false, true]) {
    const archive = await zip("denort", content, stored);
    assert.deepEqual(await inflateEntry(archive, "denort"), content);
    await assert.rejects(inflateEntry(archive, "deno"), /has no file deno/);
  }
});

Deno.test("a damaged zip is refused", async () => {
  for (const stored of [false, true]) {
    const archive = await zip("denort", content, stored);
    const damaged = archive.slice();
    damaged[30 + "denort".length + 4] ^= 0x40;
    await assert.rejects(inflateEntry(damaged, "denort"), /damaged/);
    await assert.rejects(inflateEntry(archive.slice(0, -30), "denort"), /not a zip/);
    // Cut in front: every offset leads elsewhere.
    await assert.rejects(inflateEntry(archive.slice(50), "denort"), /damaged/);
  }
});
