import { assignUnderFaults } from "../store/etcd_partition.ts";

for (const services of [false, true]) {
  const who = services ? "node services" : "processes";
  Deno.test({
    name: `20,000 addresses by eight ${who} on one etcd whose members fail and are cut off`,
    sanitizeOps: false,
    sanitizeResources: false,
    async fn() {
      const v = await assignUnderFaults({
        total: 20_000,
        faultSeconds: 4,
        pauseSeconds: 8,
        services,
      });
      console.log(
        `${v.assigned} addresses, ${v.narrow} of them of blocks that nodes share, ${v.unsure} ` +
          `without an answer, ${v.faults} faults, ` +
          `${v.losses} of them of the majority, ${v.controllersKills} kills of the controllers, ` +
          `${v.left} empty handles left to them, ${v.seconds.toFixed(0)} s`,
      );
    },
  });
}
