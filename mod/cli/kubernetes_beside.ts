/**
 * The Kubernetes API beside a datastore that is not Kubernetes: where Pods, Nodes, Namespaces and
 * policies are, of which an etcd knows nothing. In this order:
 *
 *   --kubeconfig FILE           beside any datastore
 *   KUBECONFIG, else the pod's service account      beside an etcd, as Calico's kube-controllers do
 */
import { nodesOf } from "../ipam/ask_nodes.ts";
import type { CheckOptions } from "../ipam/check/check.ts";
import {
  type DatastoreLocation,
  describeLocation,
  locationBeside,
  parseStoreName,
} from "../store/location.ts";
import { openDatastore } from "../store/open.ts";
import { type Store, StoreError } from "../store/store.ts";
import { type Call, textOption } from "./command.ts";
import { CliError, EXIT, usageError } from "./io.ts";

/** undefined where none is named; CliError "unreachable" where the named one cannot be used. */
export async function openApiBeside(
  call: Call,
  datastore: DatastoreLocation,
  options: {
    readonly lazily?: boolean;
    readonly named?: boolean;
    readonly onTrouble?: (message: string) => void;
  } = {},
): Promise<Store | undefined> {
  const location = besideOf(call, datastore, options.named);
  if (!location) return undefined;
  try {
    const { lazily, onTrouble } = options;
    return await openDatastore(location, { lazily, beside: true, onTrouble });
  } catch (error) {
    if (!(error instanceof StoreError)) throw error;
    const what = `the Kubernetes API beside the datastore (${describeLocation(location)})`;
    throw new CliError(EXIT.unreachable, `${what} cannot be used: ${error.message}`);
  }
}

/** How IPAM's records are checked: with all pods that are known, and by asking the nodes. */
export function checkOptions(
  store: Store,
  datastore: DatastoreLocation,
  api: Store | undefined,
): CheckOptions {
  return {
    now: () => Date.now(),
    ...(api && { kubernetes: api }),
    podsKnown: api !== undefined || datastore.kind === "kubernetes",
    ask: nodesOf(store),
  };
}

/** `named`: only by the option, and never by what the environment happens to hold. */
function besideOf(
  call: Call,
  datastore: DatastoreLocation,
  named = false,
): DatastoreLocation | undefined {
  const env = (name: string) => call.io.env(name);
  const file = textOption(call, "kubeconfig");
  if (datastore.kind === "kubernetes") {
    if (!file) return undefined;
    throw usageError(
      "--kubeconfig names a Kubernetes API beside the datastore, and the datastore is one itself; " +
        `name that with --store kubernetes:${file}`,
    );
  }
  if (file) return parseStoreName(`kubernetes:${file}`, "--kubeconfig", env);
  return named ? undefined : locationBeside(datastore, env);
}
