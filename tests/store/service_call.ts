/** CNI calls to a node's service at its socket, as a plugin sends them, without a process for each. */
import { encodeRequest, parseHead } from "../../cni/request.ts";

const encoder = new TextEncoder();

/** A CNI call that failed: with a code, or without an answer. */
export class CallError extends Error {
  constructor(readonly code: number | undefined, message: string) {
    super(message);
  }
}

export interface ServiceCall {
  /** `tortie`, or `tortie-ipam` under another interface plugin. */
  readonly plugin: string;
  readonly command: string;
  readonly container: string;
  /** Path of the container's network namespace. */
  readonly netns: string;
  readonly conf: Record<string, unknown>;
  readonly args?: string;
}

/** The answer as an object; CallError. */
export async function callService(path: string, call: ServiceCall): Promise<any> {
  const env = {
    CNI_COMMAND: call.command,
    CNI_CONTAINERID: call.container,
    CNI_NETNS: call.netns,
    CNI_IFNAME: "eth0",
    CNI_PATH: "/nowhere",
    ...(call.args !== undefined && { CNI_ARGS: call.args }),
  };
  const stdin = encoder.encode(JSON.stringify({ cniVersion: "1.0.0", ...call.conf }));
  let head: { exit: number }, body: Uint8Array;
  try {
    using socket = await Deno.connect({ transport: "unix", path });
    const request = encodeRequest({ argv0: call.plugin, env, stdin });
    for (let at = 0; at < request.length;) at += await socket.write(request.subarray(at));
    await socket.closeWrite();
    ({ head, body } = await readAnswer(socket));
  } catch (error) {
    throw new CallError(undefined, (error as Error).message);
  }
  const said = body.length > 0 ? JSON.parse(new TextDecoder().decode(body)) : undefined;
  if (head.exit !== 0) throw new CallError(said?.code, said?.msg);
  return said;
}

/** As much as was announced: who goes on listening has not yet taken the answer. */
async function readAnswer(socket: Deno.UnixConn) {
  let bytes = new Uint8Array(0);
  const chunk = new Uint8Array(4096);
  for (;;) {
    const end = bytes.indexOf(10);
    const head = end < 0 ? undefined : parseHead(bytes.subarray(0, end));
    if (end >= 0 && !head) throw new Error("no answer of a node service");
    if (head && bytes.length === end + 1 + head.length) {
      return { head, body: bytes.subarray(end + 1) };
    }
    const n = await socket.read(chunk);
    if (n === null) throw new Error("no whole answer");
    bytes = new Uint8Array([...bytes, ...chunk.subarray(0, n)]);
  }
}
