/**
 * A client from a kubeconfig file, for runs against a real API: its current context, with a token or a
 * client certificate (in the file or beside it). Credential plugins are not run.
 */
import { parse } from "yaml";
import { Client } from "./client.ts";

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
