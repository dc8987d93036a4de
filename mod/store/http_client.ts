/**
 * Clients for HTTP of the drivers. The runtime goes through the proxy that HTTP_PROXY, HTTPS_PROXY or
 * ALL_PROXY names, but for what NO_PROXY names; the same as Calico's own programs do. These never take
 * it for this very machine, and the runtime does, where a proxy elsewhere would reach another server or
 * none: so addresses of this machine are added to NO_PROXY while the client is made.
 */

const OWN = ["localhost", "127.0.0.0/8", "::1"];
const VARIABLES = ["NO_PROXY", "no_proxy"];

export function makeHttpClient(
  options: Deno.CreateHttpClientOptions | (Deno.CreateHttpClientOptions & Deno.TlsCertifiedKeyPem),
): Deno.HttpClient {
  const before = VARIABLES.map((name) => [name, Deno.env.get(name)] as const);
  const named = before.flatMap(([, value]) => value ? [value] : []);
  try {
    for (const name of VARIABLES) Deno.env.set(name, [...named, ...OWN].join(","));
    return Deno.createHttpClient(options);
  } finally {
    for (const [name, value] of before) {
      if (value === undefined) Deno.env.delete(name);
      else Deno.env.set(name, value);
    }
  }
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
