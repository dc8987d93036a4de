/** Where a cluster's API is and as whom we come: what a kubeconfig or a pod's account leads to. */
import { StoreError } from "../store.ts";
import type { Pem } from "./config.ts";

/** A cluster and a user: everything that a connection needs. */
export interface Access {
  /** `https://host:port`, without a `/` at its end. */
  readonly server: string;
  readonly ca?: Pem;
  readonly insecure: boolean;
  /** The name that the server's certificate must be for, where it is not the server's own. */
  readonly tlsServerName?: string;
  readonly cert?: Pem;
  readonly key?: Pem;
  readonly token?: { readonly text: string } | { readonly file: string };
  readonly basic?: { readonly username: string; readonly password: string };
  /** For messages: `context "prod" of /root/.kube/config`. */
  readonly origin: string;
}

/** Without a `/` at the end; StoreError "invalid" for what is no http(s) address. */
export function checkServer(server: string, where: string): string {
  const text = server.includes("://") ? server : `https://${server}`;
  let url: URL;
  try {
    url = new URL(text);
  } catch {
    throw new StoreError(
      "invalid",
      `${where}: the server "${server}" is no URL: want https://host:port`,
    );
  }
  if (url.protocol !== "https:" && url.protocol !== "http:") {
    throw new StoreError(
      "invalid",
      `${where}: the server "${server}" is no URL: want https://host:port`,
    );
  }
  return url.href.replace(/\/+$/, "");
}
