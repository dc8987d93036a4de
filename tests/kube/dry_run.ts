/** `dryRun`, in a query or in options: "All" or nothing, whatever is asked. */
import { invalid, notSupported } from "./status.ts";

/** Throws 422, of options of this kind. */
export function isDryRun(values: readonly unknown[], options: string): boolean {
  if (values.some((value) => value !== "All")) {
    throw invalid("meta.k8s.io", options, "", [notSupported("dryRun", values, ["All"])]);
  }
  return values.length > 0;
}
