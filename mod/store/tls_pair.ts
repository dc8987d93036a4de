/**
 * Whether a client's certificate and key can be used together. The runtime ends the whole process where
 * a client for HTTP is made of a pair that does not fit, or of a key or certificate that its TLS library
 * does not take; of a server's pair the same library asks the same questions and says no. So a server's
 * socket is made of them, which nobody knows of, and closed at once.
 */

const WORDS: readonly [RegExp, string][] = [
  [/KeyMismatch|keys may not be consistent/, "they do not belong together: the key is another's"],
  [/No keys found/, "the key is none that can be read; give it as PEM, without a passphrase"],
  [/No certificates found/, "the certificate is none"],
  [
    /failed to parse private key/,
    "the key is of no kind that can be used; want RSA of 2048 bits " +
    "or more, ECDSA on P-256, P-384 or P-521, or Ed25519",
  ],
  [/UnsupportedCertVersion/, "the certificate is of an old version; make one of X.509 v3"],
];

/** Why they cannot be used, of which the remedy is another pair; undefined where they can. */
export function pairFault(cert: string, key: string): string | undefined {
  let fault = "";
  // A machine may have the one family alone.
  for (const hostname of ["127.0.0.1", "::1"]) {
    try {
      Deno.listenTls({ hostname, port: 0, cert, key }).close();
      return undefined;
    } catch (error) {
      fault = (error as Error).message;
      if (!(error instanceof Deno.errors.AddrNotAvailable)) break;
    }
  }
  return WORDS.find(([pattern]) => pattern.test(fault))?.[1] ?? fault;
}
