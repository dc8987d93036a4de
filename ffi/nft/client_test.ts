import assert from "node:assert/strict";
import { isKernelError, KernelError } from "../errors.ts";
import { Connection } from "../netlink/connection.ts";
import { MessageEncoder } from "../netlink/encoder.ts";
import { fakeKernel, type FakeReply, type FakeRequest } from "../netlink/fake.ts";
import type { Transport } from "../netlink/transport.ts";
import { NftClient } from "./client.ts";
import { putElements } from "./elements.ts";
import { TransactionError } from "./errors.ts";
import { FakeNft } from "./fake.ts";
import { set } from "./testing.ts";
import { NFT_MSG_GETSETELEM, NFT_MSG_NEWSETELEM } from "./wire.ts";

const table = { family: "ip", name: "calico" } as const;

/** A socket on a fake kernel, with one of its calls replaced. */
function over(replace: (transport: Transport) => Partial<Transport>): NftClient {
  const transport = new FakeNft().connect();
  return new NftClient(new Connection({ ...transport, ...replace(transport) }));
}

Deno.test("answers that were lost are told: it may be done or not", async () => {
  let lose = true;
  const client = over((t) => ({
    receive: (wait) => {
      if (lose) {
        lose = false;
        throw new KernelError(105, "receive");
      }
      return t.receive(wait);
    },
  }));
  await assert.rejects(
    client.commit(client.begin().addTable(table)),
    (error) => isKernelError(error, "ENOBUFS"),
  );
  assert(client.table(table), "it was done");
});

Deno.test("a refusal is told even where other answers were lost", async () => {
  let lose = true;
  const client = over((t) => ({
    receive: (wait) => {
      if (lose) {
        lose = false;
        throw new KernelError(105, "receive");
      }
      return t.receive(wait);
    },
  }));
  await assert.rejects(client.commit(client.begin().deleteTable(table)), TransactionError);
});

Deno.test("big batches are sent on another thread, small ones at once", async () => {
  const sent: string[] = [];
  const reserved: number[] = [];
  const kernel = new FakeNft();
  const transport = kernel.connect();
  const client = new NftClient(
    new Connection({
      ...transport,
      send: (d) => {
        sent.push("at once");
        transport.send(d);
      },
      sendAsync: (d) => {
        sent.push("elsewhere");
        return transport.sendAsync(d);
      },
    }),
    { asyncFrom: 1000, reserveSend: (bytes) => reserved.push(bytes) },
  );
  await client.commit(client.begin().addTable(table));
  const big = client.begin();
  for (let i = 0; i < 50; i++) big.addChain({ family: "ip", table: "calico", name: `c${i}` });
  await client.commit(big);
  await client.commit(client.begin().addTable(table), true);
  client.commitNow(client.begin().addTable(table));
  assert.deepEqual(sent, ["at once", "elsewhere", "elsewhere", "at once"]);
  assert.equal(reserved[1], big.size);
  assert.equal(kernel.table("ip", "calico")?.chains.size, 50);
});

Deno.test("an error of the batch as a whole is the kernel's, not a message's", async () => {
  const kernel = new FakeNft();
  const client = new NftClient(new Connection(kernel.connect()));
  kernel.onBatch = () => 1;
  await assert.rejects(
    client.commit(client.begin().addTable(table)),
    (error) => isKernelError(error, "EPERM"),
  );
});

/** Lists one element in two datagrams, the dump marked as interrupted so many times. */
function interruptedKernel(times: number) {
  return fakeKernel(function* (request: FakeRequest): Iterable<FakeReply> {
    assert.equal(request.type, NFT_MSG_GETSETELEM);
    for (const last of [1, 2]) {
      const encoder = new MessageEncoder().begin(NFT_MSG_NEWSETELEM, 0, 0);
      putElements(encoder, set("s"), [{ key: new Uint8Array([10, 0, 0, last]) }], 0);
      if (last === 2 && times-- > 0) yield { interrupted: true };
      yield { type: NFT_MSG_NEWSETELEM, payload: encoder.end().finish().slice(16) };
      yield { cut: true };
    }
  });
}

Deno.test("an interrupted list is read again, or taken by whoever hears of commits", async () => {
  const ask = (times: number) => new NftClient(new Connection(interruptedKernel(times)));
  const keys = (elements: { key: Uint8Array }[]) => elements.map((e) => e.key[3]);
  assert.deepEqual(keys(ask(2).elements(set("s"))), [1, 2]);
  assert.throws(() => ask(9).elements(set("s")), (error) => isKernelError(error, "EINTR"));
  let pauses = 0;
  const pause = () => void pauses++;
  assert.deepEqual(keys(await ask(2).elementsInTurns(set("s"), { pause })), [1, 2]);
  // Three attempts of two datagrams each; the end of each comes by itself.
  assert.equal(pauses, 6);
  await assert.rejects(
    ask(9).elementsInTurns(set("s"), { pause }),
    (error) => isKernelError(error, "EINTR"),
  );
  const kernel = interruptedKernel(9);
  const heard = new NftClient(new Connection(kernel));
  const elements = await heard.elementsInTurns(set("s"), { pause, despiteCommits: true });
  assert.deepEqual(keys(elements), [1, 2]);
  assert.equal(kernel.requests.length, 1);
});
