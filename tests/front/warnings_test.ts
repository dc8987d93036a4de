/** A build takes any compiler; only here a warning is an error, since a later one may find more to say. */
import { compileFront } from "../../installer/build/front.ts";

for (const variant of ["direct", "loaded"] as const) {
  Deno.test(`front door: its source gives the compiler nothing to warn of, ${variant}`, async () => {
    await compileFront(Deno.build.arch, variant, ["-Werror"]);
  });
}
