/**
 * Calico's rules for a kind as cases, one object each: accepted, or refused with a message that names
 * the field. `want` is the path of the fault; nothing where the object is good.
 */
import assert from "node:assert/strict";
import { KINDS } from "../kinds.ts";
import { parseManifest } from "../manifest.ts";
import { ModelError } from "../validate.ts";

export type Case = [what: string, spec: unknown, want?: string | RegExp, name?: string];

export const many = (n: number, item: unknown) => Array.from({ length: n }, () => item);

/** A policy's or profile's spec with one ingress rule, and with one egress rule. */
export const rule = (more: object) => ({ ingress: [{ action: "Allow", ...more }] });
export const out = (more: object) => ({ egress: [{ action: "Allow", ...more }] });

/** A test a kind; objects that need no name of their own have `name`. */
export function testRules(cases: Readonly<Record<string, readonly Case[]>>, other = "default") {
  for (const [kindName, list] of Object.entries(cases)) {
    const kind = KINDS.find((k) => k.kind === kindName && k.home === "calico")!;
    Deno.test(`${kindName}: each rule, kept and broken`, () => {
      for (const [what, spec, want, name = other] of list) {
        const { apiVersion } = kind;
        const faults = faultsOf({ apiVersion, kind: kindName, metadata: { name }, spec });
        const fits = want === undefined
          ? faults.length === 0
          : faults.some(({ path }) => typeof want === "string" ? path === want : want.test(path));
        assert.ok(fits, `${what}: ${JSON.stringify(faults)}, want ${want ?? "none"}`);
        for (const { message } of faults) assert.ok(message.length > 8, `${what}: ${message}`);
      }
    });
  }
}

/** What is wrong with a manifest; with `write` also what Calico's client refuses in each write. */
export function faultsOf(value: unknown, write = false): { path: string; message: string }[] {
  try {
    parseManifest(value, { write });
    return [];
  } catch (error) {
    if (!(error instanceof ModelError)) throw error;
    return [...error.issues];
  }
}
