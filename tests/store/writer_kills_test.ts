import { killWriters } from "./writer_kills.ts";

Deno.test("kv: 300 times kill -9 of the writer loses no acknowledged write", () =>
  killWriters(300));
