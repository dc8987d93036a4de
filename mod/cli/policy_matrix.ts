/** `policy matrix`: who reaches whom on which port, of the cluster or of files without a cluster. */
import { type Matrix, matrixOf, type MatrixPort, parseMatrixPort } from "../../policy/matrix.ts";
import { type Call, listOption, textOption } from "./command.ts";
import { EXIT, failure, usageError } from "./io.ts";
import { familyOf } from "./policy_explain.ts";
import { inputNotes, judged, policyObjects } from "./policy_objects.ts";
import { visible } from "./visible.ts";

export async function run(call: Call): Promise<number> {
  const format = textOption(call, "output") ?? "table";
  if (!["table", "json"].includes(format)) throw usageError(`-o ${format}: want table or json`);
  const ports = portsOf(listOption(call, "port"));
  const family = familyOf(call);
  const input = await policyObjects(call);
  const { engine, view, pods } = judged(call, input);
  for (const { object, message } of engine.problems()) {
    call.io.stderr(`warning: ${object}: ${message}\n`);
  }
  if (pods.length === 0) {
    throw failure(
      "there is no Pod that runs among the objects; a matrix needs some: add their file",
    );
  }
  const matrix = matrixOf(view, pods, ports, { family });
  const nodes = new Set(pods.map((name) => view.find(name)?.node ?? "").filter((n) => n !== ""));
  for (const note of inputNotes(input, nodes)) call.io.stderr(`note: ${note}\n`);
  call.io.stdout(
    format === "json" ? `${JSON.stringify(matrix, null, 2)}\n` : matrixText(matrix),
  );
  return EXIT.ok;
}

function portsOf(texts: readonly string[]): MatrixPort[] {
  if (texts.length === 0) {
    throw usageError("policy matrix needs --port, such as 80/tcp; it may be repeated");
  }
  return texts.map((text) => {
    const port = parseMatrixPort(text);
    if (port) return port;
    throw usageError(
      `--port ${text} is not understood; want PORT/PROTOCOL such as 80/tcp: a number from 1 to ` +
        "65535 or a container port's name, and tcp, udp or sctp",
    );
  });
}

/** A table a port: a row a client, a column a server, numbered as the rows. */
export function matrixText({ endpoints: names, ports }: Matrix): string {
  const endpoints = names.map(visible);
  const digits = String(endpoints.length).length;
  const width = Math.max(0, ...endpoints.map((name) => name.length));
  const columns = endpoints.map((_, i) => String(i + 1).padStart(digits + 1)).join("");
  const tables = Object.entries(ports).map(([label, { combined }]) =>
    [
      `${label}: rows are clients, columns are servers; . allowed, X denied`,
      `${" ".repeat(digits + 2 + width)}${columns}`,
      ...combined.map((row, i) =>
        `${String(i + 1).padStart(digits)}  ${endpoints[i].padEnd(width)}${
          [...row].map((cell) => cell.padStart(digits + 1)).join("")
        }`
      ),
    ].join("\n")
  );
  return `${tables.join("\n\n")}\n`;
}
