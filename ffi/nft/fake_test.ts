import { Connection } from "../netlink/connection.ts";
import { NftClient } from "./client.ts";
import { cases } from "./conformance.ts";
import { NftEvents } from "./events.ts";
import { FakeNft } from "./fake.ts";

for (const [name, run] of Object.entries(cases)) {
  Deno.test(`fake kernel: ${name}`, async () => {
    const kernel = new FakeNft();
    const connection = new Connection(kernel.connect());
    await run({
      connection,
      client: new NftClient(connection),
      other: new NftClient(new Connection(kernel.connect())),
      events: new NftEvents(kernel.listen()),
    });
  });
}
