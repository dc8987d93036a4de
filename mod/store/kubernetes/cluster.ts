/**
 * From the configuration to the access that it means, as client-go and Calico find it: the kubeconfig
 * that is named, or the default one where that is there, or the service account of the pod in which we
 * run; then what is given one by one (endpoint, token, certificates) over it.
 */

import { StoreError } from "../store.ts";
import type { KubernetesConfig } from "./config.ts";
import { type Access, checkServer } from "./access.ts";
import type { KubeconfigFile } from "./kubeconfig.ts";

/** Where Kubernetes puts a pod's service account. */
export const SERVICE_ACCOUNT = "/var/run/secrets/kubernetes.io/serviceaccount";

/** The files and variables that are asked for; tests have their own. */
export interface Surroundings {
  env(name: string): string | undefined;
  /** undefined where there is no such file. */
  readFile(path: string): Promise<string | undefined>;
}

export const machine: Surroundings = {
  env: (name) => Deno.env.get(name),
  async readFile(path) {
    try {
      return await Deno.readTextFile(path);
    } catch (error) {
      if (error instanceof Deno.errors.NotFound) return undefined;
      throw new StoreError("invalid", `${path} cannot be read: ${(error as Error).message}`);
    }
  },
};

/** StoreError "invalid" where the configuration leads nowhere. */
export async function findAccess(
  config: KubernetesConfig,
  around: Surroundings = machine,
): Promise<Access> {
  if (config.apiGroup === "projectcalico.org/v3") {
    throw new StoreError(
      "invalid",
      "CALICO_API_GROUP asks for native projectcalico.org/v3 CRDs, which tortie does not write; " +
        "install Calico's crd.projectcalico.org/v1 CRDs and leave the variable out",
    );
  }
  const base = await baseAccess(config, around);
  const { ca, cert, key } = config.tls ?? {};
  if (Boolean(cert) !== Boolean(key)) {
    throw new StoreError(
      "invalid",
      `the Kubernetes client ${cert ? "certificate" : "key"} is given without its ` +
        `${cert ? "key" : "certificate"}; give both`,
    );
  }
  return {
    ...base,
    ...(config.apiEndpoint && {
      server: checkServer(config.apiEndpoint, "the Kubernetes API endpoint"),
    }),
    ...(ca && { ca }),
    ...(cert && { cert, key }),
    ...(config.token && { token: { text: config.token } }),
    ...(config.insecureSkipTlsVerify && { insecure: true }),
  };
}

async function baseAccess(config: KubernetesConfig, around: Surroundings): Promise<Access> {
  if (config.kubeconfigInline) {
    const file = { path: "the inline kubeconfig", text: config.kubeconfigInline };
    return await readFiles([file], config.context);
  }
  if (config.kubeconfig) {
    const files = await readAll(config.kubeconfig, around);
    if (files.length === 0) {
      throw new StoreError("invalid", `there is no kubeconfig ${config.kubeconfig}`);
    }
    return await readFiles(files, config.context);
  }
  if (config.apiEndpoint) return { server: "", insecure: false, origin: "the given API endpoint" };
  if (config.defaultKubeconfig) {
    const files = await readAll(config.defaultKubeconfig, around);
    if (files.length > 0) return await readFiles(files, config.context);
  }
  return await inCluster(around, config.defaultKubeconfig);
}

/** Not every start needs to read YAML. */
async function readFiles(files: KubeconfigFile[], context: string | undefined): Promise<Access> {
  const { readKubeconfig } = await import("./kubeconfig.ts");
  return readKubeconfig(files, context);
}

/** As kubectl: of several files, those that are not there are passed over. */
async function readAll(paths: string, around: Surroundings): Promise<KubeconfigFile[]> {
  const files: KubeconfigFile[] = [];
  for (const path of paths.split(":").filter((path) => path !== "")) {
    const text = await around.readFile(path);
    if (text !== undefined) files.push({ path, text });
  }
  return files;
}

async function inCluster(around: Surroundings, looked: string | undefined): Promise<Access> {
  const host = around.env("KUBERNETES_SERVICE_HOST"), port = around.env("KUBERNETES_SERVICE_PORT");
  if (!host || !port) {
    throw new StoreError(
      "invalid",
      `there is no Kubernetes API: ${
        looked ? `no file ${looked}, and ` : ""
      }no kubeconfig and no ` +
        "API endpoint is named, and this is no pod (KUBERNETES_SERVICE_HOST is not set); set " +
        "KUBECONFIG or K8S_API_ENDPOINT",
    );
  }
  const file = `${SERVICE_ACCOUNT}/token`;
  if (await around.readFile(file) === undefined) {
    throw new StoreError(
      "invalid",
      `this pod has no service account's token (${file}): its automountServiceAccountToken must ` +
        "not be false",
    );
  }
  const ca = `${SERVICE_ACCOUNT}/ca.crt`;
  return {
    server: `https://${host.includes(":") ? `[${host}]` : host}:${port}`,
    insecure: false,
    ...(await around.readFile(ca) !== undefined && { ca: { file: ca } }),
    token: { file },
    origin: "the pod's service account",
  };
}
