/**
 * `cluster diags`: one archive of what the datastore holds of the cluster, for somebody who looks for a
 * fault: all resources, IPAM's state and check, and for each node what concerns it. Logs are on the nodes,
 * and nothing here goes there: the flags of calicoctl that choose among logs are refused, not passed over.
 */
import {
  affinityPrefix,
  felixLastStatusKey,
  felixStatusKey,
  parseAffinityKey,
} from "../model/keys.ts";
import { type AnyKind, KINDS } from "../model/kinds.ts";
import type { Resource } from "../model/resource.ts";
import { formatPrefix } from "../net/mod.ts";
import { formatJson, printJson } from "../store/json.ts";
import type { Store } from "../store/store.ts";
import type { Resources } from "../store/resources.ts";
import { buildInfo } from "./build_info.ts";
import { type Action, type Call, textOption } from "./command.ts";
import { resourcesOf, withStore } from "./context.ts";
import { Collection, outputFolder, stampOf } from "./diags/archive.ts";
import { EXIT, type Io, usageError } from "./io.ts";
import { print } from "./output.ts";

/** Flags of calicoctl about logs, with what to do instead. */
const OF_LOGS = ["since", "maxLogs"];

export async function run(call: Call): Promise<number> {
  for (const name of OF_LOGS) {
    if (call.options[name] === undefined) continue;
    const flag = name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);
    throw usageError(
      `--${flag} chooses among logs, and no logs are fetched from other machines; leave it away, and ` +
        `run \`${call.program} node diags --log-dir …\` on the nodes in question`,
    );
  }
  const { io } = call;
  const now = Date.now();
  io.stdout("==== Begin collecting diagnostics. ====\n");
  const root = `calico-diagnostics-${stampOf(now)}`;
  const parts = new Collection(root, io, now);
  parts.put("version.json", `${JSON.stringify(buildInfo(), null, 2)}\n`);
  await withStore(call, async (store) => {
    const resources = await resourcesOf(store);
    const nodes = await nodeNames(call, parts, resources);
    io.stdout("Collecting what is known of each node...\n");
    await addNodes(parts, store, resources, nodes);
    io.stdout("Collecting resources...\n");
    for (const kind of KINDS) await addKind(parts, resources, kind);
  });
  // These open the datastore themselves, and a file can be opened by one at a time.
  io.stdout("Collecting IPAM...\n");
  await addOutput(call, parts, "ipam/show.txt", import("./ipam_show.ts"), { showBlocks: true });
  await addOutput(call, parts, "ipam/configuration.txt", import("./ipam_show.ts"), {
    showConfiguration: true,
  });
  await addOutput(call, parts, "ipam/check.txt", import("./ipam_check.ts"), {
    showProblemIps: true,
  });
  const path = await parts.write(
    outputFolder(io, textOption(call, "outputDir")),
    `${root}.tar.gz`,
  );
  io.stdout(`==== Diagnostics saved to ${path} ====\n`);
  return EXIT.ok;
}

/** Those of --focus-nodes first. */
async function nodeNames(
  call: Call,
  parts: Collection,
  resources: Resources,
): Promise<string[]> {
  const kind = KINDS.find(({ kind, home }) => kind === "Node" && home === "calico")!;
  const names: string[] = (await resources.list(kind)).items.map(({ metadata }) => metadata.name);
  const focus = (textOption(call, "focusNodes") ?? "").split(",").map((name) => name.trim())
    .filter((name) => name !== "");
  for (const name of focus) {
    if (!names.includes(name)) parts.missing(`node ${name}`, "there is no Node of that name");
  }
  return [...new Set([...focus.filter((name) => names.includes(name)), ...names])];
}

async function addKind(parts: Collection, resources: Resources, kind: AnyKind): Promise<void> {
  const name = kind.home === "calico" ? kind.plural : `kubernetes-${kind.plural}`;
  try {
    const { items, revision, broken } = await resources.list(kind);
    for (const { key, error } of broken) parts.missing(key, error.message);
    const objects: Resource[] = kind.listed?.(items) ?? items;
    const groups = [{ kind, objects, whole: true, revision }];
    const options = { namespaces: true };
    parts.put(`resources/${name}.yaml`, await print({ format: "yaml" }, groups, options));
    parts.put(`resources/${name}.txt`, await print({ format: "wide" }, groups, options));
  } catch (error) {
    parts.missing(`resources/${name}`, (error as Error).message);
  }
}

async function addNodes(
  parts: Collection,
  store: Store,
  resources: Resources,
  nodes: readonly string[],
): Promise<void> {
  const kindOf = (name: string) => KINDS.find(({ kind }) => kind === name)!;
  const list = async (name: string) => (await resources.list(kindOf(name))).items as Resource[];
  const of = (object: Resource, node: string) =>
    (object as { spec?: { node?: string } }).spec?.node === node;
  let endpoints: Resource[] = [], statuses: Resource[] = [];
  try {
    [endpoints, statuses] = [await list("WorkloadEndpoint"), await list("CalicoNodeStatus")];
  } catch (error) {
    parts.missing("nodes", (error as Error).message);
  }
  for (const node of nodes) {
    const folder = `nodes/${node}`;
    const own = endpoints.filter((endpoint) => of(endpoint, node));
    await parts.add(`${folder}/endpoints.txt`, () => {
      const kind = kindOf("WorkloadEndpoint");
      return print({ format: "wide" }, [{ kind, objects: own, whole: true }], { namespaces: true });
    });
    await parts.add(`${folder}/blocks.txt`, async () => {
      const { entries, broken = [] } = await store.list(
        affinityPrefix({ type: "host", name: node }),
      );
      for (const { key, reason } of broken) parts.missing(key, reason);
      return entries.map(({ key, value }) => {
        const block = parseAffinityKey(key)?.block;
        return `${block ? formatPrefix(block) : key} ${printJson(value)}\n`;
      }).join("");
    });
    await parts.add(`${folder}/status.json`, async () => {
      const status = {
        felix: (await store.get(felixStatusKey(node)))?.value ?? null,
        lastReported: (await store.get(felixLastStatusKey(node)))?.value ?? null,
        nodeStatuses: statuses.filter((object) => of(object, node)),
      };
      return `${formatJson(status)}\n`;
    });
  }
}

/** What another command says. */
async function addOutput(
  call: Call,
  parts: Collection,
  name: string,
  action: Promise<{ run: Action }>,
  options: Record<string, unknown>,
): Promise<void> {
  let text = "";
  const say = (more: string) => void (text += more);
  const io: Io = {
    stdout: say,
    stderr: say,
    stdin: () => Promise.resolve(""),
    env: (name) => call.io.env(name),
    // Asked for only by what serves: a process whose signals are heard does not end by them.
    get signal() {
      return call.io.signal;
    },
  };
  await parts.add(name, async () => {
    await (await action).run({ ...call, io, args: [], options: { ...call.options, ...options } });
    return text;
  });
}
