/** The server of the tests keeps all expectations, each a test of its own. */
import { EXPECTATIONS, Run } from "./expectations/all.ts";
import { startKube } from "./kube.ts";

Deno.test("Kubernetes API conventions", async (t) => {
  // As a real server would speak with the client.
  await using kube = await startKube({ http2: true });
  const run = new Run(kube.client);
  await run.begin();
  for (const expectation of EXPECTATIONS) {
    await t.step(`${expectation.name} (${expectation.from})`, () => run.check(expectation));
  }
  await run.end();
});
