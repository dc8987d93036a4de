/**
 * The server's side of TLS 1.3 (RFC 8446) for tests, because the runtime's own TLS listener cannot ask
 * for client certificates: one cipher suite (TLS_AES_128_GCM_SHA256), key exchange on X25519, ECDSA on
 * P-256; no resumption, no early data. A client's certificate is asked for and not
 * required: who sends none may still have a token.
 *
 * `accept` does the handshake and gives a connection of plain bytes.
 */
import {
  createPrivateKey,
  createPublicKey,
  diffieHellman,
  generateKeyPairSync,
  type KeyObject,
  randomBytes,
  sign,
  verify,
} from "node:crypto";
import { Buffer } from "node:buffer";
import { type Bytes, concat, Reader, text, u16, u8, vector } from "./bytes.ts";
import { type PeerCertificate, TlsConn, writeAll } from "./conn.ts";
import { finished, KeySchedule, type Secrets, sha256 } from "./key_schedule.ts";
import {
  APPLICATION_DATA,
  CHANGE_CIPHER_SPEC,
  HANDSHAKE,
  plain,
  Protection,
  RecordReader,
} from "./records.ts";

const CLIENT_HELLO = 1;
const SERVER_HELLO = 2;
const ENCRYPTED_EXTENSIONS = 8;
const CERTIFICATE = 11;
const CERTIFICATE_REQUEST = 13;
const CERTIFICATE_VERIFY = 15;
const FINISHED = 20;

const SUPPORTED_VERSIONS = 43;
const KEY_SHARE = 51;
const SIGNATURE_ALGORITHMS = 13;
const ALPN = 16;
const X25519 = 29;
const ECDSA_P256 = 0x0403;
const AES_128_GCM_SHA256 = 0x1301;

/** What stands before a 32 byte key in the SubjectPublicKeyInfo of X25519 (RFC 8410). */
const X25519_PREFIX = Buffer.from("302a300506032b656e032100", "hex");

export interface TlsOptions {
  /** PEM. */
  certificate: string;
  key: string;
  /** Names of ALPN, the preferred one first. */
  protocols: string[];
  /** Judges a client's certificate (DER): the key that must have signed, or undefined: not known. */
  clientKey(certificate: Bytes): KeyObject | undefined;
}

const message = (type: number, ...parts: Bytes[]) => concat(u8(type), vector(3, ...parts));
const extension = (type: number, ...parts: Bytes[]) => concat(u16(type), vector(2, ...parts));

function derOf(pem: string): Bytes {
  return new Uint8Array(Buffer.from(pem.replace(/-----[^-]+-----|\s/g, ""), "base64"));
}

interface Hello {
  session: Bytes;
  share: Bytes;
  /** Names of ALPN. */
  protocols: string[];
}

function parseHello(bytes: Bytes): Hello {
  const r = new Reader(bytes);
  r.take(2 + 32);
  const session = r.vector(1);
  const suites = new Reader(r.vector(2));
  r.vector(1);
  let offered = false;
  while (suites.left > 0) offered = suites.number(2) === AES_128_GCM_SHA256 || offered;
  const extensions = new Reader(r.vector(2));
  let share: Bytes | undefined;
  let version = false;
  const protocols: string[] = [];
  while (extensions.left > 0) {
    const type = extensions.number(2);
    const e = new Reader(extensions.vector(2));
    if (type === SUPPORTED_VERSIONS) {
      const list = new Reader(e.vector(1));
      while (list.left > 0) version = list.number(2) === 0x0304 || version;
    } else if (type === KEY_SHARE) {
      const list = new Reader(e.vector(2));
      while (list.left > 0) {
        const group = list.number(2);
        const key = list.vector(2);
        if (group === X25519) share = key;
      }
    } else if (type === ALPN) {
      const list = new Reader(e.vector(2));
      while (list.left > 0) protocols.push(new TextDecoder().decode(list.vector(1)));
    }
  }
  if (!offered || !version || !share) {
    throw new Error("the client does not offer TLS 1.3 with X25519 and AES-128-GCM");
  }
  return { session, share, protocols };
}

function exchange(share: Bytes): { own: Bytes; shared: Bytes } {
  const keys = generateKeyPairSync("x25519");
  const publicKey = createPublicKey({
    key: Buffer.concat([X25519_PREFIX, share]),
    format: "der",
    type: "spki",
  });
  const own = keys.publicKey.export({ type: "spki", format: "der" }) as Buffer;
  const shared = diffieHellman({ privateKey: keys.privateKey, publicKey });
  return { own: new Uint8Array(own.subarray(-32)), shared: new Uint8Array(shared) };
}

const verifyContent = (side: "server" | "client", transcript: Bytes) =>
  concat(
    new Uint8Array(64).fill(0x20),
    text(`TLS 1.3, ${side} CertificateVerify`),
    u8(0),
    transcript,
  );

/** Does the handshake. Throws where it fails; the connection is the caller's to close. */
export async function accept(conn: Deno.Conn, options: TlsOptions): Promise<TlsConn> {
  const handshake = new Handshake(conn, options);
  return await handshake.run();
}

class Handshake {
  readonly #records: RecordReader;
  #transcript: Bytes[] = [];
  #opening?: Protection;
  #pending: Bytes = new Uint8Array();

  constructor(private readonly conn: Deno.Conn, private readonly options: TlsOptions) {
    this.#records = new RecordReader(conn);
  }

  async run(): Promise<TlsConn> {
    const hello = parseHello(await this.#expect(CLIENT_HELLO));
    const { own, shared } = exchange(hello.share);
    const schedule = new KeySchedule(shared);
    const serverHello = message(
      SERVER_HELLO,
      u16(0x0303),
      randomBytes(32),
      vector(1, hello.session),
      u16(AES_128_GCM_SHA256),
      u8(0),
      vector(
        2,
        extension(SUPPORTED_VERSIONS, u16(0x0304)),
        extension(KEY_SHARE, u16(X25519), vector(2, own)),
      ),
    );
    this.#transcript.push(serverHello);
    const secrets = schedule.handshake(this.#hash());
    const flight = this.#serverFlight(hello, secrets);
    const seal = new Protection(secrets.server);
    await writeAll(
      this.conn,
      concat(
        plain(HANDSHAKE, serverHello),
        plain(CHANGE_CIPHER_SPEC, u8(1)),
        seal.seal(HANDSHAKE, flight),
      ),
    );
    const application = schedule.application(this.#hash());
    this.#opening = new Protection(secrets.client);
    const peer = await this.#clientFlight(secrets);
    return new TlsConn(this.conn, this.#records, application, peer);
  }

  #serverFlight(hello: Hello, secrets: Secrets): Bytes {
    const sent: Bytes[] = [];
    const add = (bytes: Bytes) => {
      sent.push(bytes);
      this.#transcript.push(bytes);
    };
    const protocol = this.options.protocols.find((p) => hello.protocols.includes(p));
    const alpn = protocol ? [extension(ALPN, vector(2, vector(1, text(protocol))))] : [];
    add(message(ENCRYPTED_EXTENSIONS, vector(2, ...alpn)));
    const algorithms = extension(SIGNATURE_ALGORITHMS, vector(2, u16(ECDSA_P256)));
    add(message(CERTIFICATE_REQUEST, vector(1), vector(2, algorithms)));
    const entry = concat(vector(3, derOf(this.options.certificate)), vector(2));
    add(message(CERTIFICATE, vector(1), vector(3, entry)));
    const key = createPrivateKey(this.options.key);
    const signature = sign("sha256", verifyContent("server", this.#hash()), key);
    add(message(CERTIFICATE_VERIFY, u16(ECDSA_P256), vector(2, new Uint8Array(signature))));
    add(message(FINISHED, finished(secrets.server, this.#hash())));
    return concat(...sent);
  }

  async #clientFlight(secrets: Secrets): Promise<PeerCertificate> {
    const list = new Reader(await this.#expect(CERTIFICATE));
    list.vector(1);
    const entries = new Reader(list.vector(3));
    let peer: PeerCertificate = { state: "none" };
    if (entries.left > 0) {
      const der = entries.vector(3);
      const key = this.options.clientKey(der);
      const content = verifyContent("client", this.#hash());
      const proof = new Reader(await this.#expect(CERTIFICATE_VERIFY));
      const algorithm = proof.number(2);
      const signature = proof.vector(2);
      if (key && (algorithm !== ECDSA_P256 || !verify("sha256", content, key, signature))) {
        throw new Error("the client's signature does not fit its certificate");
      }
      peer = { state: key ? "known" : "unknown", der };
    }
    const expected = finished(secrets.client, this.#hash());
    const given = await this.#expect(FINISHED);
    if (!Buffer.from(given).equals(Buffer.from(expected))) throw new Error("Finished is wrong");
    return peer;
  }

  #hash(): Bytes {
    return sha256(concat(...this.#transcript));
  }

  /** The next handshake message, which must be of this type; its body. */
  async #expect(type: number): Promise<Bytes> {
    for (;;) {
      const size = this.#pending.length < 4
        ? undefined
        : 4 + this.#pending[1] * 65536 + this.#pending[2] * 256 + this.#pending[3];
      if (size !== undefined && this.#pending.length >= size) {
        const whole = this.#pending.subarray(0, size);
        this.#pending = this.#pending.subarray(size);
        if (whole[0] !== type) throw new Error(`message ${whole[0]} came where ${type} belongs`);
        this.#transcript.push(concat(whole));
        return whole.subarray(4);
      }
      let record = await this.#records.next();
      if (!record) throw new Error("the client went away in the handshake");
      if (record.type === CHANGE_CIPHER_SPEC) continue;
      if (record.type === APPLICATION_DATA && this.#opening) {
        record = this.#opening.open(record.content);
      }
      if (record.type !== HANDSHAKE) throw new Error(`record ${record.type} came in the handshake`);
      this.#pending = concat(this.#pending, record.content);
    }
  }
}
