/**
 * Reads kubeconfig files as kubectl does: several files are one, in which the first that defines a
 * name, or the current context, wins; relative paths count from the folder of the file that says them;
 * inline data wins over a file. What this program will not do is refused by name: run another program
 * for credentials, go through a proxy, follow the removed auth providers.
 */

import { parse } from "yaml";
import { StoreError } from "../store.ts";
import { type Access, checkServer } from "./access.ts";
import type { Pem } from "./config.ts";

interface Named<T> {
  readonly item: T;
  /** Of the file that says it. */
  readonly folder: string;
}

type Fields = Record<string, unknown>;

/** Files as text, with their paths. */
export interface KubeconfigFile {
  readonly path: string;
  readonly text: string;
}

export function readKubeconfig(
  files: readonly KubeconfigFile[],
  wanted: string | undefined,
): Access {
  const clusters = new Map<string, Named<Fields>>();
  const users = new Map<string, Named<Fields>>();
  const contexts = new Map<string, Named<Fields>>();
  let current: string | undefined;
  for (const { path, text } of files) {
    let root: unknown;
    try {
      root = parse(text);
    } catch (error) {
      throw bad(`${path} is not YAML: ${(error as Error).message.split("\n")[0]}`);
    }
    if (root === null || root === undefined) continue;
    if (typeof root !== "object" || Array.isArray(root)) {
      throw bad(`${path} is no kubeconfig: want an object with clusters, users and contexts`);
    }
    const folder = path.includes("/") ? path.slice(0, path.lastIndexOf("/") + 1) : "";
    const config = root as Fields;
    collect(clusters, config.clusters, "cluster", path, folder);
    collect(users, config.users, "user", path, folder);
    collect(contexts, config.contexts, "context", path, folder);
    current ??= textOf(config["current-context"]);
  }
  const where = files.map((file) => file.path).join(":");
  const name = wanted ?? current;
  if (name === undefined) {
    throw bad(`${where} has no current-context: set one, or name one of ${names(contexts)}`);
  }
  const context = contexts.get(name);
  if (!context) {
    throw bad(`${where} has no context "${name}"; there are: ${names(contexts)}`);
  }
  const clusterName = textOf(context.item.cluster) ?? "";
  const cluster = clusters.get(clusterName);
  if (!cluster) {
    throw bad(`${where}: context "${name}" names cluster "${clusterName}", which is not there`);
  }
  const userName = textOf(context.item.user);
  const user = userName === undefined ? undefined : users.get(userName);
  if (userName !== undefined && !user) {
    throw bad(`${where}: context "${name}" names user "${userName}", which is not there`);
  }
  return {
    ...clusterOf(cluster, clusterName, where),
    ...(user && userOf(user, userName!, where)),
    origin: `context "${name}" of ${where}`,
  };
}

function collect(
  into: Map<string, Named<Fields>>,
  list: unknown,
  member: string,
  path: string,
  folder: string,
): void {
  if (list === undefined || list === null) return;
  if (!Array.isArray(list)) throw bad(`${path}: ${member}s is no list`);
  for (const entry of list as Fields[]) {
    const name = textOf(entry?.name);
    const item = entry?.[member];
    if (name === undefined || typeof item !== "object" || item === null) {
      throw bad(`${path}: an entry of ${member}s has no name or no ${member}`);
    }
    if (!into.has(name)) into.set(name, { item: item as Fields, folder });
  }
}

function clusterOf({ item, folder }: Named<Fields>, name: string, where: string) {
  const server = textOf(item.server);
  if (!server) throw bad(`${where}: cluster "${name}" has no server`);
  if (textOf(item["proxy-url"])) {
    throw bad(
      `${where}: cluster "${name}" has a proxy-url, which tortie does not read; set HTTPS_PROXY, ` +
        "or give a server that can be reached without a proxy",
    );
  }
  return {
    server: checkServer(server, `${where}: cluster "${name}"`),
    ca: pemOf(item, "certificate-authority", folder, where),
    insecure: item["insecure-skip-tls-verify"] === true,
    tlsServerName: textOf(item["tls-server-name"]),
  };
}

function userOf({ item, folder }: Named<Fields>, name: string, where: string) {
  if (item.exec) {
    const command = textOf((item.exec as Fields).command) ?? "a program";
    throw bad(
      `${where}: user "${name}" takes its credentials from "${command}" (exec), and tortie ` +
        "starts no other program; give it a service account's token (kubectl create token) or a " +
        "client certificate",
    );
  }
  if (item["auth-provider"]) {
    throw bad(
      `${where}: user "${name}" has an auth-provider, which Kubernetes has removed; give it ` +
        "a token or a client certificate",
    );
  }
  for (const member of ["as", "as-user-extra", "as-groups", "as-uid"]) {
    if (item[member]) {
      throw bad(`${where}: user "${name}" impersonates another (${member}), which tortie does not`);
    }
  }
  const cert = pemOf(item, "client-certificate", folder, where);
  const key = pemOf(item, "client-key", folder, where);
  if (Boolean(cert) !== Boolean(key)) {
    throw bad(
      `${where}: user "${name}" has a client ${cert ? "certificate" : "key"} without its ` +
        `${cert ? "key" : "certificate"}; give both`,
    );
  }
  const token = textOf(item.token), tokenFile = textOf(item.tokenFile);
  const username = textOf(item.username), password = textOf(item.password);
  return {
    cert,
    key,
    // As in client-go: the file wins, because it may be exchanged.
    ...(tokenFile
      ? { token: { file: inFolder(folder, tokenFile) } }
      : token && { token: { text: token } }),
    ...(username && { basic: { username, password: password ?? "" } }),
  };
}

function pemOf(item: Fields, member: string, folder: string, where: string): Pem | undefined {
  const data = textOf(item[`${member}-data`]);
  if (data) {
    try {
      return { pem: atob(data.replace(/\s/g, "")) };
    } catch {
      throw bad(`${where}: ${member}-data is not base64`);
    }
  }
  const file = textOf(item[member]);
  return file ? { file: inFolder(folder, file) } : undefined;
}

function inFolder(folder: string, path: string): string {
  return path.startsWith("/") ? path : folder + path;
}

function names(map: ReadonlyMap<string, unknown>): string {
  return map.size === 0 ? "none" : [...map.keys()].map((name) => `"${name}"`).join(", ");
}

function textOf(value: unknown): string | undefined {
  return typeof value === "string" && value !== "" ? value : undefined;
}

function bad(message: string): StoreError {
  return new StoreError("invalid", `kubeconfig ${message}`);
}
