/**
 * A local store, served to other processes: the methods of `wire.ts` for an RpcServer's table. Values
 * go from memory to the socket as the JSON text that they are, lists and watches in batches of a few
 * hundred kilobytes, so that neither a large list nor a slow client holds the process up.
 */

import { JsonText } from "../rpc/message.ts";
import { call, type CallContext, type Method, type Methods, stream } from "../rpc/method.ts";
import type { ChangeRecord, PutRecord } from "./change_log.ts";
import { checkKey, ttlMs } from "./limits.ts";
import type { LocalStore } from "./local.ts";
import { StoreError } from "./store.ts";
import { memberText, toRpcError, valueMember } from "./wire.ts";
import type { Write } from "./write.ts";

/** JSON text in one batch of a list or a watch, about. */
const BATCH_SIZE = 256 * 1024;

type Params = Record<string, unknown>;

/** The methods `store.…`, to be spread into a server's table. */
export function serveStore(store: LocalStore): Methods {
  const clients = new Map<string, CallContext>();
  return {
    "store.hello": answer((params, context) => {
      const client = text(params, "client");
      clients.get(client)?.disconnect();
      clients.set(client, context);
      context.onDisconnect(() => {
        if (clients.get(client) === context) clients.delete(client);
      });
      return { store: store.id, opening: store.opening, revision: String(store.revision) };
    }),
    "store.ping": answer(() => ({ revision: String(store.revision) })),
    "store.get": answer((params) => {
      const record = store.record(text(params, "key"));
      return record ? new JsonText(recordJson(record)) : null;
    }),
    "store.list": events((params) => listed(store, optionalText(params, "prefix") ?? "")),
    "store.create": writer(store, (params) => ({ op: "create", ...value(params) })),
    "store.put": writer(store, (params) => ({ op: "put", ...value(params) })),
    "store.update": writer(store, (params) => ({
      op: "update",
      revision: text(params, "revision"),
      ...value(params),
    })),
    "store.together": answer(async (params) => {
      const writes = list(params, "writes").map((one): Write => {
        const op = text(one, "op");
        if (op === "create") return { op, ...value(one) };
        if (op === "update") return { op, revision: text(one, "revision"), ...value(one) };
        throw new StoreError("invalid", `"${op}" is nothing that can be done together with others`);
      });
      mustBeTheSame(store, params, writes[0]);
      return { revisions: (await store.writeAll(writes)).map(String) };
    }),
    "store.delete": writer(store, (params) => ({
      op: "delete",
      revision: optionalText(params, "revision"),
      ...named(params),
    })),
    "store.watch": events((params, { signal }) => watched(store, params, signal)),
  };
}

/** The list as it is at this moment, in batches. */
async function* listed(store: LocalStore, prefix: string): AsyncGenerator<JsonText> {
  const { records, revision } = store.records(prefix);
  for (const batch of batches(records)) {
    yield new JsonText(`{"entries":[${batch.map(recordJson).join(",")}]}`);
  }
  yield new JsonText(`{"revision":"${revision}"}`);
}

async function* watched(
  store: LocalStore,
  params: Params,
  signal: AbortSignal,
): AsyncGenerator<JsonText> {
  const from = text(params, "from");
  const id = optionalText(params, "store");
  if (id !== undefined && id !== store.id) {
    throw new StoreError("compacted", "the datastore is not the one of before: list again");
  }
  if ((optionalText(params, "opening") ?? store.opening) !== store.opening) {
    throw new StoreError(
      "compacted",
      "the datastore was closed and opened again, and whether its data is what it was cannot be " +
        "told: list again",
    );
  }
  const changes = store.changes(optionalText(params, "prefix") ?? "", from, signal);
  yield new JsonText(`{"events":[],"revision":"${from}"}`);
  for await (const { records, upTo } of changes) {
    let told = 0;
    for (const batch of batches(records)) {
      told += batch.length;
      const revision = told < records.length ? batch.at(-1)!.revision : upTo;
      yield new JsonText(`{"events":[${batch.map(eventJson).join(",")}],"revision":"${revision}"}`);
    }
    if (records.length === 0) yield new JsonText(`{"events":[],"revision":"${upTo}"}`);
  }
}

function* batches<T extends ChangeRecord>(records: readonly T[]): Generator<T[]> {
  let batch: T[] = [], size = 0;
  for (const record of records) {
    batch.push(record);
    size += record.key.length + (record.type === "put" ? record.text.length : 0) + 40;
    if (size >= BATCH_SIZE) {
      yield batch;
      batch = [];
      size = 0;
    }
  }
  if (batch.length > 0) yield batch;
}

function recordJson(record: PutRecord): string {
  return `{"key":${JSON.stringify(record.key)},${
    valueMember(record.text)
  },"revision":"${record.revision}"}`;
}

function eventJson(record: ChangeRecord): string {
  if (record.type === "put") return `{"type":"put",${recordJson(record).slice(1)}`;
  return `{"type":"delete","key":${JSON.stringify(record.key)},"revision":"${record.revision}"}`;
}

/** A call whose StoreErrors go over the wire. */
function answer(run: (params: Params, context: CallContext) => unknown): Method {
  return call(async (params, context) => {
    try {
      return await run(object(params), context);
    } catch (error) {
      throw toRpcError(error);
    }
  });
}

function events(run: (params: Params, context: CallContext) => AsyncIterable<unknown>): Method {
  return stream(async function* (params, context) {
    try {
      yield* run(object(params), context);
    } catch (error) {
      throw toRpcError(error);
    }
  });
}

function writer(store: LocalStore, read: (params: Params) => Write): Method {
  return answer(async (params) => {
    const write = read(params);
    mustBeTheSame(store, params, write);
    return { revision: String(await store.write(write)) };
  });
}

/** A write that is sent again must come to where it was sent before. */
function mustBeTheSame(store: LocalStore, params: Params, write: Write | undefined): void {
  if (write?.repeatedSince === undefined || optionalText(params, "store") === store.id) return;
  throw new StoreError(
    "unavailable",
    `the outcome of a ${write.op} of ${write.key} is unknown: the connection to the datastore ` +
      `broke, and the datastore there now is another one`,
    write.key,
  );
}

function named(params: Params) {
  const key = text(params, "key");
  checkKey(key);
  const since = optionalText(params, "repeatedSince");
  return {
    key,
    writeId: optionalText(params, "writeId"),
    repeatedSince: since === undefined ? undefined : Number(since),
  };
}

function value(params: Params) {
  const { key, ...rest } = named(params);
  return {
    key,
    ...rest,
    text: memberText(key, params),
    ttlMs: ttlMs(key, params.ttlSeconds as number | undefined),
  };
}

function object(params: unknown): Params {
  if (typeof params === "object" && params !== null && !Array.isArray(params)) {
    return params as Params;
  }
  throw new StoreError("invalid", "the parameters of a datastore method must be an object");
}

function list(params: Params, name: string): Params[] {
  const value = params[name];
  if (Array.isArray(value)) return value.map(object);
  throw new StoreError("invalid", `the parameter "${name}" of a datastore method must be a list`);
}

function text(params: Params, name: string): string {
  const value = optionalText(params, name);
  if (value !== undefined) return value;
  throw new StoreError("invalid", `the parameter "${name}" of a datastore method is missing`);
}

function optionalText(params: Params, name: string): string | undefined {
  const value = params[name];
  if (value === undefined || typeof value === "string") return value;
  throw new StoreError("invalid", `the parameter "${name}" of a datastore method must be a text`);
}
