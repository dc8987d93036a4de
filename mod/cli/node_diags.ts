/**
 * `node diags`: one archive of what somebody needs who looks for a fault of this node: what the node service
 * says of itself, what the kernel holds, settings, logs. calicoctl's names of the parts are kept where there
 * are such. Secrets are taken out (`diags/redact.ts`); the archive is this user's alone.
 */
import { isKernelError } from "../../ffi/errors.ts";
import { readText } from "../../ffi/file.ts";
import { openNftClient } from "../../ffi/nft/socket.ts";
import { RouteSocket } from "../../ffi/route/mod.ts";
import { buildInfo } from "./build_info.ts";
import { type Call, textOption } from "./command.ts";
import { CALICOCTL_CONFIG, DEFAULT_CONFIG } from "./context.ts";
import { Collection, outputFolder, stampOf } from "./diags/archive.ts";
import {
  addressesText,
  linksText,
  neighboursText,
  routesText,
  rulesText,
  sysctlsText,
} from "./diags/kernel_text.ts";
import { rulesetText } from "./diags/nft_text.ts";
import { CliError, EXIT, failure, type Io } from "./io.ts";
import { askNode } from "./node_api.ts";

const DEFAULT_LOG_DIR = "/var/log/calico";
/** Of each log the end, and of all of them. */
const MOST_OF_A_LOG = 10 * 1024 * 1024, MOST_OF_LOGS = 100 * 1024 * 1024;
const PROC = [
  "net/dev",
  "net/snmp",
  "net/netstat",
  "net/tcp",
  "net/tcp6",
  "net/udp",
  "net/udp6",
  "modules",
  "meminfo",
  "loadavg",
  "version",
];
const ENVIRONMENT =
  /^(TORTIE|CALICO|FELIX|ETCD|DATASTORE|NODENAME|IP|IP6|AS|KUBE|KUBERNETES|NO_PROXY)(_|$)/;

export async function run(call: Call): Promise<number> {
  const { io, program } = call;
  if (Deno.uid() !== 0) {
    throw failure(`${program} node diags must be run as root: it reads what the kernel holds`);
  }
  const now = Date.now();
  io.stdout("Collecting diagnostics\n");
  const parts = new Collection("diagnostics", io, now);
  parts.put("date", `${new Date(now).toISOString()}\n`);
  await parts.add("hostname", () => `${Deno.hostname()}\n`);
  parts.put("version.json", `${JSON.stringify(buildInfo(), null, 2)}\n`);
  await addService(call, parts);
  await addKernel(parts);
  await addFiles(io, parts);
  await addLogs(io, parts, textOption(call, "logDir"));
  const folder = outputFolder(io, textOption(call, "outputDir"));
  const path = await parts.write(folder, `diags-${stampOf(now)}.tar.gz`);
  io.stdout(
    `\nDiags saved to ${path}\nWhat is called or looks like a password, token or key is left out; ` +
      "names and addresses of this node and its pods are in it.\n",
  );
  return EXIT.ok;
}

async function addService(call: Call, parts: Collection): Promise<void> {
  call.io.stdout("Asking the node service\n");
  for (const method of ["node.status", "bgp.peers", "bgp.routes"]) {
    const name = `service/${method.replace(".", "_")}.json`;
    try {
      parts.put(name, `${JSON.stringify(await askNode(call, method), null, 2)}\n`);
    } catch (error) {
      parts.missing(name, (error as Error).message);
      if (error instanceof CliError && error.exit === EXIT.unreachable) return;
    }
  }
}

async function addKernel(parts: Collection): Promise<void> {
  using socket = RouteSocket.open();
  const links = socket.links();
  await parts.add("links", () => linksText(links), "Dumping interfaces");
  for (const family of [4, 6] as const) {
    const name = `IPv${family}`;
    await parts.add(
      `ipv${family}_route`,
      () => routesText(socket, family),
      `Dumping routes (${name})`,
    );
    await parts.add(`ipv${family}_rule`, () => rulesText(socket, family));
    await parts.add(
      `ipv${family}_addr`,
      () => addressesText(socket, family),
      `Dumping interface info (${name})`,
    );
  }
  await parts.add("neighbours", () => neighboursText(socket));
  await parts.add("nft_ruleset", () => {
    const client = openNftClient();
    try {
      return rulesetText(client);
    } finally {
      client.close();
    }
  }, "Dumping nf_tables");
  await parts.add("sysctls", () => sysctlsText(links.map(({ name }) => name)), "Dumping settings");
  for (const name of PROC) {
    try {
      // By libc: Deno keeps /proc from programs that have not all permissions.
      parts.put(`proc/${name.replace("/", "_")}`, readText(`/proc/${name}`));
    } catch (error) {
      // Not every kernel has each of them.
      if (!isKernelError(error, "ENOENT")) parts.missing(`/proc/${name}`, (error as Error).message);
    }
  }
}

/** Configuration, and what a node keeps on disk. */
async function addFiles(io: Io, parts: Collection): Promise<void> {
  const run = io.env("TORTIE_RUN_DIR") || "/run/tortie";
  const state = io.env("TORTIE_STATE_DIR") || "/var/lib/tortie";
  const calico = io.env("TORTIE_CALICO_DIR") || "/var/lib/calico";
  const files = [
    DEFAULT_CONFIG,
    CALICOCTL_CONFIG,
    `${run}/node.pid`,
    `${calico}/nodename`,
    `${calico}/mtu`,
    ...(await filesIn("/etc/cni/net.d")).filter((path) => /\.(conf|conflist|json)$/.test(path)),
  ];
  for (const path of files) {
    const text = await Deno.readTextFile(path).catch((error) => {
      if (!(error instanceof Deno.errors.NotFound)) parts.missing(path, error.message);
      return undefined;
    });
    if (text !== undefined) parts.put(`files${path}`, text);
  }
  const listings: string[] = [];
  for (const folder of [run, state, calico]) {
    for (const path of await filesIn(folder)) {
      const { size, mtime } = await Deno.lstat(path).catch(() => ({ size: 0, mtime: null }));
      listings.push(`${path} ${size} ${mtime?.toISOString() ?? ""}\n`);
    }
  }
  parts.put("files/list", listings.join(""));
  const environment = Object.entries(Deno.env.toObject()).filter(([name]) =>
    ENVIRONMENT.test(name)
  );
  parts.put("environment", environment.map(([name, value]) => `${name}=${value}\n`).join(""));
}

async function filesIn(folder: string): Promise<string[]> {
  const names: string[] = [];
  try {
    for await (const entry of Deno.readDir(folder)) names.push(`${folder}/${entry.name}`);
  } catch {
    return []; // it is not there
  }
  return names.sort();
}

async function addLogs(io: Io, parts: Collection, given: string | undefined): Promise<void> {
  const folder = given || DEFAULT_LOG_DIR;
  try {
    const { isDirectory } = await Deno.stat(folder);
    if (!isDirectory) throw new Error("it is no folder");
  } catch (error) {
    // The usual folder need not be there: a service's log is in the journal.
    if (given) parts.missing(`logs of ${folder}`, (error as Error).message);
    else io.stdout(`No logs in ${folder}; skipping log copying\n`);
    parts.put(
      "logs/README",
      "The log of a node service that systemd runs is in its journal:\n" +
        "journalctl -u tortie --no-pager > tortie.log\n",
    );
    return;
  }
  io.stdout("Copying logs\n");
  let left = MOST_OF_LOGS;
  for (const path of await logsBelow(folder)) {
    if (left <= 0) {
      parts.missing(path, `the logs before it have ${MOST_OF_LOGS / 1048576} MiB already`);
      continue;
    }
    await parts.add(`logs${path.slice(folder.length)}`, async () => {
      const text = await endOfFile(path, Math.min(left, MOST_OF_A_LOG));
      left -= text.length;
      return text;
    });
  }
}

async function logsBelow(folder: string): Promise<string[]> {
  const found: string[] = [];
  for (const path of await filesIn(folder)) {
    const info = await Deno.lstat(path).catch(() => undefined);
    if (info?.isDirectory) found.push(...await logsBelow(path));
    else if (info?.isFile && !path.endsWith(".gz")) found.push(path);
  }
  return found;
}

/** The last `most` bytes, from the beginning of a line. */
async function endOfFile(path: string, most: number): Promise<string> {
  using file = await Deno.open(path);
  const { size } = await file.stat();
  const from = Math.max(0, size - most);
  await file.seek(from, Deno.SeekMode.Start);
  const bytes = new Uint8Array(Math.min(size, most));
  let at = 0;
  while (at < bytes.length) {
    const n = await file.read(bytes.subarray(at));
    if (n === null) break;
    at += n;
  }
  const text = new TextDecoder().decode(bytes.subarray(0, at));
  return from === 0 ? text : text.slice(text.indexOf("\n") + 1);
}
