/**
 * `policy explain`: would this connection be allowed, and why, rule by rule, from the very rules that
 * are rendered for the kernel. Of the cluster, or of files without a cluster.
 */
import { type Connection, ExplainError, formatExplanation } from "../../policy/explain.ts";
import { parseMatrixPort } from "../../policy/matrix.ts";
import { parseIp } from "../net/mod.ts";
import { type Call, textOption } from "./command.ts";
import { EXIT, failure, usageError } from "./io.ts";
import { inputNotes, judged, policyObjects } from "./policy_objects.ts";
import { visible } from "./visible.ts";

export async function run(call: Call): Promise<number> {
  const format = textOption(call, "output") ?? "text";
  if (!["text", "json"].includes(format)) throw usageError(`-o ${format}: want text or json`);
  const connection = connectionOf(call);
  const input = await policyObjects(call);
  const { view } = judged(call, input);
  let explanation;
  try {
    const found = view.explain(connection);
    const nodes = [connection.from, connection.to]
      .map((side) => view.find("ip" in side ? side.ip : side.endpoint)?.node)
      .filter((node) => node !== undefined);
    explanation = { ...found, notes: [...found.notes, ...inputNotes(input, new Set(nodes))] };
  } catch (error) {
    if (error instanceof ExplainError) throw failure(error.message);
    throw error;
  }
  call.io.stdout(
    format === "json"
      ? `${JSON.stringify(explanation, null, 2)}\n`
      : `${formatExplanation(explanation).map(visible).join("\n")}\n`,
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
    family: familyOf(call),
  };
}

function sideOf(text: string): Connection["from"] {
  if (parseIp(text)) return { ip: text };
  return { endpoint: text.includes("/") ? text : `default/${text}` };
}

function portOf(text: string): Pick<Connection, "protocol" | "port"> {
  if (/^(icmp|icmpv6)$/i.test(text)) return { protocol: text };
  const number = /^([0-9]+)\/ip$/i.exec(text)?.[1];
  if (number !== undefined && Number(number) <= 255) return { protocol: Number(number) };
  const port = parseMatrixPort(text);
  if (port) return { protocol: port.protocol, port: port.port };
  throw usageError(
    `--port ${text} is not understood; want PORT/PROTOCOL such as 80/tcp (a number from 1 to 65535 ` +
      "or a container port's name, and tcp, udp or sctp), icmp, icmpv6, or NUMBER/ip for a protocol",
  );
}

function sourcePortOf(text: string): number {
  const port = Number(text);
  if (Number.isInteger(port) && port >= 1 && port <= 65535) return port;
  throw usageError(`--source-port ${text} is not a port; want 1 to 65535`);
}

/** The family that `--family` asks for. */
export function familyOf(call: Call): 4 | 6 | undefined {
  const text = textOption(call, "family");
  if (text === undefined) return undefined;
  if (text === "4") return 4;
  if (text === "6") return 6;
  throw usageError(`--family ${text}: want 4 or 6`);
}
