import assert from "node:assert/strict";
import fc from "fast-check";
import { redact } from "./redact.ts";

const SECRET = "s3cr3t-V4lue";

Deno.test("secrets are taken out in every form in which they stand in files and logs", () => {
  const texts = [
    `password: ${SECRET}`,
    `  etcdPassword: "${SECRET}"`,
    `- token: ${SECRET} with blanks ${SECRET}`,
    `"etcd_password": "${SECRET}",`,
    `{"type":"tortie","password":"${SECRET}","kubernetes":{"k8s_auth_token":"${SECRET}"}}`,
    `{\\"token\\":\\"${SECRET}\\"}`,
    `ETCD_PASSWORD=${SECRET} and ${SECRET}`,
    `export CALICO_K8S_TOKEN=${SECRET}`,
    `time=1 msg="started" password=${SECRET} peer=a`,
    `curl --token ${SECRET} http://x`,
    `tortie --etcd-password=${SECRET}`,
    `Authorization: Bearer ${SECRET}`,
    `authorization: ${SECRET}`,
    `etcd at https://root:${SECRET}@10.0.0.1:2379`,
    `client-key-data: ${SECRET}`,
    `etcdKey: |\n  ${SECRET}\n  ${SECRET}\n\n  ${SECRET}\nother: stays`,
    `-----BEGIN EC PRIVATE KEY-----\n${SECRET}\n${SECRET}\n-----END EC PRIVATE KEY-----\nstays`,
    `-----BEGIN PRIVATE KEY-----\n${SECRET}`,
    `wireguardPrivateKey: ${SECRET}`,
    `presharedKey = ${SECRET}`,
    `secret: '${SECRET}'`,
    `level=info pwd=${SECRET} peer=a`,
    `login with passwd ${SECRET}, then`,
    `key=${SECRET} id=1`,
    `level=info key="${SECRET}"`,
    `the secret ${SECRET} was read`,
    `token ${SECRET}`,
    `basic_auth="user:${SECRET}"`,
    `basicAuth: user:${SECRET}`,
  ];
  for (const text of texts) {
    const clean = redact(text);
    assert(!clean.includes(SECRET), `${text}\n  became\n${clean}`);
    assert(clean.includes("[redacted]"), clean);
    assert.equal(clean.includes("stays"), text.includes("stays"), clean);
    assert.equal(redact(clean).includes(SECRET), false);
  }
  const jwt = `eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJrdWJlcm5ldGVzIn0.${"c2ln".repeat(8)}`;
  assert.equal(redact(`got ${jwt} here`), "got [redacted] here");
});

Deno.test("what is no secret stays as it is", () => {
  const texts = [
    "ingress:\n- action: Pass\n  protocol: TCP\n",
    "password:\n  secretKeyRef:\n    key: rr-password\n    name: bgp-secrets\n",
    "etcdKeyFile: /etc/calico/certs/key.pem\nETCD_KEY_FILE=/etc/key.pem\n",
    "wireguardPublicKey: jlkVyQYooZYzI2wFfNhSZez5eWh44yfq1wKVjLvSXgY=\n",
    "serviceAccountName: default\ntokenFile: /var/run/x\nTokenExpirationSeconds: 3600\n",
    "10.0.0.0/26 via 192.0.2.1 dev eth0 table 254 proto 80\nkey 4 bytes\n",
    "https://10.0.0.1:2379/health user@example.com\n",
    "key=/calico/resources/v3/projectcalico.org/nodes/n1 key=Node(n1) key=default key=has-a-name\n",
    "the token has expired; no secret found; Secret kube-system/etcd-1 (token 5 of 10), password of etcd\n",
    "PWD=/root\nOLDPWD=/tmp\n",
    "- key: node-role.kubernetes.io/control-plane1\n",
    '{"peer":"192.0.2.9","state":"Established","keepalive":30}\n',
  ];
  for (const text of texts) assert.equal(redact(text), text);
});

Deno.test("any value behind a secret's name is gone, whatever stands around it", () => {
  const value = fc.stringMatching(/^[A-Za-z0-9+/]{12,24}$/);
  const name = fc.constantFrom("password", "DB_PASSWORD", "apiToken", "client-key-data", "secret");
  const form = fc.constantFrom(
    (n: string, v: string) => `${n}: ${v}`,
    (n: string, v: string) => `${n}=${v}`,
    (n: string, v: string) => `{"a": 1, "${n}": "${v}", "b": [2]}`,
    (n: string, v: string) => `level=info ${n}="${v}" other=x`,
    (n: string, v: string) => `  ${n}: |-\n    ${v}`,
  );
  fc.assert(
    fc.property(name, value, form, fc.array(form, { maxLength: 3 }), (n, v, make, more) => {
      const text = [...more, make].map((f) => f(n, v)).join("\n");
      assert(!redact(text).includes(v), text);
    }),
  );
});
