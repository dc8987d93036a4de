/** The kernel does what its fake does, and what we believe of it. Needs root. */
import { Connection } from "../../ffi/netlink/connection.ts";
import { NETLINK_NETFILTER } from "../../ffi/netlink/constants.ts";
import { NetlinkSocket } from "../../ffi/netlink/socket.ts";
import { inNetns } from "../../ffi/netns.ts";
import { NftClient } from "../../ffi/nft/client.ts";
import { cases } from "../../ffi/nft/conformance.ts";
import { NftEvents } from "../../ffi/nft/events.ts";
import { openNftClient, openNftListener } from "../../ffi/nft/socket.ts";
import { inScratch } from "./scratch.ts";

for (const [name, run] of Object.entries(cases)) {
  Deno.test(`kernel: ${name}`, async () => {
    await inScratch(async ({ netns }) => {
      const connection = new Connection(
        inNetns(netns, () => new NetlinkSocket(NETLINK_NETFILTER)),
      );
      const client = new NftClient(connection);
      const other = openNftClient(netns);
      const events = new NftEvents(openNftListener(netns));
      try {
        await run({ connection, client, other, events });
      } finally {
        events.close();
        other.close();
        client.close();
      }
    });
  });
}
