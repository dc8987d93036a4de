/**
 * A conversation with the kernel over a Transport: requests with their acknowledgement, dumps, and
 * batches. Answers are matched by sequence number; what belongs to nothing asked is passed over.
 *
 * Dumps: the answer is many datagrams, ended by DONE. If the kernel's tables changed meanwhile
 * (NLM_F_DUMP_INTR) or datagrams were lost (ENOBUFS), what was read is thrown away and the dump is
 * taken again, five times at most.
 *
 * Requests: a lost answer (ENOBUFS) says nothing about the request: it may well be done. We look for
 * the answer among those that came through, and else say so with an ENOBUFS error; the caller reads
 * the state again.
 */

import { isKernelError, KernelError } from "../errors.ts";
import { type Acknowledgement, readAcknowledgement, toKernelError } from "./acknowledgement.ts";
import {
  NLM_F_ACK,
  NLM_F_DUMP,
  NLM_F_DUMP_INTR,
  NLM_F_REQUEST,
  NLMSG_DONE,
  NLMSG_ERROR,
} from "./constants.ts";
import { MessageCursor } from "./decoder.ts";
import { type Bytes, MessageEncoder } from "./encoder.ts";
import type { Transport } from "./transport.ts";

const dumpAttempts = 5;

/** What came back for a datagram of several messages. */
export interface BatchAnswer {
  /** The refusals, in the order in which they came; empty if there was none. */
  readonly refused: Acknowledgement[];
  /** Sequence numbers acknowledged with error 0. */
  readonly done: Set<number>;
  /** True if answers were lost: what is not in `refused` may have been refused all the same. */
  readonly lost: boolean;
}

export class Connection {
  /** One for all requests of this connection: everything is written, sent and read without a pause. */
  readonly #encoder = new MessageEncoder();
  readonly #cursor = new MessageCursor();
  #sequence = 0;
  #busy = false;
  #closed = false;

  constructor(readonly transport: Transport) {}

  /** A number for the next message: 1, 2, … never 0, which is the kernel's own. */
  nextSequence(): number {
    this.#sequence = (this.#sequence + 1) >>> 0 || 1;
    return this.#sequence;
  }

  /** As many numbers in a row; the first of them. They do not wrap around within. */
  nextSequences(count: number): number {
    if (this.#sequence + count > 0xffffffff) this.#sequence = 0;
    const first = this.#sequence + 1;
    this.#sequence += count;
    return first;
  }

  /**
   * Sends one request with NLM_F_ACK and waits for its end. `write` puts header and attributes;
   * `read` sees every object that comes back (GET, or NLM_F_ECHO). `operation` names it in errors.
   */
  request(
    operation: string,
    type: number,
    flags: number,
    write: (message: MessageEncoder) => void,
    read?: (message: MessageCursor) => void,
  ): void {
    const refusal = this.ask(operation, type, flags, write, read);
    if (refusal) throw toKernelError(refusal, operation);
  }

  /**
   * As request, for what may well be refused: an error with its stack costs more than the question. The
   * refusal, where it was.
   */
  ask(
    operation: string,
    type: number,
    flags: number,
    write: (message: MessageEncoder) => void,
    read?: (message: MessageCursor) => void,
  ): Acknowledgement | undefined {
    const sequence = this.#write(type, flags | NLM_F_REQUEST | NLM_F_ACK, write);
    this.transport.send(this.#encoder.finish());
    return this.#finish(operation, sequence, read);
  }

  /**
   * As request, with the kernel's work done on another thread. Until it is done nothing else may use
   * this connection (a TypeError says so), because it would read this one's answer.
   */
  async requestAsync(
    operation: string,
    type: number,
    flags: number,
    write: (message: MessageEncoder) => void,
    read?: (message: MessageCursor) => void,
  ): Promise<void> {
    const sequence = this.#write(type, flags | NLM_F_REQUEST | NLM_F_ACK, write);
    await this.#sendAsync(this.#encoder.finish());
    if (this.#closed) throw new KernelError(9, operation);
    const refusal = this.#finish(operation, sequence, read);
    if (refusal) throw toKernelError(refusal, operation);
  }

  /**
   * Reads a whole table: `decode` turns each message into an object, or undefined to leave it out.
   * Taken again when it was interrupted; a DONE with an error throws.
   */
  dump<T>(
    operation: string,
    type: number,
    write: (message: MessageEncoder) => void,
    decode: (message: MessageCursor) => T | undefined,
    flags = 0,
  ): T[] {
    const steps = this.#dumpSteps(operation, type, write, decode, flags);
    while (true) {
      const step = steps.next();
      if (step.done) return step.value;
      if (step.value) this.transport.send(step.value);
    }
  }

  /**
   * As dump, for tables of which reading takes long: between two datagrams of the answer `pause` may
   * let others have their turn. Until it is done nothing else may use this connection. With
   * `keepInterrupted` a dump that the kernel marks as interrupted by a change counts all the same: for
   * callers who know in another way whether the change was in what they read.
   */
  async dumpInTurns<T>(
    operation: string,
    type: number,
    write: (message: MessageEncoder) => void,
    decode: (message: MessageCursor) => T | undefined,
    pause: () => Promise<void> | void,
    keepInterrupted = false,
  ): Promise<T[]> {
    const steps = this.#dumpSteps(operation, type, write, decode, 0, keepInterrupted);
    try {
      while (true) {
        this.#busy = false;
        const step = steps.next();
        if (step.done) return step.value;
        // The kernel makes the first part of the answer while the request is sent, and may have to go
        // through a large and nearly empty table for it.
        if (step.value) await this.#sendAsync(step.value);
        this.#busy = true;
        if (!step.value) await pause();
        if (this.#closed) throw new KernelError(9, operation);
      }
    } finally {
      this.#busy = false;
    }
  }

  /** The attempts at a dump; stops with each request to be sent, and after each datagram read. */
  *#dumpSteps<T>(
    operation: string,
    type: number,
    write: (message: MessageEncoder) => void,
    decode: (message: MessageCursor) => T | undefined,
    flags: number,
    keepInterrupted = false,
  ): Generator<Bytes | undefined, T[]> {
    for (let attempt = 1;; attempt++) {
      const answer = yield* this.#dumpOnce(
        operation,
        type,
        write,
        decode,
        flags,
        keepInterrupted,
      );
      if (Array.isArray(answer)) return answer;
      if (attempt === dumpAttempts) {
        throw new KernelError(answer === "lost" ? 105 : 4, operation, {
          detail: `the table changed during each of ${dumpAttempts} attempts to read it`,
        });
      }
    }
  }

  /**
   * Sends messages that the caller wrote (each with a number from `nextSequence`) as one datagram and
   * gathers the answers until `last`, the number of a message with NLM_F_ACK, is answered. With no
   * `last` it takes what is there.
   */
  exchange(
    datagram: Bytes,
    last?: number,
    read?: (message: MessageCursor) => void,
  ): BatchAnswer {
    this.#assertFree();
    this.transport.send(datagram);
    return this.#gather(last, read);
  }

  /** As exchange, with the kernel's work done on another thread. The datagram must stay as it is. */
  async exchangeAsync(
    datagram: Bytes,
    last?: number,
    read?: (message: MessageCursor) => void,
  ): Promise<BatchAnswer> {
    this.#assertFree();
    await this.#sendAsync(datagram);
    if (this.#closed) throw new KernelError(9, "netlink transaction");
    return this.#gather(last, read);
  }

  #gather(last?: number, read?: (message: MessageCursor) => void): BatchAnswer {
    const refused: Acknowledgement[] = [];
    const done = new Set<number>();
    let lost = false, ended = false;
    const message = this.#cursor;
    while (true) {
      const datagram = this.#receive(last !== undefined && !ended && !lost);
      if (datagram === "lost") {
        lost = true;
        continue;
      }
      if (!datagram) break;
      for (message.aim(datagram); message.next();) {
        if (message.type === NLMSG_ERROR) {
          const ack = readAcknowledgement(message);
          if (ack.errno) refused.push(ack);
          else done.add(ack.sequence);
          if (ack.sequence === last) ended = true;
        } else if (message.type !== NLMSG_DONE) {
          read?.(message);
        }
      }
    }
    return { refused, done, lost: lost || (last !== undefined && !ended) };
  }

  close(): void {
    this.#closed = true;
    this.transport.close();
  }

  [Symbol.dispose](): void {
    this.close();
  }

  #assertFree(): void {
    if (this.#busy) throw new TypeError("the netlink connection waits for an asynchronous request");
  }

  async #sendAsync(datagram: Bytes): Promise<void> {
    this.#busy = true;
    try {
      await this.transport.sendAsync(datagram);
    } finally {
      this.#busy = false;
    }
  }

  #write(type: number, flags: number, write: (message: MessageEncoder) => void): number {
    this.#assertFree();
    const sequence = this.nextSequence();
    const encoder = this.#encoder.reset().begin(type, flags, sequence);
    write(encoder);
    encoder.end();
    return sequence;
  }

  /** Reads until the acknowledgement of `sequence`; gives it back where it refuses. */
  #finish(
    operation: string,
    sequence: number,
    read?: (message: MessageCursor) => void,
  ): Acknowledgement | undefined {
    const message = this.#cursor;
    let lost = false;
    while (true) {
      const datagram = this.#receive(!lost);
      if (datagram === "lost") {
        lost = true;
        continue;
      }
      if (!datagram) {
        throw new KernelError(lost ? 105 : 110, operation, {
          detail: "no answer; it may be done or not",
        });
      }
      for (message.aim(datagram); message.next();) {
        if (message.sequence !== sequence) continue;
        if (message.type === NLMSG_ERROR) {
          const ack = readAcknowledgement(message);
          return ack.errno ? ack : undefined;
        }
        read?.(message);
      }
    }
  }

  *#dumpOnce<T>(
    operation: string,
    type: number,
    write: (message: MessageEncoder) => void,
    decode: (message: MessageCursor) => T | undefined,
    flags: number,
    keepInterrupted: boolean,
  ): Generator<Bytes | undefined, T[] | "interrupted" | "lost"> {
    const sequence = this.#write(type, flags | NLM_F_REQUEST | NLM_F_DUMP, write);
    yield this.#encoder.finish();
    const objects: T[] = [];
    const message = this.#cursor;
    let interrupted = false, lost = false;
    while (true) {
      const datagram = this.#receive(!lost);
      if (datagram === "lost") {
        // The rest, and with luck the DONE, can still be read: the socket must be empty of this dump
        // before the next.
        lost = true;
        continue;
      }
      if (!datagram) {
        if (lost) return "lost";
        throw new KernelError(110, operation, { detail: "the dump stopped without an end" });
      }
      for (message.aim(datagram); message.next();) {
        if (message.sequence !== sequence) continue;
        if (message.flags & NLM_F_DUMP_INTR && !keepInterrupted) interrupted = true;
        if (message.type === NLMSG_DONE || message.type === NLMSG_ERROR) {
          const ack = readAcknowledgement(message);
          if (ack.errno && !(lost && ack.errno === 16)) throw toKernelError(ack, operation);
          return lost ? "lost" : interrupted ? "interrupted" : objects;
        }
        if (interrupted || lost) continue; // this attempt is void; read it to its end
        const object = decode(message);
        if (object !== undefined) objects.push(object);
      }
      yield undefined;
    }
  }

  #receive(wait: boolean): Uint8Array | undefined | "lost" {
    try {
      return this.transport.receive(wait);
    } catch (error) {
      if (isKernelError(error, "ENOBUFS")) return "lost";
      throw error;
    }
  }
}
