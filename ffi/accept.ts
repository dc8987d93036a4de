/**
 * Accepting connections on a listening socket of any family. Where no descriptor is left for a caller
 * (EMFILE and its like), the socket stays readable, so it is put aside for a moment instead of asked
 * again and again; the callers wait in its queue meanwhile.
 */
import { EAGAIN, EINTR, errno, libc, SOCK_CLOEXEC, SOCK_NONBLOCK } from "./libc.ts";
import type { Reactor } from "./reactor.ts";

const ECONNABORTED = 103;
const restMilliseconds = 100;
/** Callers taken before others get their turn. */
const burst = 64;

/**
 * Calls `onClient` with the descriptor of each connection, which is then its own. `name` is for the
 * log: `listen on 192.0.2.1:179`. `close` ends it and leaves the listening socket open.
 */
export function acceptOn(
  fd: number,
  name: string,
  within: Reactor,
  onClient: (fd: number) => void,
): { close(): void } {
  let resting: number | undefined;
  let closed = false;
  const registration = within.add(fd, { read: true }, () => {
    for (let i = 0; i < burst && !closed; i++) {
      const client = libc().accept4(fd, null, null, SOCK_CLOEXEC | SOCK_NONBLOCK);
      if (client >= 0) {
        onClient(client);
        continue;
      }
      const reason = errno();
      if (reason === EAGAIN) return;
      // Gone again before it was served; errors of its own (accept(2)) pass with it.
      if (reason === EINTR || reason === ECONNABORTED) continue;
      rest(reason);
      return;
    }
  });
  function rest(reason: number): void {
    console.error(`${name}: accept: errno ${reason}; again in ${restMilliseconds} ms`);
    registration.set({});
    resting = setTimeout(() => registration.set({ read: true }), restMilliseconds);
  }
  return {
    close() {
      closed = true;
      clearTimeout(resting);
      registration.close();
    },
  };
}
