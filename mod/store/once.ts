/**
 * A body that is sent once. Where a connection ends without an answer, fetch of this runtime sends a
 * request again by itself if it still has the body: a write would be carried out twice, or be refused
 * as in conflict with itself. What comes from a stream it has no more; then the caller hears of the
 * broken connection, and decides. Its length is told, or it would be sent in chunks, each for itself and
 * each acknowledged late.
 */

const encoder = new TextEncoder();

export interface SentOnce {
  readonly body: ReadableStream<Uint8Array>;
  readonly headers: { readonly "content-length": string };
}

export function sentOnce(text: string): SentOnce {
  const bytes = encoder.encode(text);
  const body = new ReadableStream<Uint8Array>({
    start(controller) {
      if (bytes.length > 0) controller.enqueue(bytes);
      controller.close();
    },
  });
  return { body, headers: { "content-length": String(bytes.length) } };
}
