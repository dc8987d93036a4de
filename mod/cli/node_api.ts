/** Questions to the node service of this machine, over its local socket. */
import type { PeerStatus, RefreshAnswer, RouteStatus } from "../../bgp/config.ts";
import { RpcClient } from "../rpc/client.ts";
import { RpcError } from "../rpc/method.ts";
import { connectUnix } from "../rpc/connect.ts";
import type { Call } from "./command.ts";
import { nodeSocket } from "./context.ts";
import { CliError, EXIT, failure } from "./io.ts";

/** One call; CliError "unreachable" where no service answers at the socket. */
export async function askNode<T>(call: Call, method: string, params: unknown = {}): Promise<T> {
  const path = nodeSocket(call.io);
  let client: RpcClient;
  try {
    client = new RpcClient(await connectUnix(path));
  } catch (error) {
    const reason = error instanceof Deno.errors.NotFound
      ? "no such socket"
      : error instanceof Deno.errors.ConnectionRefused
      ? "nobody serves it"
      : (error as Error).message;
    throw new CliError(
      EXIT.unreachable,
      `${
        call.program === "calicoctl" ? "Calico process is not running: " : ""
      }the node service of ` +
        `this machine does not answer at ${path}: ${reason}. Start it with \`tortie node run\`, or ` +
        "say where it is with TORTIE_RUN_DIR",
    );
  }
  try {
    return await client.call(method, params, { signal: AbortSignal.timeout(10_000) }) as T;
  } catch (error) {
    if (error instanceof DOMException && error.name === "TimeoutError") {
      throw new CliError(EXIT.unreachable, `the node service at ${path} did not answer in 10 s`);
    }
    if (error instanceof RpcError) throw failure(error.message);
    throw error;
  } finally {
    await client.close();
  }
}

export type { PeerStatus, RefreshAnswer, RouteStatus };

/** `2026-11-22` with the time for what is of today: as BIRD, and so calicoctl, prints `since`. */
export function sinceText(milliseconds: number, now: number): string {
  const time = new Date(milliseconds).toISOString();
  const today = new Date(now).toISOString().slice(0, 10);
  return time.startsWith(today) ? time.slice(11, 19) : time.slice(0, 10);
}
