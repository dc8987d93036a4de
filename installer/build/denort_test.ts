import assert from "node:assert/strict";
import { checkSum, official } from "./denort.ts";
import { elfEnd } from "./elf.ts";
import { bytesOf, join, zip } from "./testing.ts";

Deno.test("a file with another sum stops the build", async () => {
  const abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
  await checkSum(bytesOf("abc"), abc, "it");
  await assert.rejects(checkSum(bytesOf("abd"), abc, "it"), /^Error: it has the SHA-256 .*stops/);
});

const answering = (response: Response) => () => Promise.resolve(response);

Deno.test("only a host that gives no file sends the build elsewhere", async () => {
  const error = console.error;
  console.error = () => {};
  try {
    const nobody = () => Promise.reject(new TypeError("no such host"));
    assert.equal(await official("t", nobody), undefined);
    assert.equal(await official("t", answering(new Response("", { status: 403 }))), undefined);
    const archive = await zip("denort", bytesOf("the runtime"));
    const bytes = await official("t", answering(new Response(archive)));
    assert.deepEqual(bytes, bytesOf("the runtime"));
    for (const broken of [archive.slice(0, -9), archive.slice(9), bytesOf("<html>")]) {
      await assert.rejects(official("t", answering(new Response(broken))), /cannot be read/);
    }
  } finally {
    console.error = error;
  }
});

/** An ELF header whose section header table has `count` entries of 64 bytes at `offset`. */
function elf(offset: bigint, count: number, length: number): Uint8Array<ArrayBuffer> {
  const file = new Uint8Array(length);
  const view = new DataView(file.buffer);
  view.setUint32(0, 0x7f454c46);
  file.set([2, 1, 1], 4); // 64 bits, little-endian
  view.setBigUint64(0x28, offset, true);
  view.setUint16(0x3a, 64, true);
  view.setUint16(0x3c, count, true);
  return file;
}

Deno.test("an ELF image ends behind its section headers", () => {
  const image = elf(100n, 3, 100 + 3 * 64);
  assert.equal(elfEnd(image), 292);
  assert.equal(elfEnd(join(image, bytesOf("a program's payload"))), 292);
  assert.throws(() => elfEnd(image.slice(0, 291)), /cut off/);
  assert.throws(() => elfEnd(image.slice(0, 40)), /not an ELF/);
  assert.throws(() => elfEnd(bytesOf("x".repeat(100))), /not an ELF/);
});
