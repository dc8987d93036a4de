/** `node run`: hands the flags to the node service and stays with it until it ends. */
import { runNode } from "../node/service.ts";
import { buildInfo } from "./build_info.ts";
import { type Call, textOption } from "./command.ts";
import { configuredStore, kubeconfigAlone, namedInFile } from "./context.ts";

export async function run(call: Call): Promise<number> {
  const { io } = call;
  const config = textOption(call, "config");
  return await runNode({
    nodename: textOption(call, "nodename"),
    store: textOption(call, "store"),
    named: config ? await namedInFile(io, config) : undefined,
    configured: config ? undefined : (await configuredStore(io, call.program))?.location,
    kubeconfig: await kubeconfigAlone(io, call.program),
    ip: textOption(call, "ip"),
    ip6: textOption(call, "ip6"),
    logLevel: textOption(call, "logLevel"),
    variables: call.variables,
  }, { version: buildInfo().version });
}
