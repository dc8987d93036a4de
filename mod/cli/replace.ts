/** `replace`: objects in the place of those that are there. */
import { verb } from "./write.ts";

export const run = verb("replace");
