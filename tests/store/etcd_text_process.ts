/**
 * Writes text under keys of the etcd of the environment, JSON or not, as etcdctl would: key and text, key
 * and text, …; a key whose text is empty is deleted.
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

for (let i = 0; i < Deno.args.length; i += 2) {
  const [key, text] = Deno.args.slice(i).map(bytes);
  const [path, body] = text === "" ? ["deleterange", { key }] : ["put", { key, value: text }];
  const url = `${ETCD_ENDPOINTS.split(",")[0]}/v3/kv/${path}`;
  const answer = await fetch(url, { method: "POST", body: JSON.stringify(body), client });
  if (!answer.ok) throw new Error(await answer.text());
  await answer.body?.cancel();
}
client.close();
