/**
 * Real etcd servers for tests: one member or several, on free ports of the loopback interface, each
 * with a data folder of its own, with TLS and users where that is asked for. A test can kill, stop,
 * pause and start members, cut one off, compact, and speak to the gateway by itself.
 */
import assert from "node:assert/strict";
import type { EtcdLocation, TlsFiles } from "../../mod/store/location.ts";
import { type EtcdOptions, EtcdStore, openEtcd } from "../../mod/store/etcd/mod.ts";

/** Nothing here outlives the machine, and a disk's syncs would be most of the time. */
const NO_SYNC = "--unsafe-no-fsync";
/** Beside every figure of such a server. */
export const ETCD_NOTE =
  `The etcd is a single one that does not sync (${NO_SYNC}): one that does is ` +
  "slower by its disk's sync for each write.";

export interface ClusterOptions {
  readonly members?: number;
  /** Certificates of `makeCertificates`; clients must have one. */
  readonly tls?: Certificates;
  /** Network namespace of the members; `raw` and what needs it cannot be used then. */
  readonly netns?: string;
  /** A namespace and an address for each member, with etcd's own ports; `raw` cannot be used then. */
  readonly places?: readonly { readonly netns: string; readonly ip: string }[];
  /** Nothing is started yet. */
  readonly deferred?: boolean;
  /** More flags for every member. */
  readonly flags?: readonly string[];
}

/** Paths of PEM files. */
export interface Certificates {
  readonly folder: string;
  readonly ca: string;
  readonly server: { cert: string; key: string };
  readonly client: { cert: string; key: string };
  /** Another authority, and a client that it signed. */
  readonly otherCa: string;
  readonly otherClient: { cert: string; key: string };
  /** Without CommonName. */
  readonly namelessClient: { cert: string; key: string };
}

export class EtcdMember {
  readonly #args: string[];
  #child: Deno.ChildProcess | undefined;

  constructor(
    readonly name: string,
    readonly folder: string,
    readonly url: string,
    readonly peerUrl: string,
    args: string[],
    readonly netns?: string,
  ) {
    this.#args = args;
  }

  get pid(): number {
    return this.#child!.pid;
  }

  /** `more`: flags; the last of a name counts. */
  start(more: readonly string[] = []): void {
    const log = Deno.openSync(`${this.folder}/log`, { create: true, append: true });
    log.close();
    // The shell gives etcd a file for its log, so that no pipe can fill up.
    const inside = this.netns ? `ip netns exec ${this.netns} ` : "";
    const script = `exec ${inside}/usr/bin/etcd "$@" >>"${this.folder}/log" 2>&1`;
    this.#child = new Deno.Command("/bin/sh", {
      args: ["-c", script, "etcd", ...this.#args, ...more],
      stdin: "null",
      stdout: "null",
      stderr: "null",
    }).spawn();
  }

  /** Starts it where none of its clients looks, and waits until it answers. */
  async startAt(url: string): Promise<void> {
    this.start(["--listen-client-urls", url]);
    const body = JSON.stringify({ key: btoa("x") });
    for (let tries = 0;; tries++) {
      try {
        const answer = await fetch(`${url}/v3/kv/range`, { method: "POST", body });
        await answer.text();
        if (answer.ok) return;
        if (tries > 400) throw new Error(`${url} answers ${answer.status}`);
      } catch (error) {
        if (tries > 400) throw error;
      }
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  }

  kill(signal: Deno.Signal): void {
    this.#child?.kill(signal);
  }

  /** SIGSTOP; until one of its threads has taken the signal, the others still answer. */
  async freeze(): Promise<void> {
    this.kill("SIGSTOP");
    const isStopped = async () => {
      for await (const { name } of Deno.readDir(`/proc/${this.pid}/task`)) {
        const stat = await Deno.readTextFile(`/proc/${this.pid}/task/${name}/stat`);
        if (!/\) T /.test(stat)) return false;
      }
      return true;
    };
    while (!await isStopped()) await new Promise((resolve) => setTimeout(resolve, 1));
  }

  /** Copies its data away. It must not run. */
  async backUp(): Promise<void> {
    await copy(`${this.folder}/data`, `${this.folder}/backup`);
  }

  /** Puts what was copied away in the place of its data. It must not run. */
  async restore(): Promise<void> {
    await Deno.remove(`${this.folder}/data`, { recursive: true });
    await copy(`${this.folder}/backup`, `${this.folder}/data`);
  }

  /** Ends it and waits for its end. */
  async stop(signal: Deno.Signal = "SIGKILL"): Promise<void> {
    const child = this.#child;
    if (!child) return;
    this.#child = undefined;
    try {
      child.kill("SIGCONT");
      child.kill(signal);
    } catch {
      // It has ended by itself.
    }
    await child.status;
  }

  get running(): boolean {
    return this.#child !== undefined;
  }

  async log(): Promise<string> {
    return await Deno.readTextFile(`${this.folder}/log`);
  }
}

export class EtcdCluster {
  #client: Deno.HttpClient | undefined;

  private constructor(
    readonly folder: string,
    readonly members: readonly EtcdMember[],
    readonly tls: Certificates | undefined,
  ) {}

  static async start(options: ClusterOptions = {}): Promise<EtcdCluster> {
    const { members: count = 1, tls, places, deferred, flags = [] } = options;
    const folder = await Deno.makeTempDir({ prefix: "tortie-etcd-" });
    const ports = freePorts(count * 2);
    const scheme = tls ? "https" : "http";
    const origin = (i: number, peer: boolean) =>
      places ? `${places[i].ip}:${peer ? 2380 : 2379}` : `127.0.0.1:${ports[peer ? count + i : i]}`;
    const peers = ports.slice(count).map((_, i) => `m${i}=http://${origin(i, true)}`).join();
    const members = await Promise.all(
      ports.slice(0, count).map(async (_, i) => {
        const own = `${folder}/m${i}`;
        await Deno.mkdir(own);
        const url = `${scheme}://${origin(i, false)}`;
        const peerUrl = `http://${origin(i, true)}`;
        const netns = places?.[i].netns ?? options.netns;
        return new EtcdMember(`m${i}`, own, url, peerUrl, [
          ...["--name", `m${i}`, "--data-dir", `${own}/data`, "--log-level", "warn"],
          // The second address is one that no certificate is made out to.
          ...["--listen-client-urls", `${url},${scheme}://127.0.0.2:${new URL(url).port}`],
          ...["--advertise-client-urls", url],
          ...["--listen-peer-urls", peerUrl, "--initial-advertise-peer-urls", peerUrl],
          ...["--initial-cluster", peers, "--initial-cluster-token", folder],
          // Quick elections, and leases of one second.
          ...["--heartbeat-interval", "50", "--election-timeout", "500", NO_SYNC],
          ...(tls
            ? [
              ...["--cert-file", tls.server.cert, "--key-file", tls.server.key],
              ...["--trusted-ca-file", tls.ca, "--client-cert-auth"],
            ]
            : []),
          ...flags,
        ], netns);
      }),
    );
    const cluster = new EtcdCluster(folder, members, tls);
    if (deferred) return cluster;
    for (const member of members) member.start();
    if (places || options.netns) return cluster;
    await Promise.all(members.map((member) => cluster.serves(member)));
    return cluster;
  }

  get endpoints(): string[] {
    return this.members.map((member) => member.url);
  }

  location(more: Partial<EtcdLocation> = {}): EtcdLocation {
    const { tls } = this;
    const files: TlsFiles = tls
      ? { ca: { file: tls.ca }, cert: { file: tls.client.cert }, key: { file: tls.client.key } }
      : {};
    return { kind: "etcd", endpoints: this.endpoints, tls: files, ...more };
  }

  open(options: EtcdOptions = {}, more: Partial<EtcdLocation> = {}): Promise<EtcdStore> {
    return openEtcd(this.location(more), options);
  }

  /** What a role of ours is told by its environment. */
  get env(): Record<string, string> {
    const { tls } = this;
    return {
      DATASTORE_TYPE: "etcdv3",
      ETCD_ENDPOINTS: this.endpoints.join(),
      ...(tls && {
        ETCD_CA_CERT_FILE: tls.ca,
        ETCD_CERT_FILE: tls.client.cert,
        ETCD_KEY_FILE: tls.client.key,
      }),
    };
  }

  /** Waits until the member answers a linearizable read. */
  async serves(member: EtcdMember, withinMs = 20_000): Promise<void> {
    const until = Date.now() + withinMs;
    for (;;) {
      try {
        await this.raw("/v3/kv/range", { key: btoa("x") }, member, 2000);
        return;
      } catch (error) {
        if (Date.now() > until) {
          const log = (await member.log()).slice(-2000);
          throw new Error(`etcd ${member.name} does not serve: ${error}\n${log}`);
        }
        await new Promise((resolve) => setTimeout(resolve, 50));
      }
    }
  }

  /** One request to the gateway, as any client would send it. */
  async raw(
    path: string,
    body: unknown,
    member = this.members[0],
    limitMs = 10_000,
    headers: Record<string, string> = {},
  ): Promise<any> {
    const { tls } = this;
    this.#client ??= Deno.createHttpClient({
      http2: false,
      ...(tls && {
        caCerts: [Deno.readTextFileSync(tls.ca)],
        cert: Deno.readTextFileSync(tls.client.cert),
        key: Deno.readTextFileSync(tls.client.key),
      }),
    } as Deno.CreateHttpClientOptions);
    const late = new AbortController();
    const timer = setTimeout(() => late.abort(), limitMs);
    try {
      const response = await fetch(member.url + path, {
        method: "POST",
        body: JSON.stringify(body),
        headers,
        client: this.#client,
        signal: late.signal,
      });
      const answer = await response.json();
      if (!response.ok) throw new Error(answer.message ?? response.status);
      return answer;
    } finally {
      clearTimeout(timer);
    }
  }

  /** Writes text under a key, JSON or not. */
  async putText(key: string, text: string): Promise<string> {
    const bytes = (t: string) => new TextEncoder().encode(t).toBase64();
    const answer = await this.raw("/v3/kv/put", { key: bytes(key), value: bytes(text) });
    return answer.header.revision;
  }

  /** The text under each key that begins with the prefix, in the order of keys. */
  async texts(prefix: string): Promise<Map<string, string>> {
    const bytes = new TextEncoder().encode(prefix);
    const end = bytes.slice();
    end[end.length - 1]++;
    const answer = await this.raw("/v3/kv/range", {
      key: bytes.toBase64(),
      range_end: end.toBase64(),
    });
    const text = (base64 = "") => new TextDecoder().decode(Uint8Array.fromBase64(base64));
    return new Map((answer.kvs ?? []).map((kv: any) => [text(kv.key), text(kv.value)]));
  }

  /** Forgets all history up to now. */
  async compact(): Promise<void> {
    // A compaction keeps the revision at which it is made: of a key that nobody looks at.
    const revision = await this.putText("/elsewhere/filler", "");
    await this.raw("/v3/kv/compaction", { revision, physical: true });
  }

  /** Deletes all keys, so that the next test finds none. */
  async clear(): Promise<void> {
    await this.raw("/v3/kv/deleterange", { key: btoa("\0"), range_end: btoa("\0") });
  }

  async stop(): Promise<void> {
    this.#client?.close();
    this.#client = undefined;
    await Promise.all(this.members.map((member) => member.stop()));
    await Deno.remove(this.folder, { recursive: true });
  }
}

async function copy(from: string, to: string): Promise<void> {
  const { success, stderr } = await new Deno.Command("cp", { args: ["-a", from, to] }).output();
  assert(success, new TextDecoder().decode(stderr));
}

/** Ports that nobody listens at now. */
export function freePorts(count: number): number[] {
  const listeners = Array.from(
    { length: count },
    () => Deno.listen({ hostname: "127.0.0.1", port: 0 }),
  );
  const ports = listeners.map((listener) => (listener.addr as Deno.NetAddr).port);
  for (const listener of listeners) listener.close();
  return ports;
}

/**
 * An authority, a server and a client certificate, and a second authority with a client of its own. The
 * server's is one for a client too: etcd's gateway shows it to etcd itself.
 */
export async function makeCertificates(): Promise<Certificates> {
  const folder = await Deno.makeTempDir({ prefix: "tortie-pki-" });
  const openssl = async (...args: string[]) => {
    const { success, stderr } = await new Deno.Command("openssl", {
      args,
      cwd: folder,
      stdout: "null",
      stderr: "piped",
    }).output();
    assert(success, `openssl ${args.join(" ")}: ${new TextDecoder().decode(stderr)}`);
  };
  const curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"];
  const authority = async (name: string) => {
    await openssl("req", "-x509", ...curve, "-keyout", `${name}.key`, "-out", `${name}.crt`, ...[
      "-days",
      "2",
      "-subj",
      `/CN=${name}`,
    ]);
    return `${folder}/${name}.crt`;
  };
  const leaf = async (name: string, ca: string, usage: string, subject = `/CN=${name}`) => {
    const extensions = `${name}.ext`;
    await Deno.writeTextFile(
      `${folder}/${extensions}`,
      `subjectAltName=IP:127.0.0.1,DNS:localhost\nextendedKeyUsage=${usage}\n` +
        "basicConstraints=CA:FALSE\n",
    );
    await openssl("req", ...curve, "-keyout", `${name}.key`, "-out", `${name}.csr`, ...[
      "-subj",
      subject,
    ]);
    await openssl("x509", "-req", "-in", `${name}.csr`, "-CA", `${ca}.crt`, ...[
      ...["-CAkey", `${ca}.key`, "-CAcreateserial", "-days", "2"],
      ...["-out", `${name}.crt`, "-extfile", extensions],
    ]);
    return { cert: `${folder}/${name}.crt`, key: `${folder}/${name}.key` };
  };
  const ca = await authority("ca");
  const otherCa = await authority("other-ca");
  return {
    folder,
    ca,
    otherCa,
    server: await leaf("server", "ca", "serverAuth,clientAuth"),
    client: await leaf("client", "ca", "clientAuth"),
    otherClient: await leaf("other-client", "other-ca", "clientAuth"),
    namelessClient: await leaf("nameless-client", "ca", "clientAuth", "/O=tortie"),
  };
}
