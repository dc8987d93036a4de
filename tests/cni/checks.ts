/** All checks of the specification, in the order of their ids. */
import { ADD_CHECKS } from "./checks_add.ts";
import { INPUT_CHECKS } from "./checks_input.ts";
import { LATER_CHECKS } from "./checks_later.ts";
import type { Check } from "./case.ts";
import type { HarnessOptions } from "./harness.ts";

export const CHECKS: readonly Check[] = [...INPUT_CHECKS, ...ADD_CHECKS, ...LATER_CHECKS];

/** The node on which they run. */
export const CHECK_NODE: HarnessOptions = {
  pools: [
    { name: "default", spec: { cidr: "10.244.0.0/16" } },
    {
      name: "sixteen",
      spec: { cidr: "10.99.0.0/28", blockSize: 28, nodeSelector: "!all()" },
    },
    { name: "six", spec: { cidr: "fd00:244::/64", blockSize: 122 } },
  ],
};
