import assert from "node:assert/strict";
import { Metrics, serveHealth, serveMetrics } from "./health.ts";

Deno.test("metrics are written in Prometheus' text format", () => {
  const metrics = new Metrics();
  let asked = 0;
  metrics.declare(
    "tortie_peers",
    "gauge",
    "Peers by state.",
    () => metrics.set("tortie_peers", ++asked),
  );
  metrics.declare("tortie_adds_total", "counter", "CNI ADDs.");
  metrics.add("tortie_adds_total", 1, { result: 'a "quoted"\n\\name', b: "x" });
  metrics.add("tortie_adds_total", 2, { b: "x", result: 'a "quoted"\n\\name' });
  assert.equal(
    metrics.text(),
    "# HELP tortie_adds_total CNI ADDs.\n# TYPE tortie_adds_total counter\n" +
      'tortie_adds_total{b="x",result="a \\"quoted\\"\\n\\\\name"} 3\n' +
      "# HELP tortie_peers Peers by state.\n# TYPE tortie_peers gauge\ntortie_peers 1\n",
  );
  assert.throws(() => metrics.add("tortie_unknown"), /not declared/);
});

Deno.test("probes answer with a status and the reasons", async () => {
  let ready = false;
  const port = 20000 + Deno.pid % 20000;
  const stop = serveHealth({ host: "127.0.0.1", port, setBy: "HEALTH" }, {
    liveness: () => ({ ok: true, reasons: [] }),
    readiness: () => ({ ok: ready, reasons: ready ? [] : ["the datastore was not read yet"] }),
  });
  const get = async (path: string) => {
    const answer = await fetch(`http://127.0.0.1:${port}${path}`);
    return `${answer.status} ${(await answer.text()).trim()}`;
  };
  try {
    assert.equal(await get("/liveness"), "200 ok");
    assert.equal(await get("/readiness"), "503 the datastore was not read yet");
    ready = true;
    assert.equal(await get("/readiness"), "200 ok");
    assert.equal(await get("/other"), "404 not found");
    assert.throws(
      () => serveMetrics({ host: "127.0.0.1", port, setBy: "METRICS" }, new Metrics()),
      /port \d+: .*; choose another port \(METRICS; 0 means none\)$/,
    );
  } finally {
    await stop();
  }
});
