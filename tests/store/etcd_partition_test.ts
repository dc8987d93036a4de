import { assignUnderFaults } from "./etcd_partition.ts";

for (const services of [false, true]) {
  const who = services ? "node services" : "processes";
  Deno.test({
    name:
      `eight ${who} on one etcd: no address twice, none lost, while members fail and are cut off`,
    ignore: Deno.uid() !== 0,
    sanitizeOps: false,
    sanitizeResources: false,
    async fn() {
      const total = services ? 200 : 600;
      const v = await assignUnderFaults({ total, faultSeconds: 2, pauseSeconds: 1, services });
      console.log(
        `${v.assigned} addresses, ${v.narrow} of them of blocks that nodes share, ${v.unsure} ` +
          `without an answer, ${v.faults} faults, ` +
          `${v.losses} of them of the majority, ${v.controllersKills} kills of the controllers, ` +
          `${v.left} empty handles left to them, ${v.seconds.toFixed(0)} s`,
      );
    },
  });
}
