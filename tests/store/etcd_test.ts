/** The etcd driver against a real etcd: what every driver must do, with one member and with TLS. */
import { storeConformance } from "../../mod/store/conformance.ts";
import type { Subject } from "../../mod/store/conformance.ts";
import { EtcdCluster } from "./etcd_server.ts";

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
  const store = await cluster!.open();
  const opened = [store];
  return {
    store,
    close: async () => {
      for (const one of opened) await one.close();
    },
    compact: () => cluster!.compact(),
    reopen: async () => {
      const again = await cluster!.open();
      opened.push(again);
      return again;
    },
  };
}, { has: ["reopen"] });
