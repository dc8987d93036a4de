import assert from "node:assert/strict";
import { isTime } from "./time.ts";

Deno.test("times that Calico reads, and those that only JavaScript would", () => {
  for (
    const text of [
      "2026-11-22T13:44:27Z",
      "2026-11-22T13:44:27.123456789Z",
      "2024-02-29T23:59:59+05:30",
      "0001-01-01T00:00:00Z",
    ]
  ) assert(isTime(text), text);
  for (
    const text of [
      ...["", "garbage", "null", "2026", "2026-11-22", "Nov 22 2026", "2026-11-22T13:44:27"],
      ...["2026-11-22 13:44:27Z", "2026-11-22T13:44Z", "2026-11-22t13:44:27z"],
      ...["2026-02-30T00:00:00Z", "2025-02-29T00:00:00Z", "2026-13-01T00:00:00Z"],
      ...["2026-11-22T24:00:00Z", "2026-11-22T13:44:60Z", "2026-11-22T13:44:27+99:99"],
      "2026-11-22T13:44:27Z\n",
    ]
  ) assert(!isTime(text), JSON.stringify(text));
});
