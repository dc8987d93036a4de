/**
 * Probes with real packets out of a pod's network namespace: ICMP echo, TCP connect, UDP echo. All run
 * in this one process, many at once; a socket made inside a namespace stays there.
 */
import { type Datagram, DatagramSocket } from "../../ffi/datagram.ts";
import type { Netns } from "../../ffi/netns.ts";
import { connectTcp } from "../../ffi/tcp.ts";
import { isKernelError } from "../../ffi/errors.ts";
import { type Ip, sameIp } from "../net/mod.ts";
import { echoRequest, ICMP, ICMPV6, readEchoReply } from "../net/icmp.ts";

let lastId = Math.floor(Math.random() * 0x8000);

/** Echo requests to one address, counted by sequence number. */
export class Pinger {
  readonly #id = ++lastId & 0xffff;
  readonly #socket: DatagramSocket;
  readonly #answered = new Set<number>();
  #sent = 0;
  #timer: number | undefined;
  #heard?: (sequence: number) => void;

  constructor(readonly target: Ip, netns: Netns) {
    const { family } = target;
    this.#socket = new DatagramSocket(
      { family, protocol: family === 4 ? ICMP : ICMPV6, netns, receiveBuffer: 1 << 20 },
      (datagram) => this.#receive(datagram),
    );
  }

  #receive({ ip, bytes }: Datagram): void {
    if (!sameIp(ip, this.target)) return;
    const reply = readEchoReply(this.target.family, bytes);
    if (reply?.id !== this.#id) return;
    this.#answered.add(reply.sequence);
    this.#heard?.(reply.sequence);
  }

  #send(): number {
    const sequence = this.#sent++ & 0xffff;
    this.#socket.send(this.target, 0, echoRequest(this.target.family, this.#id, sequence));
    return sequence;
  }

  /** Sends one every `interval` milliseconds until `stop`. */
  start(interval: number): void {
    this.#timer = setInterval(() => this.#send(), interval);
  }

  /** Ends, after waiting for what is still under way. */
  async stop(wait = 1000): Promise<{ sent: number; lost: number[] }> {
    clearInterval(this.#timer);
    const until = performance.now() + wait;
    while (this.#answered.size < this.#sent && performance.now() < until) {
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    this.#socket.close();
    const lost = Array.from({ length: this.#sent }, (_, i) => i)
      .filter((i) => !this.#answered.has(i & 0xffff));
    return { sent: this.#sent, lost };
  }

  /** One request; milliseconds to its answer, undefined where none came in time. */
  async once(timeout: number): Promise<number | undefined> {
    const began = performance.now();
    const answered = new Promise<boolean>((resolve) => {
      const timer = setTimeout(() => resolve(false), timeout);
      this.#heard = () => {
        clearTimeout(timer);
        resolve(true);
      };
    });
    this.#send();
    const ok = await answered;
    this.#socket.close();
    return ok ? performance.now() - began : undefined;
  }
}

/** Sends up to three pings; milliseconds of the first answer, undefined where none came. */
export async function ping(netns: Netns, target: Ip, timeout = 700): Promise<number | undefined> {
  for (let attempt = 0; attempt < 3; attempt++) {
    const time = await new Pinger(target, netns).once(timeout);
    if (time !== undefined) return time;
  }
}

export type Outcome = "open" | "refused" | "silent";

/** Whether a TCP connection comes about. */
export async function probeTcp(
  netns: Netns,
  target: Ip,
  port: number,
  timeout = 700,
): Promise<Outcome> {
  try {
    const stream = await connectTcp({ remote: { ip: target, port }, netns, timeout });
    stream.close();
    return "open";
  } catch (error) {
    if (!isKernelError(error)) throw error;
    return error.code === "ECONNREFUSED" ? "refused" : "silent";
  }
}

/** Whether a UDP datagram is answered. */
export async function probeUdp(
  netns: Netns,
  target: Ip,
  port: number,
  timeout = 700,
): Promise<Outcome> {
  for (let attempt = 0; attempt < 2; attempt++) {
    const answered = await new Promise<boolean>((resolve) => {
      const done = (result: boolean) => {
        clearTimeout(timer);
        socket.close();
        resolve(result);
      };
      const socket = new DatagramSocket({ family: target.family, netns }, () => done(true));
      const timer = setTimeout(() => done(false), timeout);
      socket.send(target, port, new TextEncoder().encode("probe\n"));
    });
    if (answered) return "open";
  }
  return "silent";
}
