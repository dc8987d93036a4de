/**
 * Clients for HTTP of the drivers. The runtime goes through the proxy that HTTP_PROXY, HTTPS_PROXY or
 * ALL_PROXY names, but for what NO_PROXY names; the same as Calico's own programs do. These never take
 * it for this very machine, and the runtime does, where a proxy elsewhere would reach another server or
 * none: so addresses of this machine are added to NO_PROXY while the client is made.
 *
 * The runtime adds the authorities that it is given to a store of its own, Mozilla's or the system's, which
 * it reads once, when the first client is made. Who names an authority means that one alone, as with
 * Go's clients: a server that some public authority vouches for is not his. So that store is made an
 * empty one, and where nobody names an authority those of the system are given, from the files in
 * which Go's clients look for them.
 */

const STORE = "DENO_TLS_CA_STORE";
/** A list without a name: no store. */
const NO_STORE = ",";
const SYSTEM_FILES = [
  "/etc/ssl/certs/ca-certificates.crt",
  "/etc/pki/tls/certs/ca-bundle.crt",
  "/etc/ssl/ca-bundle.pem",
  "/etc/pki/tls/cacert.pem",
  "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
  "/etc/ssl/cert.pem",
];
const OWN = ["localhost", "127.0.0.0/8", "::1"];
const VARIABLES = ["NO_PROXY", "no_proxy"];

/** `secure`: servers are asked by https, and where `caCerts` names nobody the system's authorities count. */
export function makeHttpClient(
  options: Deno.CreateHttpClientOptions | (Deno.CreateHttpClientOptions & Deno.TlsCertifiedKeyPem),
  secure = true,
): Deno.HttpClient {
  const before = [...VARIABLES, STORE].map((name) => [name, Deno.env.get(name)] as const);
  const named = before.flatMap(([name, value]) => value && name !== STORE ? [value] : []);
  const caCerts = options.caCerts ?? (secure ? systemAuthorities() : []);
  try {
    for (const name of VARIABLES) Deno.env.set(name, [...named, ...OWN].join(","));
    Deno.env.set(STORE, NO_STORE);
    return Deno.createHttpClient({ ...options, caCerts });
  } finally {
    for (const [name, value] of before) {
      if (value === undefined) Deno.env.delete(name);
      else Deno.env.set(name, value);
    }
  }
}

/** PEM texts; none where the system has no such file. SSL_CERT_FILE names another one, as for Go and OpenSSL. */
function systemAuthorities(): string[] {
  const named = Deno.env.get("SSL_CERT_FILE");
  for (const file of named ? [named] : SYSTEM_FILES) {
    try {
      return [Deno.readTextFileSync(file)];
    } catch (error) {
      if (!(error instanceof Deno.errors.NotFound)) throw error;
    }
  }
  return [];
}

/** What the runtime says of a failure, without the pages of its own libraries' manuals. */
export function plainWords(text: string): string {
  return text.replace(/[:;,]? ?https:\/\/docs\.rs\/\S*/g, "");
}

/** For messages of a connection that failed: `; HTTP_PROXY names …` where a proxy may have to do with it. */
export function proxyWords(url: string): string {
  const { protocol, hostname } = new URL(url);
  if (hostname === "localhost" || hostname === "[::1]" || hostname.startsWith("127.")) return "";
  const name = protocol === "https:" ? "HTTPS_PROXY" : "HTTP_PROXY";
  for (const one of [name, name.toLowerCase(), "ALL_PROXY", "all_proxy"]) {
    const proxy = Deno.env.get(one);
    if (!proxy) continue;
    // Its user and password are nobody's business.
    const place = URL.canParse(proxy) ? new URL(proxy).host : proxy;
    return `; ${one} names the proxy ${place}: is it that which failed? NO_PROXY names what needs none`;
  }
  return "";
}
