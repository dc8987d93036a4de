import { assignUnderKills } from "../store/kv_kills.ts";
import { killWriters } from "../store/writer_kills.ts";

for (const services of [false, true]) {
  const who = services ? "node services" : "processes";
  Deno.test({
    name:
      `20,000 addresses by eight ${who} on one served store, it and they killed again and again`,
    sanitizeOps: false,
    sanitizeResources: false,
    async fn() {
      const pauseMs = services ? 4000 : 2000;
      const v = await assignUnderKills({ total: 20_000, kills: 20, pauseMs, services });
      console.log(
        `${v.assigned} addresses, ${v.narrow} of them of blocks that nodes share, ${v.unsure} ` +
          `without an answer, ${v.storeKills} kills of the ` +
          `store, ${v.processKills} of others, ${v.controllersKills} of the controllers, ` +
          `${v.seconds.toFixed(0)} s`,
      );
    },
  });
}

Deno.test({
  name: "kv: 1,000 times kill -9 of the writer loses no acknowledged write",
  sanitizeOps: false,
  sanitizeResources: false,
  fn: () => killWriters(1000),
});
