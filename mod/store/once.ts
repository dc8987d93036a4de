/**
 * A body that is sent once. Where a connection ends without an answer, fetch of this runtime sends a
 * request again by itself if it still has the body: a write would be carried out twice, or be refused
 * as in conflict with itself. What comes from a stream it has no more; then the caller hears of the
 * broken connection, and decides.
 */

const encoder = new TextEncoder();

export function sentOnce(text: string): ReadableStream<Uint8Array> {
  return new ReadableStream({
    start(controller) {
      if (text !== "") controller.enqueue(encoder.encode(text));
      controller.close();
    },
  });
}
