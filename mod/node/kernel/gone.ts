/** Removing what may have gone already. */
import { isKernelError } from "../../../ffi/errors.ts";

/** Whether the kernel has refused to remove something because it is not there. */
export function isGone(error: unknown): boolean {
  return isKernelError(error, "ESRCH", "ENOENT", "ENODEV", "EADDRNOTAVAIL");
}

export function gone(remove: () => void): void {
  try {
    remove();
  } catch (error) {
    if (!isGone(error)) throw error;
  }
}
