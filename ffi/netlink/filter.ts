/**
 * A socket filter (classic BPF, SO_ATTACH_FILTER) that keeps a program's own echo from it: route
 * notifications that one port caused, of certain protocols. Whoever has just written ten thousand
 * routes knows of them; without the filter ten thousand notifications wait in its own queue, in front
 * of those that it does not know.
 *
 *     type is NEWROUTE or DELROUTE, port is ours, protocol is one of ours: dropped; all else: kept
 *
 * BPF loads big-endian, netlink is in the machine's order, so constants are turned round.
 */
import { setOption, SOL_SOCKET } from "../libc.ts";
import type { Bytes } from "./encoder.ts";

const SO_ATTACH_FILTER = 26;
const LOAD_WORD = 0x20, LOAD_HALF = 0x28, LOAD_BYTE = 0x30, JUMP_IF_EQUAL = 0x15, RETURN = 0x06;
/** Offsets in a notification: nlmsghdr, then rtmsg. */
const TYPE_AT = 4, PORT_AT = 12, PROTOCOL_AT = 16 + 5;
const KEEP = 0xffffffff, DROP = 0;

export interface PassOver {
  /** Whose doing is passed over. */
  readonly port: number;
  /** Message types. */
  readonly types: readonly number[];
  /** Route protocols (rtm_protocol). */
  readonly protocols: readonly number[];
}

type Instruction = [code: number, k: number, jumpTrue?: number, jumpFalse?: number];

/** struct sock_filter[]. */
export function passOverProgram({ port, types, protocols }: PassOver): Bytes {
  const program: Instruction[] = [];
  // Three loads, the port, KEEP and DROP. Jumps count from the next instruction.
  const size = types.length + protocols.length + 6;
  const keepFrom = (at: number) => size - 2 - (at + 1),
    dropFrom = (at: number) => size - 1 - (at + 1);
  program.push([LOAD_HALF, TYPE_AT]);
  types.forEach((type, i) => {
    const at = program.length, left = types.length - 1 - i;
    program.push([JUMP_IF_EQUAL, swapped16(type), left, left > 0 ? 0 : keepFrom(at)]);
  });
  program.push([LOAD_WORD, PORT_AT]);
  program.push([JUMP_IF_EQUAL, swapped32(port), 0, keepFrom(program.length)]);
  program.push([LOAD_BYTE, PROTOCOL_AT]);
  for (const protocol of protocols) {
    program.push([JUMP_IF_EQUAL, protocol, dropFrom(program.length), 0]);
  }
  program.push([RETURN, KEEP], [RETURN, DROP]);
  const bytes = new Uint8Array(8 * program.length), view = new DataView(bytes.buffer);
  program.forEach(([code, k, jumpTrue = 0, jumpFalse = 0], i) => {
    view.setUint16(8 * i, code, true);
    bytes[8 * i + 2] = jumpTrue;
    bytes[8 * i + 3] = jumpFalse;
    view.setUint32(8 * i + 4, k, true);
  });
  return bytes;
}

function swapped16(n: number): number {
  return (n & 0xff) << 8 | n >> 8;
}

function swapped32(n: number): number {
  const view = new DataView(new ArrayBuffer(4));
  view.setUint32(0, n, true);
  return view.getUint32(0);
}

/** The kernel copies the program. */
export function attachFilter(fd: number, program: Bytes): void {
  const head = new Uint8Array(16), view = new DataView(head.buffer);
  view.setUint16(0, program.length / 8, true);
  view.setBigUint64(8, Deno.UnsafePointer.value(Deno.UnsafePointer.of(program)), true);
  setOption(fd, SOL_SOCKET, SO_ATTACH_FILTER, head, "filter netlink notifications");
}
