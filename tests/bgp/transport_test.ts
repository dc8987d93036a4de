/** BGP's TCP where the two ends of a connection part badly: what was said before is heard. */
import assert from "node:assert/strict";
import type { Connection, TransportFailure } from "../../bgp/transport.ts";
import { connectTcp, type TcpStream } from "../../ffi/tcp.ts";
import { mustIp } from "../../mod/net/mod.ts";
import { NodeTransport } from "../../mod/node/bgp_transport.ts";
import { sleep, until, Wire } from "./harness.ts";

const options = { sanitizeOps: false, sanitizeResources: false };
const US = mustIp("10.9.0.1");
const LAST_WORDS = "last words";

/** A connection of ours that a bare socket has called for. */
async function connected(wire: Wire): Promise<{ ours: Connection; theirs: TcpStream }> {
  let ours: Connection | undefined;
  const listener = new NodeTransport(wire.ours).listen(
    { family: 4, address: US, port: 179 },
    (connection) => ours = connection,
  );
  wire.atEnd(() => listener.close());
  const remote = { ip: US, port: 179 };
  const theirs = await connectTcp({ netns: wire.theirs, remote });
  wire.atEnd(() => theirs.close());
  await until("the call to be taken", () => ours !== undefined);
  return { ours: ours!, theirs };
}

/** Blocks this process for so long: nothing that has come can be read meanwhile. */
function freeze(ms: number): void {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ms);
}

Deno.test(
  "what a peer said before its reset is heard, also when the next that we do is to send",
  options,
  async () => {
    const wire = await Wire.open();
    try {
      const { ours, theirs } = await connected(wire);
      let heard = "";
      let end: TransportFailure | undefined;
      ours.start({
        onData: (bytes) => heard += end ? "too late: " : new TextDecoder().decode(bytes),
        onDrain: () => {},
        onEnd: (failure) => end = failure,
      });
      ours.send(new Uint8Array(100));
      await sleep(50);
      // The peer has read nothing of it, so its close is a reset.
      theirs.tryWrite(new TextEncoder().encode(LAST_WORDS));
      theirs.close();
      freeze(200);
      ours.send(new Uint8Array(19));
      ours.send(new Uint8Array(19));
      await until("the end", () => end !== undefined);
      assert.equal(heard, LAST_WORDS);
      assert.deepEqual([end!.kind, ours.queued], ["reset", 0]);
    } finally {
      await wire.close();
    }
  },
);
