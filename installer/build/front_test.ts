import assert from "node:assert/strict";
import { VERSION_ANSWER } from "../../cni/versions.ts";
import {
  deferRelocations,
  elfEnd,
  PT_DYNAMIC,
  PT_GNU_RELRO,
  PT_INTERP,
  PT_LOAD,
  PT_NOTE,
  PT_TLS,
  readImage,
} from "./elf.ts";
import { checkProduct, constants, placeFront } from "./front.ts";

const PAGE = 4096;
const PT_PHDR = 6;

interface Header {
  type: number;
  offset: number;
  size: number;
}

/** Of the program below: its dynamic section, its relocations, and what is read-only after them. */
const DYNAMIC = 0x380, RELOCATIONS = 0x400, RELRO = 0x500;
const USUAL: Header[] = [
  { type: PT_NOTE, offset: 0x200, size: 16 },
  { type: PT_DYNAMIC, offset: DYNAMIC, size: 5 * 16 },
  { type: PT_GNU_RELRO, offset: RELRO, size: 64 },
  { type: PT_TLS, offset: RELRO + 64, size: 8 },
];

/**
 * A position-independent program: header, program headers, two pages, one section header; two relative
 * relocations and one that names a symbol.
 */
function program(
  more = USUAL,
  interpreter = true,
): Uint8Array<ArrayBuffer> {
  const rows: (Header & { address?: number })[] = [
    { type: PT_PHDR, offset: 64, size: 0 },
    ...(interpreter ? [{ type: PT_INTERP, offset: 0x300, size: 11 }] : []),
    { type: PT_LOAD, offset: 0, size: PAGE },
    { type: PT_LOAD, offset: PAGE, size: PAGE, address: 2 * PAGE },
    ...more,
  ];
  const file = new Uint8Array(2 * PAGE + 64);
  const view = new DataView(file.buffer);
  view.setUint32(0, 0x7f454c46);
  file.set([2, 1, 1], 4);
  view.setUint16(16, 3, true);
  view.setUint16(18, 62, true);
  view.setBigUint64(24, 0x1234n, true); // entry
  view.setBigUint64(32, 64n, true); // program headers
  view.setBigUint64(40, BigInt(2 * PAGE), true); // section headers
  view.setUint16(54, 56, true);
  view.setUint16(56, rows.length, true);
  view.setUint16(58, 64, true);
  view.setUint16(60, 1, true);
  rows.forEach(({ type, offset, size, address = offset }, i) => {
    const at = 64 + i * 56;
    view.setUint32(at, type, true);
    for (const [j, value] of [offset, address, address, size, size, PAGE].entries()) {
      view.setBigUint64(at + 8 + j * 8, BigInt(value), true);
    }
  });
  file.set(new TextEncoder().encode("/lib/ld.so\0"), 0x300);
  [[7, RELOCATIONS], [8, 72], [9, 24], [0x6ffffff9, 2], [0, 0]].flat()
    .forEach((word, i) => view.setBigUint64(DYNAMIC + 8 * i, BigInt(word), true));
  [[RELRO, 8, 0x40], [RELRO + 8, 8, 0x50], [RELRO + 16, 6, 0]].flat()
    .forEach((word, i) => view.setBigUint64(RELOCATIONS + 8 * i, BigInt(word), true));
  return file;
}

function code(): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(100).fill(0x90);
  bytes.fill(0, 0, 80);
  bytes.set(new TextEncoder().encode("TORTIEFD"));
  return bytes;
}

Deno.test("the front door is one more segment, in which the program starts", () => {
  for (const variant of ["loaded", "direct"] as const) {
    const before = program();
    const after = placeFront(before, code(), "x86_64", variant);
    const { entry, headers } = readImage(after);
    const loads = headers.filter(({ type }) => type === PT_LOAD);
    assert.equal(loads.length, 3);
    assert.equal(headers.length, readImage(before).headers.length, "the table keeps its size");
    const { offset, address, fileSize } = loads[2];
    assert.deepEqual([offset, address, fileSize], [3 * PAGE, 3 * PAGE, 100]);
    assert.deepEqual(
      loads.map((l) => l.address),
      loads.map((l) => l.address).sort((a, b) => a - b),
    );
    assert.equal(entry, address + 80);
    assert.equal(headers.some(({ type }) => type === PT_INTERP), variant === "loaded");
    assert.equal(headers.some(({ type }) => type === PT_NOTE), variant === "direct");
    // What stood there stands there, but for the entry, the program headers and the hidden relocations.
    const dynamic = (at: number) => variant === "loaded" && at >= DYNAMIC && at < DYNAMIC + 80;
    for (let at = 0x200; at < before.length; at++) {
      if (!dynamic(at)) assert.equal(after[at], before[at], String(at));
    }
    const place = new DataView(after.buffer, offset);
    const fields = Array.from({ length: 8 }, (_, i) => Number(place.getBigInt64(8 + 8 * i, true)));
    assert.deepEqual(
      fields,
      variant === "direct"
        ? [-address, 0x1234, 0x300, 11, 0, 0, 0, 0]
        : [-address, 0x1234, 0, 0, RELOCATIONS, 2, RELRO, 64],
    );
  }
});

Deno.test("ld.so sees the relocations that name symbols, and no other", () => {
  const before = program();
  const { file, deferred } = deferRelocations(before);
  assert.deepEqual(deferred, {
    relocations: RELOCATIONS,
    count: 2,
    sealed: RELRO,
    sealedSize: 64,
  });
  const view = new DataView(file.buffer, DYNAMIC);
  const words = Array.from({ length: 10 }, (_, i) => Number(view.getBigUint64(8 * i, true)));
  assert.deepEqual(words, [7, RELOCATIONS + 48, 8, 24, 9, 24, 0x6ffffff9, 0, 0, 0]);
  assert.deepEqual(file.slice(RELOCATIONS), before.slice(RELOCATIONS), "the table stays");

  const refused = (change: (view: DataView) => void, why: RegExp, of = program()) => {
    change(new DataView(of.buffer));
    assert.throws(() => deferRelocations(of), why);
  };
  const without = (type: number) => program(USUAL.filter((header) => header.type !== type));
  refused(() => {}, /0 segments PT_DYNAMIC/, without(PT_DYNAMIC));
  refused(() => {}, /0 segments PT_GNU_RELRO/, without(PT_GNU_RELRO));
  refused((v) => v.setUint32(DYNAMIC + 48, 5, true), /no tag 1879048185/);
  refused((v) => v.setUint32(DYNAMIC + 40, 16, true), /not of the known form/);
  refused((v) => v.setUint32(DYNAMIC + 56, 4, true), /not of the known form/);
  refused((v) => v.setUint32(DYNAMIC + 64, 36, true), /not of the known form/);
  refused((v) => v.setUint32(DYNAMIC + 56, 3, true), /not all relative/);
  refused((v) => v.setUint32(DYNAMIC + 8, 0x100000, true), /not in the file/);
  refused((v) => v.setUint32(DYNAMIC + 24, 0x10000, true), /cut off/);
  // Of a word that reaches into the thread-local variables too.
  refused((v) => v.setUint32(DYNAMIC + 64, 22, true), /not of the known form/);
  refused((v) => v.setUint32(DYNAMIC + 64, 32, true), /not of the known form/);
  refused((v) => v.setUint32(RELOCATIONS + 56, 37, true), /functions that ld.so calls/);
  // The same on the other machine, whose relocations have other numbers.
  const other = program();
  const numbers = new DataView(other.buffer);
  numbers.setUint16(18, 183, true);
  for (const at of [8, 32]) numbers.setUint32(RELOCATIONS + at, 1027, true);
  assert.equal(deferRelocations(other.slice()).deferred.count, 2);
  refused((v) => v.setUint32(RELOCATIONS + 56, 1032, true), /functions that ld.so calls/, other);
  for (const at of [RELRO + 57, RELRO + 64, RELRO + 71]) {
    refused((v) => v.setUint32(RELOCATIONS + 24, at, true), /thread-local variables/);
  }
  const beside = program();
  new DataView(beside.buffer).setUint32(RELOCATIONS + 24, RELRO + 56, true);
  deferRelocations(beside);
});

Deno.test("what is no denort stops the build", () => {
  const place = (file: Uint8Array, blob = code(), arch = "x86_64") => () =>
    placeFront(file, blob, arch, "loaded");
  const changed = (change: (view: DataView) => void) => {
    const file = program();
    change(new DataView(file.buffer));
    return file;
  };
  const longer = new Uint8Array(program().length + 5);
  longer.set(program());
  assert.throws(place(longer), /5 bytes behind its section headers.*finished program/);
  assert.equal(elfEnd(placeFront(program(), code(), "x86_64", "loaded")), 3 * PAGE + 104 + 128);
  const patched = placeFront(program(), code(), "x86_64", "loaded");
  assert.throws(place(patched), /denort has a front door already/);
  assert.throws(place(program().slice(0, -1)), /cut off/);
  assert.throws(place(program().slice(0, 70)), /cut off/);
  assert.throws(place(new Uint8Array(10)), /not an ELF file/);
  assert.throws(place(program(), code(), "aarch64"), /not for aarch64/);
  assert.throws(place(program(USUAL.slice(1))), /0 program headers of type 4/);
  assert.throws(place(program(undefined, false)), /linked statically, or damaged/);
  assert.throws(place(program(), code().fill(0, 0, 8)), /struct place/);
  assert.throws(place(changed((v) => v.setUint16(16, 2, true))), /position-independent/);
  assert.throws(place(changed((v) => v.setUint8(4, 1))), /64-bit/);
});

Deno.test("a deno compile that changes the runtime stops the build", () => {
  const denort = placeFront(program(), code(), "x86_64", "loaded");
  const product = new Uint8Array(denort.length + 50);
  product.set(denort);
  checkProduct(product, denort);
  assert.throws(() => checkProduct(denort, denort), /did not leave the runtime as it was/);
  for (const at of [24, 70, denort.length - 1]) {
    const other = product.slice();
    other[at] ^= 1;
    assert.throws(() => checkProduct(other, denort), /with --no-front/, String(at));
  }
  assert.throws(() => checkProduct(product.slice(0, 100), denort), /with --no-front/);
});

Deno.test("the constants of the C source are those of the plugin", () => {
  const defined = new Map(
    constants().trim().split("\n").map((line) => {
      const [, name, value] = /^#define (\w+) (.*)$/.exec(line)!;
      return [name, value];
    }),
  );
  assert.equal(JSON.parse(defined.get("VERSION_ANSWER")!), VERSION_ANSWER);
  assert.equal(defined.get("REQUEST_WORDS"), '"TORTIE1\\000cni"');
  assert.equal(defined.get("MAX_BYTES"), "1048576");
  assert.equal(defined.get("ANSWER_SECONDS"), '"120"');
  assert.equal(elfEnd(program()), program().length);
});
