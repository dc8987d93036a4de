/** A TCP transfer from one pod to another, with a hash of what was sent and of what came. */
import { createHash } from "node:crypto";
import type { Netns } from "../../ffi/netns.ts";
import { connectTcp, listenTcp } from "../../ffi/tcp.ts";
import { type Ip, mustIp } from "../net/mod.ts";

const CHUNK = 65536;

export interface Transferred {
  /** SHA-256 of what was sent and of what was received. */
  readonly sent: string;
  readonly received: string;
  readonly seconds: number;
}

/** Sends so many bytes to the address, at most `rate` bytes a second. */
export async function transfer(
  from: Netns,
  to: Netns,
  address: Ip,
  bytes: number,
  rate: number,
): Promise<Transferred> {
  const began = performance.now();
  const arrived = Promise.withResolvers<string>();
  const listener = listenTcp(
    { local: { ip: mustIp("0.0.0.0"), port: 0 }, netns: to },
    async (s) => {
      const hash = createHash("sha256");
      try {
        for (let chunk; (chunk = await s.read());) hash.update(chunk);
        arrived.resolve(hash.digest("hex"));
      } catch (error) {
        arrived.reject(error);
      } finally {
        s.close();
      }
    },
  );
  try {
    const stream = await connectTcp({
      remote: { ip: address, port: listener.port },
      netns: from,
      timeout: 5000,
    });
    const hash = createHash("sha256");
    const chunk = new Uint8Array(CHUNK);
    for (let sent = 0; sent < bytes;) {
      const part = chunk.subarray(0, Math.min(CHUNK, bytes - sent));
      crypto.getRandomValues(part);
      hash.update(part);
      await stream.write(part);
      sent += part.length;
      const ahead = sent / rate * 1000 - (performance.now() - began);
      if (ahead > 5) await new Promise((resolve) => setTimeout(resolve, ahead));
    }
    await stream.closeWrite();
    const received = await arrived.promise;
    stream.close();
    const seconds = (performance.now() - began) / 1000;
    return { sent: hash.digest("hex"), received, seconds };
  } finally {
    listener.close();
  }
}
