/** `ipam configure`: IPAM's settings of the cluster, in calicoctl's words. */
import { Ipam } from "../ipam/ipam.ts";
import type { IpamConfig } from "../model/ipam_config.ts";
import { type Call, textOption } from "./command.ts";
import { withStore } from "./context.ts";
import { EXIT, usageError } from "./io.ts";

/** An option, the setting that it changes, and how it is read. */
interface Setting {
  readonly option: string;
  readonly name: string;
  read(text: string): Partial<IpamConfig>;
}

const SETTINGS: readonly Setting[] = [
  {
    option: "strictaffinity",
    name: "StrictAffinity",
    read: (text) => ({ strictAffinity: readBoolean(text) }),
  },
  {
    option: "maxBlocksPerHost",
    name: "MaxBlocksPerHost",
    read: (text) => ({
      // Below 0 there is no limit at all.
      maxBlocksPerHost: (text.startsWith("-") ? -1 : 1) *
        readNumber(text.replace(/^-/, ""), "invalid value for maxblockhost. Use a valid number"),
    }),
  },
  {
    option: "kubevirtIpPersistence",
    name: "KubeVirtVMAddressPersistence",
    read(text) {
      if (text === "Enabled" || text === "Disabled") return { kubeVirtVMAddressPersistence: text };
      throw usageError("invalid value for --kubevirt-ip-persistence. Use Enabled or Disabled");
    },
  },
  {
    option: "ipCooldownSeconds",
    name: "IPCooldownSeconds",
    read: (text) => ({
      ipCooldownSeconds: readNumber(
        text,
        "invalid value for --ip-cooldown-seconds. Use a number from 0 to 1200",
      ),
    }),
  },
];

export async function run(call: Call): Promise<number> {
  const changes: [string, Partial<IpamConfig>][] = [];
  for (const { option, name, read } of SETTINGS) {
    const text = textOption(call, option);
    if (text === undefined || isNone(call, option, text)) continue;
    changes.push([name, read(text)]);
  }
  if (changes.length === 0) {
    throw usageError(
      "at least one configuration option must be specified: --strictaffinity, " +
        "--max-blocks-per-host, --kubevirt-ip-persistence or --ip-cooldown-seconds",
    );
  }
  return await withStore(call, async (store) => {
    await new Ipam(store).changeIpamConfig((config) =>
      Object.assign({ ...config }, ...changes.map(([, change]) => change))
    );
    for (const [name, change] of changes) {
      call.io.stdout(`Successfully set ${name} to: ${Object.values(change)[0]}\n`);
    }
    return EXIT.ok;
  });
}

/** calicoctl takes an empty value for none, and -1 seconds. */
function isNone({ program }: Call, option: string, text: string): boolean {
  return text === "" ||
    (program === "calicoctl" && option === "ipCooldownSeconds" && text === "-1");
}

/** As Go's ParseBool. */
function readBoolean(text: string): boolean {
  if (/^(1|t|T|TRUE|true|True)$/.test(text)) return true;
  if (/^(0|f|F|FALSE|false|False)$/.test(text)) return false;
  throw usageError("invalid value. Use true or false to set strictaffinity");
}

function readNumber(text: string, wrong: string): number {
  if (!/^\d{1,9}$/.test(text)) throw usageError(wrong);
  return Number(text);
}
