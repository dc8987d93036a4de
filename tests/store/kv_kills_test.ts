import { assignUnderKills } from "./kv_kills.ts";

for (const services of [false, true]) {
  const who = services ? "node services" : "processes";
  Deno.test({
    name: `addresses by eight ${who} on one served store, it and they killed again and again`,
    ignore: services && Deno.uid() !== 0,
    sanitizeOps: false,
    sanitizeResources: false,
    async fn() {
      const pauseMs = services ? 2000 : 600;
      const total = services ? 400 : 500;
      const v = await assignUnderKills({ total, kills: 3, pauseMs, services });
      console.log(
        `${v.assigned} addresses, ${v.narrow} of them of blocks that nodes share, ${v.unsure} ` +
          `without an answer, ${v.storeKills} kills of the ` +
          `store, ${v.processKills} of others, ${v.controllersKills} of the controllers, ` +
          `${v.seconds.toFixed(0)} s`,
      );
    },
  });
}
