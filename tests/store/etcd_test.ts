/** The etcd driver against a real etcd: what every driver must do, with one member and with TLS. */
import { storeConformance } from "../../mod/store/conformance.ts";
import type { Subject } from "../../mod/store/conformance.ts";
import { EtcdCluster } from "./etcd_server.ts";
import { Relay } from "./relay.ts";

let cluster: EtcdCluster | undefined;

Deno.test.beforeAll(async () => {
  cluster = await EtcdCluster.start({
    flags: ["--heartbeat-interval", "20", "--election-timeout", "200"],
  });
});
Deno.test.afterAll(async () => {
  await cluster?.stop();
});

storeConformance("etcd", async (): Promise<Subject> => {
  await cluster!.clear();
  const port = Number(new URL(cluster!.endpoints[0]).port);
  const local = { transport: "tcp", hostname: "127.0.0.1" } as const;
  const relay = new Relay({ ...local, port: 0 }, { ...local, port });
  const store = await cluster!.open({}, { endpoints: [`http://127.0.0.1:${relay.port}`] });
  const opened = [store];
  return {
    store,
    close: async () => {
      for (const one of opened) await one.close();
      relay.close();
    },
    breakConnection: (when) => relay.breakConnection(when),
    compact: () => cluster!.compact(),
    reopen: async () => {
      const again = await cluster!.open();
      opened.push(again);
      return again;
    },
  };
}, { has: ["reopen", "breakConnection"] });
