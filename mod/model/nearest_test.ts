import assert from "node:assert/strict";
import { nearest } from "./nearest.ts";

Deno.test("a mistyped word finds its neighbour, a foreign one none", () => {
  const words = ["ippool", "ippools", "node", "networkpolicy"];
  assert.equal(nearest("ipool", words), "ippool");
  assert.equal(nearest("ndoe", words), "node"); // two letters swapped
  assert.equal(nearest("NETWORKPOLICI", words), "networkpolicy");
  assert.equal(nearest("deployment", words), undefined);
  assert.equal(nearest("x", words), undefined);
  assert.equal(nearest("x".repeat(10_000), words), undefined);
});
