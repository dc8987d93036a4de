/**
 * IPAM's settings for the cluster. Stored with zero values left out: in a record that exists, an
 * absent `auto_allocate_blocks` is false; only where the whole record is absent it is true.
 */

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
  /** 0: Calico's built-in limit of 20. */
  maxBlocksPerHost: number;
  kubeVirtVMAddressPersistence: "Enabled" | "Disabled";
  ipCooldownSeconds: number;
}

/** Reads the stored record; undefined (no record) gives the defaults. */
export function readIpamConfig(stored: StoredIpamConfig | undefined): IpamConfig {
  return {
    strictAffinity: stored?.strict_affinity ?? false,
    autoAllocateBlocks: stored ? stored.auto_allocate_blocks ?? false : true,
    maxBlocksPerHost: stored?.maxBlocksPerHost ?? 0,
    kubeVirtVMAddressPersistence: stored?.kubeVirtVMAddressPersistence ?? "Enabled",
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
