import assert from "node:assert/strict";
import { goNumber, goPointer, joinedShort } from "./columns.ts";

Deno.test("numbers are printed as Go prints float64", () => {
  const forms: [value: number, text: string][] = [
    [0, "0"],
    [100, "100"],
    [-1.5, "-1.5"],
    [999999, "999999"],
    [1_000_000, "1e+06"],
    [10_000_000, "1e+07"],
    [1_234_567, "1.234567e+06"],
    [0.0001, "0.0001"],
    [0.00001, "1e-05"],
    [1e100, "1e+100"],
  ];
  for (const [value, text] of forms) assert.equal(goNumber(value), text);
  assert.equal(goPointer(undefined), "<nil>");
  assert.equal(goPointer(true), "true");
});

Deno.test("long lists are cut at 80 characters", () => {
  const nets = Array.from({ length: 20 }, (_, i) => `10.0.${i}.0/24`);
  const text = joinedShort(nets);
  assert.equal(text.length, 80);
  assert.ok(text.endsWith("..."));
  assert.equal(joinedShort(nets.slice(0, 3)), "10.0.0.0/24,10.0.1.0/24,10.0.2.0/24");
  assert.equal(joinedShort(undefined), "");
});
