import { assignUnderFaults } from "../store/etcd_partition.ts";

Deno.test({
  name: "20,000 addresses by eight processes on one etcd whose members fail and are cut off",
  sanitizeOps: false,
  sanitizeResources: false,
  async fn() {
    const { assigned, unsure, faults, left, seconds } = await assignUnderFaults(20_000, 4);
    console.log(
      `${assigned} addresses, ${unsure} without an answer, ${faults} faults, ` +
        `${left} empty handles left, ${seconds.toFixed(0)} s`,
    );
  },
});
