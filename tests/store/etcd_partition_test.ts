import { assignUnderFaults } from "./etcd_partition.ts";

Deno.test({
  name:
    "eight processes on one etcd: no address twice, none lost, while members fail and are cut off",
  ignore: Deno.uid() !== 0,
  sanitizeOps: false,
  sanitizeResources: false,
  async fn() {
    const { assigned, unsure, faults, left, seconds } = await assignUnderFaults(800, 2);
    console.log(
      `${assigned} addresses, ${unsure} without an answer, ${faults} faults, ` +
        `${left} empty handles left, ${seconds.toFixed(0)} s`,
    );
  },
});
