/**
 * `deno task setup`: installs what building, the demo and the tests need and this machine lacks, with
 * apt-get. It is called by the demo and the tests, so that each is one command on a fresh machine;
 * where nothing is missing it changes nothing and takes no time.
 */

export interface Need {
  /** Debian package. */
  package: string;
  /** Any of these files shows that it is there. */
  files: string[];
  /** What it is for. */
  purpose: "build" | "front" | "demo" | "test" | "bench";
}

const ARCH = `${Deno.build.arch}-linux-gnu`;

/** For the native front door of another architecture than this machine's, which needs none of its own. */
export function crossNeeds(arch: string): Need[] {
  if (arch === Deno.build.arch) return [];
  const triplet = `${arch}-linux-gnu`;
  const name = triplet.replace("_", "-"); // Debian's packages have no underscore: gcc-x86-64-linux-gnu
  return [
    { package: `gcc-${name}`, files: [`/usr/bin/${triplet}-gcc`], purpose: "build" },
    { package: `binutils-${name}`, files: [`/usr/bin/${triplet}-objcopy`], purpose: "build" },
  ];
}

/** Everything outside npm that this project uses on a development machine. */
export const NEEDS: Need[] = [
  { package: "ca-certificates", files: ["/etc/ssl/certs/ca-certificates.crt"], purpose: "build" },
  {
    package: "libnl-3-200",
    files: [`/lib/${ARCH}/libnl-3.so.200`, `/usr/lib/${ARCH}/libnl-3.so.200`],
    purpose: "build",
  },
  { package: "gcc", files: [`/usr/bin/${ARCH}-gcc`], purpose: "front" },
  { package: "binutils", files: [`/usr/bin/${ARCH}-objcopy`], purpose: "front" },
  { package: "iproute2", files: ["/sbin/ip", "/usr/sbin/ip", "/bin/ip"], purpose: "demo" },
  { package: "iputils-ping", files: ["/bin/ping", "/usr/bin/ping"], purpose: "demo" },
  { package: "nftables", files: ["/usr/sbin/nft", "/sbin/nft"], purpose: "demo" },
  { package: "conntrack", files: ["/usr/sbin/conntrack"], purpose: "test" },
  { package: "iptables", files: ["/usr/sbin/iptables-nft-save"], purpose: "test" },
  { package: "ipset", files: ["/usr/sbin/ipset", "/sbin/ipset"], purpose: "test" },
  { package: "containernetworking-plugins", files: ["/usr/lib/cni/bridge"], purpose: "test" },
  { package: "bird2", files: ["/usr/sbin/bird"], purpose: "demo" },
  { package: "zsh", files: ["/usr/bin/zsh", "/bin/zsh"], purpose: "test" },
  { package: "fish", files: ["/usr/bin/fish"], purpose: "test" },
  { package: "etcd-server", files: ["/usr/bin/etcd"], purpose: "test" },
  { package: "openssl", files: ["/usr/bin/openssl"], purpose: "test" },
  { package: "etcd-client", files: ["/usr/bin/etcdctl"], purpose: "test" },
  { package: "python3-minimal", files: ["/usr/bin/python3"], purpose: "test" },
  { package: "strace", files: ["/usr/bin/strace"], purpose: "test" },
  { package: "frr", files: ["/usr/lib/frr/bgpd"], purpose: "bench" },
  { package: "gobgpd", files: ["/usr/bin/gobgpd"], purpose: "bench" },
];

async function exists(path: string): Promise<boolean> {
  try {
    await Deno.stat(path);
    return true;
  } catch {
    return false;
  }
}

/** The needs that this machine does not meet. */
export async function missing(
  purposes: Need["purpose"][],
  more: readonly Need[] = [],
): Promise<Need[]> {
  const lacking: Need[] = [];
  for (const need of [...NEEDS, ...more].filter((n) => purposes.includes(n.purpose))) {
    const found = await Promise.all(need.files.map(exists));
    if (!found.includes(true)) lacking.push(need);
  }
  return lacking;
}

/** Installs what is missing; throws with the reason where it cannot. */
export async function setup(
  purposes: Need["purpose"][],
  more: readonly Need[] = [],
): Promise<void> {
  const lacking = await missing(purposes, more);
  const packages = lacking.map((need) => need.package);
  if (packages.length === 0) return;
  const byHand = `install them by hand` +
    (lacking.every((need) => need.purpose === "front") ? ", or build with --no-front" : "");
  if (Deno.uid() !== 0) {
    throw new Error(`missing: ${packages.join(", ")}; run as root, or ${byHand}`);
  }
  if (!await exists("/usr/bin/apt-get")) {
    throw new Error(`missing: ${packages.join(", ")}, and there is no apt-get here: ${byHand}`);
  }
  console.log(`installing ${packages.join(", ")}`);
  const apt = async (args: string[]) => {
    const { success, stderr } = await new Deno.Command("apt-get", {
      args,
      env: { DEBIAN_FRONTEND: "noninteractive" },
      stdout: "null",
      stderr: "piped",
    }).output();
    if (!success) throw new Error(`apt-get ${args[0]}: ${new TextDecoder().decode(stderr).trim()}`);
  };
  await apt(["update", "-qq"]);
  // A daemon that comes with a package (bird2) must not start on this machine.
  const policy = "/usr/sbin/policy-rc.d";
  const ours = !await exists(policy);
  if (ours) await Deno.writeTextFile(policy, "#!/bin/sh\nexit 101\n", { mode: 0o755 });
  try {
    await apt(["install", "-y", "-qq", "--no-install-recommends", ...packages]);
  } finally {
    if (ours) await Deno.remove(policy);
  }
  const still = await missing(purposes, more);
  if (still.length > 0) {
    throw new Error(`still missing after apt-get: ${still.map((n) => n.package).join(", ")}`);
  }
}

if (import.meta.main) await setup(["build", "front", "demo", "test"]);
