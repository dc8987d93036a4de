/**
 * Which plain scalars of YAML are numbers, as sigs.k8s.io/yaml decides it for calicoctl and for Kubernetes'
 * own programs. The first letter chooses: behind a sign or a digit, underscores count for nothing
 * and what is left is an integer with Go's prefixes, or a float with a digit before its exponent;
 * behind a dot only a float without underscores. All else is a text: `e1`, `-e1`, `.` are names, and so is
 * what no double can hold (`1e400`).
 */
import type { ScalarTag } from "yaml";

/** A sign, behind which underscores may stand, or a digit to come. */
const BEGIN = "(?:[-+]_*|(?=[0-9]))";
const EXPONENT = "[eE]_*[-+]?_*[0-9][0-9_]*";

const INTEGER = new RegExp(
  `^${BEGIN}(?:0_*[xX]_*[0-9a-fA-F][0-9a-fA-F_]*|0_*[bB]_*[01][01_]*|0_*[oO]_*[0-7][0-7_]*|` +
    "0[0-7_]*|[1-9][0-9_]*)$",
);
const FLOAT = new RegExp(
  `^${BEGIN}(?:\\._*[0-9][0-9_]*|[0-9][0-9_]*(?:\\.[0-9_]*)?)(?:${EXPONENT})?$|` +
    "^\\.[0-9]+(?:[eE][-+]?[0-9]+)?$",
);

/** Integers that Go reads: of 64 bits, with a sign or without. */
const SMALLEST = -(2n ** 63n), LARGEST = 2n ** 64n - 1n;

export function fitsGo(integer: bigint): boolean {
  return integer >= SMALLEST && integer <= LARGEST;
}

export const INTEGER_TAG: ScalarTag = {
  tag: "tag:yaml.org,2002:int",
  default: true,
  test: INTEGER,
  resolve(text) {
    const plain = text.replaceAll("_", "");
    const digits = plain.replace(/^[-+]/, "");
    const octal = /^0[0-7]+$/.test(digits);
    const size = BigInt(octal ? `0o${digits}` : digits);
    const value = plain.startsWith("-") ? -size : size;
    // A larger one with a prefix is a text for Go; a decimal one is a float, and is kept exact here.
    return fitsGo(value) || /^[1-9]/.test(digits) ? value : text;
  },
};

export const FLOAT_TAG: ScalarTag = {
  tag: "tag:yaml.org,2002:float",
  default: true,
  test: FLOAT,
  resolve(text) {
    const value = Number(text.replaceAll("_", ""));
    return Number.isFinite(value) ? value : text;
  },
};
