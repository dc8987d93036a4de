import assert from "node:assert/strict";
import { generateKeyPairSync } from "node:crypto";
import { Authority } from "../../tests/kube/certificates.ts";
import { pairFault } from "./tls_pair.ts";

const authority = new Authority();
const [a, b] = [authority.client("a", []), authority.client("b", [])];
const der = (label: string, base64: string) =>
  `-----BEGIN ${label}-----\n${base64}\n-----END ${label}-----\n`;
const pkcs8 = { type: "pkcs8", format: "pem" } as const;
const keyOf = (type: string, options: Record<string, unknown>): string =>
  (generateKeyPairSync as any)(type, {
    ...options,
    privateKeyEncoding: pkcs8,
    publicKeyEncoding: { type: "spki", format: "pem" },
  }).privateKey;

Deno.test("a pair that fits can be used, and any other is named instead of ending the process", () => {
  assert.equal(pairFault(a.certificate, a.key), undefined);
  assert.equal(pairFault(a.certificate + authority.certificate, a.key), undefined, "a chain");
  const cases: [string, string, RegExp][] = [
    [a.certificate, b.key, /do not belong together: the key is another's/],
    [a.certificate, keyOf("rsa", { modulusLength: 2048 }), /do not belong together/],
    [authority.certificate + a.certificate, a.key, /do not belong together/],
    [a.certificate, keyOf("rsa", { modulusLength: 1024 }), /of no kind that can be used; want RSA/],
    [a.certificate, keyOf("ec", { namedCurve: "secp224r1" }), /of no kind that can be used/],
    [a.certificate, der("PRIVATE KEY", "aGVsbG8="), /of no kind that can be used/],
    [a.certificate, der("ENCRYPTED PRIVATE KEY", "aGVsbG8="), /want|give it as PEM, without/],
    [a.certificate, "", /give it as PEM/],
    [der("CERTIFICATE", "aGVsbG8="), a.key, /BadEncoding/],
    [a.key, a.certificate, /the certificate is none/],
  ];
  for (const [cert, key, words] of cases) {
    const fault = pairFault(cert, key);
    assert.match(fault ?? "", words);
  }
  Deno.createHttpClient({ cert: a.certificate, key: a.key }).close();
});
