/** `node run`: hands the flags to the node service and stays with it until it ends. */
import { runNode } from "../node/service.ts";
import { buildInfo } from "./build_info.ts";
import { type Call, textOption } from "./command.ts";
import { configuredStore } from "./context.ts";

export async function run(call: Call): Promise<number> {
  return await runNode({
    nodename: textOption(call, "nodename"),
    store: textOption(call, "store"),
    configured: (await configuredStore(call.io, textOption(call, "config")))?.location,
    ip: textOption(call, "ip"),
    ip6: textOption(call, "ip6"),
    logLevel: textOption(call, "logLevel"),
  }, { version: buildInfo().version });
}
