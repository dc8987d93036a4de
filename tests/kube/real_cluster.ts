/**
 * The same expectations against the API that KUBECONFIG names (`deno task test:kubernetes`): where a real
 * server differs, ours is wrong, and so is what was built on it. It works in namespaces and with
 * definitions of its own, which it takes away. It is no part of `deno task test`, whatever the
 * environment says.
 */
import { EXPECTATIONS, Run } from "./expectations/all.ts";
import { clientFromKubeconfig } from "./kubeconfig.ts";

const path = Deno.env.get("KUBECONFIG");

Deno.test({
  name: "a real API server keeps the expectations (skipped without KUBECONFIG)",
  ignore: !path,
  async fn(t) {
    using client = await clientFromKubeconfig(path!);
    const run = new Run(client);
    await run.begin();
    try {
      for (const expectation of EXPECTATIONS) {
        await t.step(`${expectation.name} (${expectation.from})`, () => run.check(expectation));
      }
    } finally {
      await run.end();
    }
  },
});
