/** The etcd driver against a real etcd of one member: what every driver must do. */
import { storeConformance, type Subject } from "../../mod/store/conformance.ts";
import { EtcdCluster } from "./etcd_server.ts";
import { Relay } from "./relay.ts";

const QUICK = { flags: ["--heartbeat-interval", "20", "--election-timeout", "200"] };

let shared: EtcdCluster | undefined;

Deno.test.beforeAll(async () => {
  shared = await EtcdCluster.start(QUICK);
});
Deno.test.afterAll(async () => {
  await shared?.stop();
});

async function subjectOf(cluster: EtcdCluster): Promise<Subject> {
  const [member] = cluster.members;
  const local = { transport: "tcp", hostname: "127.0.0.1" } as const;
  const port = Number(new URL(member.url).port);
  const relay = new Relay({ ...local, port: 0 }, { ...local, port });
  const store = await cluster.open({}, { endpoints: [`http://127.0.0.1:${relay.port}`] });
  const opened = [store];
  const restart = async () => {
    member.start();
    await cluster.serves(member);
  };
  return {
    store,
    close: async () => {
      for (const one of opened) await one.close();
      relay.close();
    },
    breakConnection: (when) => relay.breakConnection(when),
    outage: async () => {
      await relay.goAway();
      return () => Promise.resolve(relay.comeBack());
    },
    backUp: async () => {
      await member.stop("SIGTERM");
      await member.backUp();
      await restart();
      return async (others) => {
        await relay.goAway();
        await member.stop("SIGKILL");
        await member.restore();
        await restart();
        const other = await cluster.open();
        await others(other);
        await other.close();
        relay.comeBack();
      };
    },
    compact: () => cluster.compact(),
    reopen: async () => {
      const again = await cluster.open();
      opened.push(again);
      return again;
    },
  };
}

storeConformance("etcd", async () => {
  await shared!.clear();
  return await subjectOf(shared!);
}, { has: ["reopen", "breakConnection", "outage"] });

// Each on an etcd of its own, which is stopped and started again.
storeConformance("etcd", async () => {
  const cluster = await EtcdCluster.start(QUICK);
  const subject = await subjectOf(cluster);
  return {
    ...subject,
    close: async () => {
      await subject.close();
      await cluster.stop();
    },
  };
}, { has: ["backUp"], only: "backUp" });
