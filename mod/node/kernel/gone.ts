/** Removing what may have gone already. */
import { isKernelError } from "../../../ffi/errors.ts";

export function gone(remove: () => void): void {
  try {
    remove();
  } catch (error) {
    if (!isKernelError(error, "ESRCH", "ENOENT", "ENODEV", "EADDRNOTAVAIL")) throw error;
  }
}
