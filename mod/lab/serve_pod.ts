/**
 * The process of a lab's pod: answers on its ports. TCP: a line with the pod's name, then what the
 * caller sends comes back until it ends. UDP: the datagram comes back with the name in front.
 */
import { DatagramSocket } from "../../ffi/datagram.ts";
import { isKernelError } from "../../ffi/errors.ts";
import { listenTcp, type TcpStream } from "../../ffi/tcp.ts";
import { mustIp } from "../net/mod.ts";
import { LabError } from "./workloads.ts";

/** `tcp:80` and `udp:53`; serves until the process is ended. */
export function servePod(name: string, ports: readonly string[]): Promise<never> {
  const greeting = new TextEncoder().encode(`${name}\n`);
  const sockets: DatagramSocket[] = [];
  for (const text of ports) {
    const [, protocol, digits] = /^(tcp|udp):(\d{1,5})$/.exec(text) ?? [];
    const port = Number(digits);
    if (!protocol || port < 1 || port > 65535) {
      throw new LabError(`"${text}" is not a port to serve; want tcp:PORT or udp:PORT`);
    }
    for (const family of [4, 6] as const) {
      const local = { ip: mustIp(family === 4 ? "0.0.0.0" : "::"), port };
      if (protocol === "tcp") listenTcp({ local }, (stream) => echo(stream, greeting));
      else {
        const answer: DatagramSocket = new DatagramSocket(
          { family, local },
          ({ ip, port, bytes }) => answer.send(ip, port, concat(greeting, bytes)),
        );
        sockets.push(answer);
      }
    }
  }
  return new Promise<never>(() => {});
}

async function echo(stream: TcpStream, greeting: Uint8Array): Promise<void> {
  try {
    await stream.write(greeting);
    for (let bytes; (bytes = await stream.read());) await stream.write(bytes);
  } catch (error) {
    if (!isKernelError(error)) throw error; // the caller broke off
  } finally {
    stream.close();
  }
}

function concat(a: Uint8Array, b: Uint8Array): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(a.length + b.length);
  bytes.set(a);
  bytes.set(b, a.length);
  return bytes;
}
