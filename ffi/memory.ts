/** The process's own memory, as the C library keeps it. */
import { libc } from "./libc.ts";

/** Gives the machine back what malloc has freed and keeps aside (malloc_trim(3)). */
export async function returnFreedMemory(): Promise<void> {
  await libc().mallocTrimAsync(0n);
}
