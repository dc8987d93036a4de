/**
 * A speaker of ours as a process of its own, so that a test can kill it with -9. Its argument is JSON:
 * the namespace, the peer, what to announce. It prints one line `ready` and then lives until it is killed.
 */
import { Netns } from "../../ffi/netns.ts";
import { Speaker } from "../../bgp/speaker.ts";
import { mustIp, mustPrefix } from "../../mod/net/mod.ts";
import { NodeTransport, systemClock } from "../../mod/node/bgp_transport.ts";

export interface ProcessOptions {
  netns: string;
  announce: string[];
  restarting: boolean;
}

if (import.meta.main) {
  const options: ProcessOptions = JSON.parse(Deno.args[0]);
  const speaker = new Speaker({
    as: 64512,
    routerId: mustIp("10.9.0.1"),
    listen: [{ family: 4, port: 179 }],
    restarting: options.restarting,
  }, { transport: new NodeTransport(Netns.open(options.netns)), clock: systemClock });
  speaker.setPeers([{
    name: "bird",
    address: mustIp("10.9.0.2"),
    source: mustIp("10.9.0.1"),
    remoteAs: 64512,
    connectRetryTime: 1,
    errorWait: [1, 2],
  }]);
  speaker.announce(options.announce.map((text) => ({ prefix: mustPrefix(text) })));
  speaker.start();
  console.log("ready");
}
