/**
 * Watches ("Efficient detection of changes" of the API concepts). A watch sends one JSON line for each
 * change after its resourceVersion. Unset or "0", or with sendInitialEvents, it first sends what is
 * there as ADDED; with sendInitialEvents a bookmark with the annotation k8s.io/initial-events-end then
 * says that all of it was sent. An object that begins or ceases to match the selectors is ADDED or
 * DELETED. A watch from a revision whose later changes are forgotten gets ERROR with a Status 410.
 *
 * A watch whose client reads too slowly is ended, as a server that cannot keep everything must.
 */
import type { KubeObject } from "./object.ts";
import { apiVersionOf, bucketOf, type ResourceKind } from "./resource_kind.ts";
import type { Cluster } from "./cluster.ts";
import { EventQueue, joined } from "./event_queue.ts";
import type { ListOptions } from "./list_options.ts";
import { type Change, Compacted } from "./revisions.ts";
import { renderEvent } from "./render.ts";
import { type Matcher, parseFieldSelector, parseLabelSelector } from "./selectors.ts";
import { type ApiError, expired } from "./status.ts";

const encoder = new TextEncoder();
const line = (type: string, object: unknown) =>
  encoder.encode(`${JSON.stringify({ type, object })}\n`);

export interface WatchRequest {
  kind: ResourceKind;
  /** "" for all. */
  namespace: string;
  options: ListOptions;
  /** Events that a slow reader may be behind. */
  buffer: number;
}

/** A watch that is being served. */
export class Watch {
  readonly #queue = new EventQueue(() => this.#stop());
  /** Resolves when it has ended. */
  readonly ended: Promise<void>;
  #held?: Uint8Array[];
  #closed = false;
  #unfollow: () => void = () => {};
  #timer?: ReturnType<typeof setTimeout>;
  #finish!: () => void;

  constructor(private readonly cluster: Cluster, readonly request: WatchRequest) {
    this.ended = new Promise((resolve) => this.#finish = resolve);
    this.#begin();
  }

  get body(): ReadableStream<Uint8Array> {
    return this.#queue.body;
  }

  get kind(): ResourceKind {
    return this.request.kind;
  }

  get namespace(): string {
    return this.request.namespace;
  }

  /** Ends it as if its time were over. */
  end(): void {
    if (this.#closed) return;
    this.#stop();
    this.#queue.close();
  }

  /** Ends it in the middle, so that the client sees a broken connection. */
  cut(): void {
    if (this.#closed) return;
    this.#stop();
    this.#queue.break();
  }

  /** Sends nothing from now on, and stays open. */
  stall(): void {
    this.#held ??= [];
  }

  /** Sends what was held back, and goes on. */
  resume(): void {
    const held = this.#held ?? [];
    this.#held = undefined;
    for (const bytes of held) this.#send(bytes);
  }

  /** Sends an ERROR and ends. */
  fail(error: ApiError): void {
    this.#send(line("ERROR", error.status));
    this.end();
  }

  bookmark(initialEventsEnd = false): void {
    const { kind, options } = this.request;
    if (this.#closed || !options.allowWatchBookmarks) return;
    this.#send(line("BOOKMARK", {
      kind: kind.kind,
      apiVersion: apiVersionOf(kind),
      metadata: {
        resourceVersion: String(this.cluster.revisions.revision),
        creationTimestamp: null,
        ...(initialEventsEnd ? { annotations: { "k8s.io/initial-events-end": "true" } } : {}),
      },
    }));
  }

  #stop(): void {
    this.#closed = true;
    this.#unfollow();
    clearTimeout(this.#timer);
    this.#finish();
  }

  #send(bytes: Uint8Array): void {
    if (this.#closed) return;
    if (this.#held) {
      this.#held.push(bytes);
      return;
    }
    this.#queue.push(bytes);
    if (this.#queue.backlog > this.request.buffer) this.end();
  }

  #begin(): void {
    const { kind, namespace, options } = this.request;
    const labels = parseLabelSelector(options.labelSelector);
    const fields = parseFieldSelector(options.fieldSelector, kind.fields);
    const prefix = namespace === "" ? "" : `${namespace}/`;
    const matches: Matcher = (object) => fields.matches(object) && labels(object);
    const tell = (change: Change) => {
      if (!change.key.startsWith(prefix)) return;
      const event = eventOf(change, matches);
      if (event) this.#send(renderEvent(event.type, kind, event.object));
    };
    const from = options.resourceVersion ?? 0;
    const initial = options.sendInitialEvents ?? from === 0;
    try {
      const { revisions } = this.cluster;
      if (initial) {
        const now: Uint8Array[] = [];
        const at = options.resourceVersion === 0 ? this.cluster.anyRevision : undefined;
        for (const [, object] of revisions.list(bucketOf(kind), prefix, "", at)) {
          if (matches(object)) now.push(renderEvent("ADDED", kind, object));
        }
        if (now.length > 0) this.#send(joined(now));
        if (at !== undefined) {
          for (const change of revisions.since(bucketOf(kind), at)) tell(change);
        }
        if (options.sendInitialEvents) this.bookmark(true);
      } else if (from > 0) {
        for (const change of revisions.since(bucketOf(kind), from)) tell(change);
      }
      // From a revision that is still to come: what happens until then is not told.
      this.#unfollow = revisions.follow(bucketOf(kind), (change) => {
        if (change.revision > from) tell(change);
      });
    } catch (error) {
      if (!(error instanceof Compacted)) throw error;
      this.fail(tooOld(this.cluster, from));
      return;
    }
    if (this.#closed) { // by a backlog that was too long
      this.#unfollow();
      return;
    }
    const seconds = options.timeoutSeconds ?? 1800 + Math.floor(Math.random() * 1800);
    this.#timer = setTimeout(() => {
      this.bookmark();
      this.end();
    }, seconds * 1000);
    // An open watch does not keep a program from ending.
    Deno.unrefTimer(this.#timer as unknown as number);
  }
}

export const tooOld = (cluster: Cluster, from: number) =>
  expired(`too old resource version: ${from} (${cluster.revisions.compacted})`);

interface Event {
  type: "ADDED" | "MODIFIED" | "DELETED";
  object: KubeObject;
}

/** What a watch with a selector sees of a change; undefined: nothing. */
export function eventOf(change: Change, matches: Matcher): Event | undefined {
  const before = change.previous !== undefined && matches(change.previous);
  if (change.deleted) return before ? { type: "DELETED", object: change.object } : undefined;
  const after = matches(change.object);
  if (after) return { type: before ? "MODIFIED" : "ADDED", object: change.object };
  if (!before) return undefined;
  const { previous } = change;
  const metadata = { ...previous!.metadata, resourceVersion: String(change.revision) };
  return { type: "DELETED", object: { ...previous!, metadata } };
}
