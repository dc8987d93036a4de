/** `create`: objects that must not be there yet. */
import { verb } from "./write.ts";

export const run = verb("create");
