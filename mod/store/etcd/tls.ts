/** Certificates and keys as files hold them now: they are exchanged on disk while we run. */

import { makeHttpClient } from "../http_client.ts";
import type { Pem, TlsFiles } from "../location.ts";
import { StoreError } from "../store.ts";
import { pairFault } from "../tls_pair.ts";

export interface TlsTexts {
  readonly ca?: string;
  readonly cert?: string;
  readonly key?: string;
}

/** Reads what is in files; StoreError "denied" names what cannot be used. */
export async function readTls(files: TlsFiles): Promise<TlsTexts> {
  const [ca, cert, key] = await Promise.all([
    read(files.ca, "the CA certificate"),
    read(files.cert, "the client certificate"),
    read(files.key, "the client key"),
  ]);
  const fault = cert && key && pairFault(cert, key);
  if (fault) {
    const of = [files.cert, files.key].map((pem) => pem && "file" in pem ? pem.file : "text");
    throw new StoreError(
      "denied",
      `the client certificate (${of[0]}) and key (${of[1]}) for etcd cannot be used: ${fault}`,
    );
  }
  return { ca, cert, key };
}

async function read(pem: Pem | undefined, what: string): Promise<string | undefined> {
  if (!pem) return undefined;
  if ("pem" in pem) return pem.pem;
  let text: string;
  try {
    text = await Deno.readTextFile(pem.file);
  } catch (error) {
    throw new StoreError(
      "denied",
      `${what} of etcd cannot be read from ${pem.file}: ${(error as Error).message}`,
    );
  }
  if (!text.includes("-----BEGIN ")) {
    throw new StoreError("denied", `${what} of etcd in ${pem.file} is no PEM text`);
  }
  return text;
}

/**
 * A client for these certificates, which `readTls` has looked at; StoreError "denied" where the
 * authority's is none.
 */
export function httpClient(texts: TlsTexts, secure: boolean): Deno.HttpClient {
  const { ca, cert, key } = texts;
  // HTTP/1.1: a put costs a third less than over HTTP/2, and each watch has a connection of its own.
  const common = { http2: false, poolMaxIdlePerHost: 64, ...(ca && { caCerts: [ca] }) };
  try {
    return makeHttpClient(cert && key ? { ...common, cert, key } : common, secure);
  } catch (error) {
    throw new StoreError(
      "denied",
      `certificate and key for etcd cannot be used: ${(error as Error).message}`,
    );
  }
}
