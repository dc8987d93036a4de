import assert from "node:assert/strict";
import { CHECKS, findingText, isAtLeast, judgeConfig, parseKernelConfig } from "./checks.ts";
import { untried } from "./probes.ts";

const WHOLE =
  "#\n# Automatically generated file; DO NOT EDIT.\n# Linux/x86 6.1.0 Kernel Configuration\n#\n" +
  [...new Set(CHECKS.flatMap(({ config }) => config))].map((name, i) =>
    `${name}=${i % 2 ? "y" : "m"}\n`
  )
    .join("");

Deno.test("releases are compared by their numbers", () => {
  assert(isAtLeast("6.1.0-32-amd64", "5.4"));
  assert(isAtLeast("5.4", "5.4"));
  assert(isAtLeast("5.10.1", "5.4"));
  assert(!isAtLeast("5.3.99", "5.4"));
  assert(!isAtLeast("4.19.0-27", "5.4"));
});

Deno.test("a configuration says what is there; each option that is away is named", () => {
  const whole = parseKernelConfig(WHOLE)!;
  assert.equal(whole.release, "6.1.0");
  assert(judgeConfig(whole).every(({ fault }) => fault === undefined));
  for (const check of CHECKS) {
    for (const option of check.config) {
      for (const instead of [`# ${option} is not set`, `${option}=n`]) {
        const text = WHOLE.replace(new RegExp(`^${option}=.$`, "m"), instead);
        const findings = judgeConfig(parseKernelConfig(text)!);
        const own = findings.find((finding) => finding.check === check)!;
        assert.match(own.fault!, new RegExp(`\\b${option}\\b`));
        assert.match(findingText(own), check.needed ? /FAIL\nERROR/ : /WARNING\nWARNING/);
        assert.match(findingText(own), new RegExp(`needed for ${check.use}`));
      }
    }
  }
  assert.equal(parseKernelConfig("kind: IPPool\n"), undefined);
});

Deno.test("whatever is in the table is tried", () => {
  assert.deepEqual(untried, []);
});
