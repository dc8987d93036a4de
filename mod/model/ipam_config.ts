/**
 * IPAM's settings for the cluster. Stored with zero values left out: in a record that exists, an
 * absent `auto_allocate_blocks` is false; only where the whole record is absent it is true.
 */
import { show } from "./show.ts";

/** Seconds (Calico 3.33). */
export const MOST_COOLDOWN = 1200;

/** As it stands under `ipamConfigKey`. */
export interface StoredIpamConfig {
  strict_affinity?: boolean;
  auto_allocate_blocks?: boolean;
  maxBlocksPerHost?: number;
  kubeVirtVMAddressPersistence?: "Enabled" | "Disabled";
  ipCooldownSeconds?: number;
}

export interface IpamConfig {
  strictAffinity: boolean;
  autoAllocateBlocks: boolean;
  /** 0: Calico's built-in limit of 20; below 0 there is none. */
  maxBlocksPerHost: number;
  kubeVirtVMAddressPersistence: "Enabled" | "Disabled";
  ipCooldownSeconds: number;
}

/** Members that are not known here, as a newer version writes them: whoever rewrites the record keeps them. */
export function strangeSettings(settings: unknown): Record<string, unknown> {
  if (typeof settings !== "object" || settings === null || Array.isArray(settings)) return {};
  const known: Record<string, unknown> = { ...MEMBERS, ...readIpamConfig(undefined) };
  return Object.fromEntries(Object.entries(settings).filter(([key]) => !Object.hasOwn(known, key)));
}

/** Reads the stored record; undefined (no record) gives the defaults. */
export function readIpamConfig(stored: StoredIpamConfig | undefined): IpamConfig {
  return {
    strictAffinity: stored?.strict_affinity ?? false,
    autoAllocateBlocks: stored ? stored.auto_allocate_blocks ?? false : true,
    maxBlocksPerHost: stored?.maxBlocksPerHost ?? 0,
    kubeVirtVMAddressPersistence: stored?.kubeVirtVMAddressPersistence || "Enabled",
    ipCooldownSeconds: stored?.ipCooldownSeconds ?? 0,
  };
}

/** What is to be stored, zero values left out as Calico does. */
export function storedIpamConfig(config: IpamConfig): StoredIpamConfig {
  return {
    ...(config.strictAffinity && { strict_affinity: true }),
    ...(config.autoAllocateBlocks && { auto_allocate_blocks: true }),
    ...(config.maxBlocksPerHost !== 0 && { maxBlocksPerHost: config.maxBlocksPerHost }),
    kubeVirtVMAddressPersistence: config.kubeVirtVMAddressPersistence,
    ...(config.ipCooldownSeconds !== 0 && { ipCooldownSeconds: config.ipCooldownSeconds }),
  };
}

/** Why what stands in the store is no configuration; undefined where it is one. */
export function ipamConfigFault(stored: unknown): string | undefined {
  if (typeof stored !== "object" || stored === null || Array.isArray(stored)) {
    return "it is not an object";
  }
  for (const [member, isSound] of Object.entries(MEMBERS)) {
    const value = (stored as Record<string, unknown>)[member];
    if (value !== undefined && value !== null && !isSound(value)) {
      return `its ${member} is ${show(value)}`;
    }
  }
  return undefined;
}

const isBoolean = (value: unknown) => typeof value === "boolean";
const isCount = (value: unknown) => Number.isInteger(value) && Number(value) >= 0;

const MEMBERS: Record<keyof StoredIpamConfig, (value: unknown) => boolean> = {
  strict_affinity: isBoolean,
  auto_allocate_blocks: isBoolean,
  maxBlocksPerHost: Number.isInteger,
  kubeVirtVMAddressPersistence: (value) =>
    value === "Enabled" || value === "Disabled" || value === "",
  ipCooldownSeconds: isCount,
};
