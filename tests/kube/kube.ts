/**
 * A Kubernetes API for tests: a small server, in this process, that behaves as the API conventions and
 * the page "Kubernetes API Concepts" say, with faults that a test orders.
 *
 *     await using kube = await startKube();
 *     kube.url                                 https://127.0.0.1:…
 *     kube.kubeconfig()                        text, as the cluster's admin
 *     await kube.crds()                        serves Calico's custom resources
 *     await kube.call("POST", "/api/v1/namespaces", { … })
 *     kube.faults.add({ match, status: 429, retryAfter: 1, times: 2 })
 *     await kube.stop(); await kube.start()    away and back on the same port
 *
 * How a request travels: wire.ts (connections) → server.ts (HTTP, who, faults) → resource_requests.ts →
 * create.ts, update.ts, remove.ts, list.ts, watch.ts → cluster.ts → revisions.ts.
 *
 * It is no scheduler, no kubelet and no controller: pods stay Pending until the test binds them and
 * writes their status, and owners' dependents stay when the owner goes. Its weak sides: what stands
 * within spec and status of Kubernetes' own kinds is stored as it comes, expressions in CRD schemas are
 * not evaluated, and server-side apply takes lists whole.
 */
import { ADMIN, Authentication } from "./authentication.ts";
import type { Grant } from "./access.ts";
import { Authority, type Identity } from "./certificates.ts";
import { Client, type Outcome, type WatchStream } from "./client.ts";
import { Cluster } from "./cluster.ts";
import type { KubeOptions } from "./kube_options.ts";
import { create } from "./create.ts";
import { definitionKind } from "./custom_resources.ts";
import { decodeObject } from "./decode.ts";
import { Faults } from "./faults.ts";
import { kubeconfigText } from "./kubeconfig.ts";
import { copy, type KubeObject } from "./object.ts";
import { subjectOf } from "./peer_certificate.ts";
import { keyOf } from "./resource_kind.ts";
import type { Snapshot } from "./revisions.ts";
import { Server } from "./server.ts";
import type { PeerCertificate } from "./tls/conn.ts";
import { Tokens, type User } from "./tokens.ts";
import { tooOld, type Watch } from "./watch.ts";
import { Wire } from "./wire.ts";
import { type HttpServer, serveHttp } from "../../mod/node/http_server.ts";

export type { KubeOptions };

export async function startKube(options: KubeOptions = {}): Promise<Kube> {
  const kube = new Kube(options);
  await kube.start();
  return kube;
}

export class Kube {
  readonly cluster: Cluster;
  readonly tokens: Tokens;
  readonly faults = new Faults();
  readonly authority = new Authority();
  readonly server: Server;
  readonly host: string;
  readonly #who: Authentication;
  readonly #inner: HttpServer;
  readonly #wire: Wire;
  readonly #adminToken = crypto.randomUUID();
  #bookmarks?: ReturnType<typeof setInterval>;
  #client?: Client;

  constructor(private readonly options: KubeOptions) {
    this.host = options.host ?? "127.0.0.1";
    const now = options.now ?? Date.now;
    this.cluster = new Cluster({ revision: options.revision ?? 100, now });
    this.tokens = new Tokens(this.cluster);
    this.#who = new Authentication(this.tokens, [...options.grants ?? []]);
    this.#who.users.set(this.#adminToken, ADMIN);
    this.server = new Server(this.cluster, this.#who, this.faults, {
      bodyLimit: options.bodyLimit ?? 3 * 1024 * 1024,
      watchBuffer: options.watchBuffer ?? 10_000,
      patience: options.patience ?? 300,
      goneAs: options.goneAs ?? "event",
    });
    const names = ["127.0.0.1", "::1", "localhost", "kubernetes.default.svc", "kubernetes"];
    const more = [this.host, options.advertise ?? this.host, ...options.names ?? []];
    const identity = this.authority.server([...new Set([...names, ...more])]);
    this.#inner = serveHttp({ hostname: "127.0.0.1", port: 0 }, (request, info) => {
      const { port } = info.remoteAddr as Deno.NetAddr;
      return this.server.handle(request, {
        user: this.#peerUser(this.#wire.peer(port)),
        drop: () => this.#wire.drop(port),
      });
    });
    this.#wire = new Wire(this.host, options.port ?? 0, this.#inner.port, {
      ...identity,
      protocols: options.http2 ? ["h2", "http/1.1"] : ["http/1.1"],
      clientKey: (der) => subjectOf(der, this.ca, this.cluster.now())?.key,
    });
  }

  #peerUser(peer: PeerCertificate): User | "unknown" | undefined {
    if (peer.state === "none") return undefined;
    const subject = peer.state === "known" && subjectOf(peer.der, this.ca, this.cluster.now());
    if (!subject) return "unknown";
    return { name: subject.name, groups: [...subject.groups, "system:authenticated"] };
  }

  get url(): string {
    const host = this.options.advertise ?? (this.host === "0.0.0.0" ? "127.0.0.1" : this.host);
    return `https://${host}:${this.#wire.port}`;
  }

  get port(): number {
    return this.#wire.port;
  }

  /** PEM of the authority that signed the server's certificate. */
  get ca(): string {
    return this.authority.certificate;
  }

  get grants(): Grant[] {
    return this.#who.grants;
  }

  get adminToken(): string {
    return this.#adminToken;
  }

  get revision(): number {
    return this.cluster.revisions.revision;
  }

  get watches(): Watch[] {
    return [...this.server.watches];
  }

  /** Begins to answer, after `stop` in the same state or in an older one. */
  async start(state?: Snapshot): Promise<void> {
    if (state) this.cluster.restore(state);
    // The connections of our own client are broken too.
    this.#client?.close();
    this.#client = undefined;
    this.#wire.open();
    const every = this.options.bookmarks ?? 1000;
    if (every > 0 && this.#bookmarks === undefined) {
      this.#bookmarks = setInterval(() => this.bookmark(), every);
      Deno.unrefTimer(this.#bookmarks as unknown as number);
    }
  }

  /** Goes away: no listener, all connections broken. The port and the state stay its own. */
  async stop(): Promise<void> {
    for (const watch of this.watches) watch.cut();
    await this.#wire.close();
  }

  async close(): Promise<void> {
    clearInterval(this.#bookmarks);
    this.#client?.close();
    this.server.end();
    await this.stop();
    await this.#inner.close();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  /** A state to start again with. */
  snapshot(): Snapshot {
    return this.cluster.snapshot();
  }

  /** A token for a user of this name, with groups. */
  user(name: string, groups: string[] = []): string {
    const token = crypto.randomUUID();
    const user: User = { name, groups: [...groups, "system:authenticated"] };
    this.#who.users.set(token, user);
    return token;
  }

  /** The token is nobody's from now on. */
  revoke(token: string): void {
    this.#who.users.delete(token);
  }

  /** A token of a service account that is there. */
  accountToken(namespace: string, name: string, seconds = 3600): string {
    return this.tokens.issue(namespace, name, seconds).token;
  }

  /** A client certificate; its time may be over already (`days` negative). */
  certificate(user: string, groups: string[] = [], days?: number): Identity {
    return this.authority.client(user, groups, days);
  }

  /** YAML; the admin's where neither token nor certificate is given. */
  kubeconfig(as: { token?: string; certificate?: Identity; namespace?: string } = {}): string {
    const token = as.token ?? this.#adminToken;
    return kubeconfigText(this.url, this.ca, as.certificate ? as : { ...as, token });
  }

  /** Writes what a pod finds of its service account (token, ca.crt, namespace) into a folder. */
  async mountAccount(folder: string, namespace: string, name: string, seconds = 3600) {
    await Deno.mkdir(folder, { recursive: true });
    await Deno.writeTextFile(`${folder}/token`, this.accountToken(namespace, name, seconds));
    await Deno.writeTextFile(`${folder}/ca.crt`, this.ca);
    await Deno.writeTextFile(`${folder}/namespace`, namespace);
    const host = new URL(this.url).hostname;
    return { KUBERNETES_SERVICE_HOST: host, KUBERNETES_SERVICE_PORT: String(this.port) };
  }

  /** Creates definitions, by the API's rules; Calico's, where none are named. */
  async crds(definitions?: readonly object[]): Promise<void> {
    definitions ??= (await import("./calico_definitions.ts")).calicoDefinitions();
    const options = { dryRun: false, manager: "test", fieldValidation: "Strict" } as const;
    for (const definition of definitions) {
      create(
        this.cluster,
        definitionKind,
        "",
        decodeObject(copy(definition), definitionKind),
        options,
      );
    }
  }

  /** The admin's client. */
  get client(): Client {
    return this.#client ??= this.clientOf({ token: this.#adminToken });
  }

  clientOf(as: { token?: string; certificate?: Identity }): Client {
    return new Client(this.url, this.ca, as);
  }

  /** A request over the wire as the admin. */
  call(method: string, path: string, body?: unknown, headers?: HeadersInit): Promise<Outcome> {
    return this.client.call(method, path, body, headers);
  }

  watch(path: string): Promise<WatchStream> {
    return this.client.watch(path);
  }

  /** What the store holds, past the API. */
  get(group: string, plural: string, namespace: string, name: string): KubeObject | undefined {
    return this.cluster.revisions.get(`${group}/${plural}`, keyOf(namespace, name));
  }

  all(group: string, plural: string): KubeObject[] {
    return [...this.cluster.revisions.list(`${group}/${plural}`, "", "")].map(([, o]) => o);
  }

  /** Puts an object past all rules: one that an older or a foreign writer left. */
  put(group: string, plural: string, object: KubeObject): KubeObject {
    const { name, namespace = "" } = object.metadata;
    return this.cluster.revisions.put(`${group}/${plural}`, keyOf(namespace, name), object);
  }

  /** From now on reads of any state (resourceVersion 0) see that of now, until it is ended. */
  lag(): () => void {
    this.cluster.cacheRevision = this.revision;
    return () => {
      this.cluster.cacheRevision = undefined;
    };
  }

  /** Forgets the history up to a revision (all of it); watches that are open go on. */
  compact(revision?: number): void {
    this.cluster.revisions.compact(revision);
  }

  /** Sends a bookmark on every watch that takes them. */
  bookmark(): void {
    for (const watch of this.watches) watch.bookmark();
  }

  /** Breaks watches in the middle. */
  cutWatches(match: (watch: Watch) => boolean = () => true): void {
    for (const watch of this.watches.filter(match)) watch.cut();
  }

  /** Ends watches as the server does when their time is over. */
  endWatches(match: (watch: Watch) => boolean = () => true): void {
    for (const watch of this.watches.filter(match)) watch.end();
  }

  /** Ends watches with ERROR 410, as a server whose cache has been left behind. */
  expireWatches(match: (watch: Watch) => boolean = () => true): void {
    for (const watch of this.watches.filter(match)) {
      watch.fail(tooOld(this.cluster, watch.request.options.resourceVersion ?? 0));
    }
  }

  /** Watches that send nothing and stay open; the result lets them go on. */
  stallWatches(match: (watch: Watch) => boolean = () => true): () => void {
    const stalled = this.watches.filter(match);
    for (const watch of stalled) watch.stall();
    return () => {
      for (const watch of stalled) watch.resume();
    };
  }

  /** Breaks all connections; the server stays. */
  dropConnections(): void {
    this.#wire.dropAll();
  }
}
