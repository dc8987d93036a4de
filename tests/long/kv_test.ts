import { assignUnderKills } from "../store/kv_kills.ts";

Deno.test({
  name:
    "20,000 addresses by four processes on one served store, it and they killed again and again",
  sanitizeOps: false,
  sanitizeResources: false,
  async fn() {
    const v = await assignUnderKills({ total: 20_000, kills: 20, pauseMs: 2000 });
    console.log(
      `${v.assigned} addresses, ${v.unsure} without an answer, ${v.storeKills} kills of the store, ` +
        `${v.processKills} of others, ${v.seconds.toFixed(0)} s`,
    );
  },
});
