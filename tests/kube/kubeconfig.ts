/**
 * Kubeconfig files: written for clients of the tests' API, and read for runs against a real one (its
 * current context, with a token or a client certificate, in the file or beside it; credential plugins
 * are not run).
 */
import { parse, stringify } from "yaml";
import type { Identity } from "./certificates.ts";
import { Client } from "./client.ts";

export interface Credentials {
  token?: string;
  certificate?: Identity;
  /** Of the context. */
  namespace?: string;
}

export function kubeconfigText(server: string, ca: string, as: Credentials): string {
  const user = as.certificate
    ? {
      "client-certificate-data": btoa(as.certificate.certificate),
      "client-key-data": btoa(as.certificate.key),
    }
    : { token: as.token };
  const namespace = as.namespace ? { namespace: as.namespace } : {};
  return stringify({
    apiVersion: "v1",
    kind: "Config",
    clusters: [{ name: "test", cluster: { server, "certificate-authority-data": btoa(ca) } }],
    users: [{ name: "test", user }],
    contexts: [{ name: "test", context: { cluster: "test", user: "test", ...namespace } }],
    "current-context": "test",
  });
}

const named = (list: any[] | undefined, name: string, field: string): any =>
  list?.find((entry) => entry.name === name)?.[field] ?? {};

export async function clientFromKubeconfig(path: string): Promise<Client> {
  const config: any = parse(await Deno.readTextFile(path));
  const context = named(config.contexts, config["current-context"], "context");
  const cluster = named(config.clusters, context.cluster, "cluster");
  const user = named(config.users, context.user, "user");
  const folder = path.slice(0, path.lastIndexOf("/") + 1);
  const text = async (of: any, field: string): Promise<string | undefined> => {
    const data = of[`${field}-data`];
    if (data) return atob(data);
    const file = of[field];
    return file ? await Deno.readTextFile(file.startsWith("/") ? file : folder + file) : undefined;
  };
  const ca = await text(cluster, "certificate-authority");
  const certificate = await text(user, "client-certificate");
  const key = await text(user, "client-key");
  const token = user.token ?? (user.tokenFile && (await Deno.readTextFile(user.tokenFile)).trim());
  if (!cluster.server || !ca) {
    throw new Error(`${path}: the current context names no server and CA`);
  }
  if (!token && !(certificate && key)) {
    throw new Error(`${path}: the current context's user has neither token nor client certificate`);
  }
  return new Client(cluster.server.replace(/\/$/, ""), ca, {
    token,
    certificate: certificate && key ? { certificate, key } : undefined,
  });
}
