import type { Io } from "../cli/io.ts";
export async function runDemo(
  _io: Io,
  _options: { megabytes: number; keep: boolean },
): Promise<number> {
  return 0;
}
