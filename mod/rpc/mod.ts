/** What others need of this room. `connect.ts` (Deno's sockets) and `pipe.ts` are imported by name. */

export * from "./client.ts";
export * from "./connection.ts";
export {
  type CniAnswer,
  type CniRequest,
  encodeCniAnswer,
  encodeCniRequest,
  FramingError,
  MAX_CNI_BYTES,
  parseCniAnswer,
} from "./framing.ts";
export { type ErrorBody, JsonText } from "./message.ts";
export * from "./method.ts";
export { type CniContext, RpcServer, type RpcServerOptions } from "./server.ts";
