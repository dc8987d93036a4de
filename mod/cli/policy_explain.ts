/**
 * `policy explain`: would this connection be allowed, and why, rule by rule, from the very rules that
 * are rendered for the kernel. Of the cluster, or of files without a cluster.
 */
import {
  type Connection,
  ExplainError,
  formatExplanation,
  PolicyView,
} from "../../policy/explain.ts";
import { engineOf, parseMatrixPort } from "../../policy/matrix.ts";
import { parseIp } from "../net/mod.ts";
import { type Call, textOption } from "./command.ts";
import { EXIT, failure, usageError } from "./io.ts";
import { policyObjects } from "./policy_objects.ts";

export async function run(call: Call): Promise<number> {
  const format = textOption(call, "output") ?? "text";
  if (!["text", "json"].includes(format)) throw usageError(`-o ${format}: want text or json`);
  const connection = connectionOf(call);
  const { engine } = engineOf(await policyObjects(call));
  for (const { object, message } of engine.problems()) {
    call.io.stderr(`warning: ${object}: ${message}\n`);
  }
  let explanation;
  try {
    explanation = new PolicyView(engine).explain(connection);
  } catch (error) {
    if (error instanceof ExplainError) throw failure(error.message);
    throw error;
  }
  call.io.stdout(
    format === "json"
      ? `${JSON.stringify(explanation, null, 2)}\n`
      : `${formatExplanation(explanation).join("\n")}\n`,
  );
  // A denied connection is an answer, not a failure: the exit code says only whether it was found.
  return EXIT.ok;
}

function connectionOf(call: Call): Connection {
  const [from, to] = ["from", "to"].map((name) => {
    const text = textOption(call, name);
    if (!text) throw usageError(`policy explain needs --${name} with NAMESPACE/POD or an address`);
    return sideOf(text);
  });
  const port = textOption(call, "port");
  if (port === undefined) {
    throw usageError("policy explain needs --port, such as 80/tcp, dns/udp or icmp");
  }
  const sourcePort = textOption(call, "sourcePort");
  return {
    from,
    to,
    ...portOf(port),
    ...(sourcePort !== undefined && { sourcePort: sourcePortOf(sourcePort) }),
    ...(textOption(call, "family") !== undefined &&
      { family: familyOf(textOption(call, "family")!) }),
  };
}

function sideOf(text: string): Connection["from"] {
  if (parseIp(text)) return { ip: text };
  return { endpoint: text.includes("/") ? text : `default/${text}` };
}

function portOf(text: string): Pick<Connection, "protocol" | "port"> {
  if (/^(icmp|icmpv6|[0-9]+\/ip)$/i.test(text)) {
    return { protocol: /^[0-9]/.test(text) ? Number(text.split("/")[0]) : text };
  }
  const port = parseMatrixPort(text);
  if (port) return { protocol: port.protocol, port: port.port };
  throw usageError(`--port ${text} is not understood; want PORT/PROTOCOL such as 80/tcp, or icmp`);
}

function sourcePortOf(text: string): number {
  const port = Number(text);
  if (Number.isInteger(port) && port >= 1 && port <= 65535) return port;
  throw usageError(`--source-port ${text} is not a port; want 1 to 65535`);
}

function familyOf(text: string): 4 | 6 {
  if (text === "4") return 4;
  if (text === "6") return 6;
  throw usageError(`--family ${text}: want 4 or 6`);
}
