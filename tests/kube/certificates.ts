/**
 * A certificate authority for one test cluster: X.509 v3 certificates (RFC 5280) with keys on P-256,
 * for the server (names and addresses in subjectAltName) and for clients (user in CN, groups in O, as
 * "Authenticating" says). Nothing is written to disk and no program is called: DER is a few nested
 * lengths, and node:crypto signs.
 */
import { Buffer } from "node:buffer";
import { createHash, generateKeyPairSync, type KeyObject, randomBytes, sign } from "node:crypto";

/** PEM texts. */
export interface Identity {
  certificate: string;
  key: string;
}

type Bytes = Uint8Array;

const concat = (parts: Bytes[]): Bytes => new Uint8Array(Buffer.concat(parts));

function der(tag: number, ...parts: Bytes[]): Bytes {
  const body = concat(parts);
  const length = body.length;
  const head = length < 128
    ? [tag, length]
    : length < 256
    ? [tag, 0x81, length]
    : [tag, 0x82, length >> 8, length & 255];
  return concat([Uint8Array.from(head), body]);
}

const sequence = (...parts: Bytes[]) => der(0x30, ...parts);
const explicit = (n: number, ...parts: Bytes[]) => der(0xa0 + n, ...parts);
const text = (s: string) => der(0x0c, new TextEncoder().encode(s));
const octets = (bytes: Bytes) => der(0x04, bytes);
const bits = (bytes: Bytes, unused = 0) => der(0x03, Uint8Array.of(unused), bytes);
const yes = der(0x01, Uint8Array.of(0xff));

function oid(dotted: string): Bytes {
  const [first, second, ...rest] = dotted.split(".").map(Number);
  const bytes = [first * 40 + second];
  for (const n of rest) {
    const part = [n & 127];
    for (let left = n >> 7; left > 0; left >>= 7) part.unshift((left & 127) | 128);
    bytes.push(...part);
  }
  return der(0x06, Uint8Array.from(bytes));
}

/** Years before 2050 are UTCTime (RFC 5280, 4.1.2.5). */
const time = (ms: number) => {
  const digits = new Date(ms).toISOString().replace(/[-:T]|\.\d+/g, "");
  return der(0x17, new TextEncoder().encode(digits.slice(2)));
};

const ECDSA_SHA256 = sequence(oid("1.2.840.10045.4.3.2"));

const name = (attributes: [string, string][]) =>
  sequence(...attributes.map(([id, value]) => der(0x31, sequence(oid(id), text(value)))));
const subject = (common: string, groups: string[]) =>
  name([
    ...groups.map((g): [string, string] => ["2.5.4.10", g]),
    ["2.5.4.3", common],
  ]);

const extension = (id: string, critical: boolean, value: Bytes) =>
  sequence(oid(id), ...(critical ? [yes] : []), octets(value));

function addressBytes(address: string): Bytes | undefined {
  if (/^\d+\.\d+\.\d+\.\d+$/.test(address)) return Uint8Array.from(address.split(".").map(Number));
  if (address !== "::1") return undefined;
  const bytes = new Uint8Array(16);
  bytes[15] = 1;
  return bytes;
}

function alternativeName(host: string): Bytes {
  const address = addressBytes(host);
  return address ? der(0x87, address) : der(0x82, new TextEncoder().encode(host));
}

const pem = (label: string, bytes: Bytes) =>
  `-----BEGIN ${label}-----\n${
    Buffer.from(bytes).toString("base64").replace(/.{64}/g, "$&\n").trimEnd()
  }\n-----END ${label}-----\n`;

const newKey = () => generateKeyPairSync("ec", { namedCurve: "P-256" });
const keyPem = (key: KeyObject) => key.export({ type: "pkcs8", format: "pem" }) as string;
const publicDer = (key: KeyObject) =>
  new Uint8Array(key.export({ type: "spki", format: "der" }) as Buffer);

const DAY = 86_400_000;

export class Authority {
  /** PEM of the authority's own certificate. */
  readonly certificate: string;
  #keys = newKey();
  #name: Bytes;
  #keyId: Bytes;

  constructor(common = "kubernetes") {
    this.#name = subject(common, []);
    const spki = publicDer(this.#keys.publicKey);
    this.#keyId = new Uint8Array(createHash("sha1").update(spki).digest());
    this.certificate = this.#issue(this.#name, spki, [Date.now() - DAY, Date.now() + 365 * DAY], [
      extension("2.5.29.19", true, sequence(yes)),
      // keyCertSign and cRLSign
      extension("2.5.29.15", true, bits(Uint8Array.of(0x06), 1)),
    ]);
  }

  /** For a server that is reached under these names and addresses, valid between these days from now. */
  server(hosts: string[], valid: readonly [number, number] = [-1, 300]): Identity {
    const keys = newKey();
    const certificate = this.#issue(
      subject("kube-apiserver", []),
      publicDer(keys.publicKey),
      [Date.now() + valid[0] * DAY, Date.now() + valid[1] * DAY],
      [
        ...leaf("1.3.6.1.5.5.7.3.1"),
        extension("2.5.29.17", false, sequence(...hosts.map(alternativeName))),
      ],
    );
    return { certificate, key: keyPem(keys.privateKey) };
  }

  /** For a client; `days` may be negative: it has then expired. */
  client(user: string, groups: string[] = [], days = 30): Identity {
    const keys = newKey();
    const certificate = this.#issue(
      subject(user, groups),
      publicDer(keys.publicKey),
      [Date.now() - 100 * DAY, Date.now() + days * DAY],
      leaf("1.3.6.1.5.5.7.3.2"),
    );
    return { certificate, key: keyPem(keys.privateKey) };
  }

  #issue(who: Bytes, spki: Bytes, valid: [number, number], extensions: Bytes[]): string {
    const serial = randomBytes(8);
    serial[0] = (serial[0] & 0x7f) | 0x40;
    const keyId = new Uint8Array(createHash("sha1").update(spki).digest());
    const body = sequence(
      explicit(0, der(0x02, Uint8Array.of(2))),
      der(0x02, serial),
      ECDSA_SHA256,
      this.#name,
      sequence(time(valid[0]), time(valid[1])),
      who,
      spki,
      explicit(
        3,
        sequence(
          ...extensions,
          extension("2.5.29.14", false, octets(keyId)),
          extension("2.5.29.35", false, sequence(der(0x80, this.#keyId))),
        ),
      ),
    );
    const signature = new Uint8Array(sign("sha256", body, this.#keys.privateKey));
    return pem("CERTIFICATE", sequence(body, ECDSA_SHA256, bits(signature)));
  }
}

/** A leaf's extensions: no authority, for signatures, for one purpose. */
const leaf = (purpose: string) => [
  extension("2.5.29.19", true, sequence()),
  extension("2.5.29.15", true, bits(Uint8Array.of(0x80), 7)),
  extension("2.5.29.37", false, sequence(oid(purpose))),
];
