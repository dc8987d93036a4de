/**
 * Writes text under keys of the etcd of the environment, JSON or not, as etcdctl would: key and text, key
 * and text, …; a key whose text is empty is deleted, and what stands under a last key alone is printed.
 */
const { ETCD_ENDPOINTS, ETCD_CA_CERT_FILE, ETCD_CERT_FILE, ETCD_KEY_FILE } = Deno.env.toObject();
const client = Deno.createHttpClient({
  http2: false,
  ...(ETCD_CA_CERT_FILE && {
    caCerts: [Deno.readTextFileSync(ETCD_CA_CERT_FILE)],
    cert: Deno.readTextFileSync(ETCD_CERT_FILE),
    key: Deno.readTextFileSync(ETCD_KEY_FILE),
  }),
} as Deno.CreateHttpClientOptions);
const bytes = (text: string) => new TextEncoder().encode(text).toBase64();

async function ask(path: string, body: Record<string, string>) {
  const url = `${ETCD_ENDPOINTS.split(",")[0]}/v3/kv/${path}`;
  const answer = await fetch(url, { method: "POST", body: JSON.stringify(body), client });
  if (!answer.ok) throw new Error(await answer.text());
  return await answer.json();
}

for (let i = 0; i < Deno.args.length; i += 2) {
  const [key, text] = Deno.args.slice(i).map(bytes);
  if (text === undefined) {
    for (const { value = "" } of (await ask("range", { key })).kvs ?? []) console.log(atob(value));
  } else if (text === "") await ask("deleterange", { key });
  else await ask("put", { key, value: text });
}
client.close();
