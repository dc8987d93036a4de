import assert from "node:assert/strict";
import { labsLeft } from "./demo.ts";

Deno.test("labs of demos that are over are found, others left alone", () => {
  const root = Deno.makeTempDirSync();
  try {
    assert.deepEqual(labsLeft(`${root}/none`), []);
    for (const name of ["lab", "demo", "demo7", "demo8", "demo9x", "mydemo7"]) {
      Deno.mkdirSync(`${root}/${name}`);
    }
    assert.deepEqual(labsLeft(root, (pid) => pid === "7"), ["demo8"]);
    // By its number alone it may be anybody: this test is no demo.
    Deno.mkdirSync(`${root}/demo${Deno.pid}`);
    assert.deepEqual(labsLeft(root, undefined).includes(`demo${Deno.pid}`), true);
  } finally {
    Deno.removeSync(root, { recursive: true });
  }
});
