/**
 * As much of a 64-bit little-endian ELF file as the build must know (System V ABI, chapters 4 and 5): where
 * its image ends, and its program headers, to put one more piece of code into it.
 */

export const PT_LOAD = 1, PT_DYNAMIC = 2, PT_INTERP = 3, PT_NOTE = 4, PT_TLS = 7;
export const PT_GNU_RELRO = 0x6474e552;
/** Tags of the dynamic section. */
const DT_PLTRELSZ = 2, DT_RELA = 7, DT_RELASZ = 8, DT_RELAENT = 9, DT_TEXTREL = 22, DT_JMPREL = 23;
const DT_PREINIT_ARRAY = 32, DT_RELR = 36, DT_RELACOUNT = 0x6ffffff9;
const RELA = 24;
const SHT_PROGBITS = 1, SHF_ALLOC = 2, SHF_EXECINSTR = 4;
const ET_DYN = 3, PF_X = 1, PF_R = 4;
const HEADER = 64, PROGRAM_HEADER = 56, SECTION_HEADER = 64;
/** Offsets in the file's header. */
const E_TYPE = 16, E_MACHINE = 18, E_ENTRY = 24, E_PHOFF = 32, E_SHOFF = 40, E_PHENTSIZE = 54;
const E_PHNUM = 56, E_SHENTSIZE = 58, E_SHNUM = 60;

/** e_machine. */
export const MACHINES: Record<string, number> = { x86_64: 62, aarch64: 183 };
/** R_X86_64_RELATIVE, R_AARCH64_RELATIVE: to the word at an offset goes base + addend. */
const RELATIVE: Record<number, bigint> = { 62: 8n, 183: 1027n };
/** R_X86_64_IRELATIVE, R_AARCH64_IRELATIVE: ld.so calls a function of the program's to hear what goes there. */
const IRELATIVE: Record<number, number> = { 62: 37, 183: 1032 };

export interface ProgramHeader {
  readonly type: number;
  readonly offset: number;
  readonly address: number;
  readonly fileSize: number;
  readonly memorySize: number;
  readonly align: number;
  /** As it is in the file. */
  readonly bytes: Uint8Array;
}

function viewOf(file: Uint8Array): DataView {
  const view = new DataView(file.buffer, file.byteOffset, file.byteLength);
  if (file.byteLength < HEADER || view.getUint32(0) !== 0x7f454c46) {
    throw new Error("not an ELF file");
  }
  if (file[4] !== 2 || file[5] !== 1) throw new Error("not a 64-bit little-endian ELF file");
  return view;
}

const u64 = (view: DataView, at: number) => Number(view.getBigUint64(at, true));

/** Where the ELF image ends: behind its section header table, which linkers write last. */
export function elfEnd(file: Uint8Array): number {
  const view = viewOf(file);
  const end = u64(view, E_SHOFF) +
    view.getUint16(E_SHENTSIZE, true) * view.getUint16(E_SHNUM, true);
  if (end > file.byteLength) throw new Error("the ELF file is cut off");
  return end;
}

export interface Image {
  readonly machine: number;
  readonly entry: number;
  readonly headers: readonly ProgramHeader[];
}

/** Throws where it is no position-independent program. */
export function readImage(file: Uint8Array): Image {
  const view = viewOf(file);
  if (view.getUint16(E_TYPE, true) !== ET_DYN) {
    throw new Error("not a position-independent program");
  }
  if (view.getUint16(E_PHENTSIZE, true) !== PROGRAM_HEADER) {
    throw new Error("unknown program headers");
  }
  const first = u64(view, E_PHOFF), count = view.getUint16(E_PHNUM, true);
  if (first + count * PROGRAM_HEADER > file.byteLength) throw new Error("the ELF file is cut off");
  const headers = Array.from({ length: count }, (_, i) => {
    const at = first + i * PROGRAM_HEADER;
    return {
      type: view.getUint32(at, true),
      offset: u64(view, at + 8),
      address: u64(view, at + 16),
      fileSize: u64(view, at + 32),
      memorySize: u64(view, at + 40),
      align: u64(view, at + 48),
      bytes: file.slice(at, at + PROGRAM_HEADER),
    };
  });
  return { machine: view.getUint16(E_MACHINE, true), entry: u64(view, E_ENTRY), headers };
}

/** What ld.so leaves to the program itself. All are addresses of the image, before it is loaded. */
export interface Deferred {
  /** Elf64_Rela, all of them relative. */
  readonly relocations: number;
  readonly count: number;
  /** PT_GNU_RELRO: what ld.so has made read-only when the program starts. */
  readonly sealed: number;
  readonly sealedSize: number;
}

/**
 * The program whose relative relocations ld.so does not see: its table begins behind them. Who starts in
 * it has to apply them before anything else of the program runs. Throws where that could not be: where the
 * table is not as linkers write it, or ld.so itself needs what is to be relocated: the first values of
 * thread-local variables, which it copies, and functions that it calls before the program starts.
 */
export function deferRelocations(
  file: Uint8Array,
): { file: Uint8Array<ArrayBuffer>; deferred: Deferred } {
  const { machine, headers } = readImage(file);
  const one = (type: number, name: string) => {
    const found = headers.filter((header) => header.type === type);
    if (found.length !== 1) throw new Error(`the program has ${found.length} segments ${name}`);
    return found[0];
  };
  const offsetOf = (address: number) => {
    const segment = headers.find((h) =>
      h.type === PT_LOAD && address >= h.address && address < h.address + h.fileSize
    );
    if (!segment) throw new Error("the program's relocations are not in the file");
    return address - segment.address + segment.offset;
  };
  const dynamic = one(PT_DYNAMIC, "PT_DYNAMIC"), relro = one(PT_GNU_RELRO, "PT_GNU_RELRO");
  const result = file.slice();
  const view = viewOf(result);
  const tags = new Map<number, number>();
  for (let at = dynamic.offset; at < dynamic.offset + dynamic.fileSize; at += 16) {
    tags.set(u64(view, at), at + 8);
  }
  const valueAt = (tag: number) => {
    const at = tags.get(tag);
    if (at === undefined) throw new Error(`the program's dynamic section has no tag ${tag}`);
    return at;
  };
  const relocations = u64(view, valueAt(DT_RELA)), count = u64(view, valueAt(DT_RELACOUNT));
  const size = u64(view, valueAt(DT_RELASZ));
  const unknown = [DT_RELR, DT_TEXTREL, DT_PREINIT_ARRAY].some((tag) => tags.has(tag));
  if (u64(view, valueAt(DT_RELAENT)) !== RELA || count * RELA > size || unknown) {
    throw new Error("the program's relocations are not of the known form");
  }
  const tls = headers.filter(({ type }) => type === PT_TLS);
  const first = offsetOf(relocations);
  if (first + size > file.length) throw new Error("the ELF file is cut off");
  for (let at = first; at < first + count * RELA; at += RELA) {
    const target = u64(view, at);
    if (view.getBigUint64(at + 8, true) !== RELATIVE[machine]) {
      throw new Error("the program's first relocations are not all relative");
    }
    if (tls.some((t) => target + 8 > t.address && target < t.address + t.fileSize)) {
      throw new Error("the program's thread-local variables have relocations");
    }
  }
  const called = (from: number, to: number) => {
    for (let at = from; at < to; at += RELA) {
      if (view.getUint32(at + 8, true) === IRELATIVE[machine]) return true;
    }
    return false;
  };
  const calls = tags.has(DT_JMPREL) ? offsetOf(u64(view, valueAt(DT_JMPREL))) : 0;
  const callsEnd = calls && calls + u64(view, valueAt(DT_PLTRELSZ));
  if (callsEnd > file.length) throw new Error("the ELF file is cut off");
  if (called(first + count * RELA, first + size) || called(calls, callsEnd)) {
    throw new Error("the program has functions that ld.so calls before it starts");
  }
  view.setBigUint64(valueAt(DT_RELA), BigInt(relocations + count * RELA), true);
  view.setBigUint64(valueAt(DT_RELASZ), BigInt(size - count * RELA), true);
  view.setBigUint64(valueAt(DT_RELACOUNT), 0n, true);
  return {
    file: result,
    deferred: { relocations, count, sealed: relro.address, sealedSize: relro.memorySize },
  };
}

/** Where one more segment of code can stand: behind all others, in the file and in memory. */
export function spaceBehind(file: Uint8Array): { offset: number; address: number; align: number } {
  const loads = readImage(file).headers.filter(({ type }) => type === PT_LOAD);
  if (loads.length === 0) throw new Error("the program has no segment");
  const align = Math.max(4096, ...loads.map((load) => load.align));
  const up = (n: number) => Math.ceil(n / align) * align;
  const top = Math.max(...loads.map(({ address, memorySize }) => address + memorySize));
  return { offset: up(file.length), address: up(top), align };
}

/**
 * The program with one more segment of code, and a section that covers it: tools that go by sections, strip
 * before all, know then that it is there. The segment's program header takes the place of one of another
 * type, so that the table keeps its place and size; `start` is the offset in the code at which the program
 * starts.
 */
export function withCode(
  file: Uint8Array,
  code: Uint8Array,
  start: number,
  replaced: number,
): Uint8Array<ArrayBuffer> {
  const { headers } = readImage(file);
  const { offset, address, align } = spaceBehind(file);
  const load = new Uint8Array(PROGRAM_HEADER);
  const view = new DataView(load.buffer);
  view.setUint32(0, PT_LOAD, true);
  view.setUint32(4, PF_R | PF_X, true);
  [offset, address, address, code.length, code.length, align]
    .forEach((value, i) => view.setBigUint64(8 + i * 8, BigInt(value), true));
  const kept = headers.filter(({ type }) => type !== replaced);
  if (kept.length !== headers.length - 1) {
    throw new Error(
      `the program has ${headers.length - kept.length} program headers of type ${replaced}`,
    );
  }
  // The kernel wants the loaded ones in the order of their addresses.
  const behind = kept.findLastIndex(({ type }) => type === PT_LOAD) + 1;
  const table = [
    ...kept.slice(0, behind).map(({ bytes }) => bytes),
    load,
    ...kept.slice(behind).map(({ bytes }) => bytes),
  ];
  const source = viewOf(file);
  const sections = u64(source, E_SHOFF), count = source.getUint16(E_SHNUM, true);
  const moved = Math.ceil((offset + code.length) / 8) * 8;
  const result = new Uint8Array(moved + (count + 1) * SECTION_HEADER);
  result.set(file);
  result.set(code, offset);
  result.set(file.subarray(sections, sections + count * SECTION_HEADER), moved);
  const target = new DataView(result.buffer);
  const section = new DataView(result.buffer, moved + count * SECTION_HEADER);
  // It is called as the first section of code is: a name of its own would want another string table.
  section.setUint32(0, nameOfCode(target, moved, count), true);
  section.setUint32(4, SHT_PROGBITS, true);
  [SHF_ALLOC | SHF_EXECINSTR, address, offset, code.length]
    .forEach((value, i) => section.setBigUint64(8 + i * 8, BigInt(value), true));
  section.setBigUint64(48, 16n, true);
  target.setBigUint64(E_SHOFF, BigInt(moved), true);
  target.setUint16(E_SHNUM, count + 1, true);
  const first = u64(target, E_PHOFF);
  table.forEach((bytes, i) => result.set(bytes, first + i * PROGRAM_HEADER));
  target.setBigUint64(E_ENTRY, BigInt(address + start), true);
  return result;
}

/** The name's offset of a section of code; 0, which is no name, where there is none. */
function nameOfCode(view: DataView, sections: number, count: number): number {
  for (let i = 0; i < count; i++) {
    const at = sections + i * SECTION_HEADER;
    if (u64(view, at + 8) & SHF_EXECINSTR) return view.getUint32(at, true);
  }
  return 0;
}
