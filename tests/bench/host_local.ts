/**
 * host-local, the stock IPAM plugin, beside ours: assignments and releases a second, one after the
 * other, as a runtime asks for them: a process for each, its state in files of one directory.
 */
const PLUGIN = "/usr/lib/cni/host-local";

export interface HostLocalFigures {
  readonly assignsPerSecond: number;
  readonly releasesPerSecond: number;
}

/** undefined: it is not installed. */
export async function measureHostLocal(rounds = 200): Promise<HostLocalFigures | undefined> {
  try {
    await Deno.stat(PLUGIN);
  } catch {
    return undefined;
  }
  const dataDir = await Deno.makeTempDir({ prefix: "tortie-host-local-" });
  const configuration = JSON.stringify({
    cniVersion: "1.0.0",
    name: "bench",
    type: "bench",
    ipam: { type: "host-local", dataDir, ranges: [[{ subnet: "10.0.0.0/16" }]] },
  });
  const call = async (command: "ADD" | "DEL", container: string) => {
    const child = new Deno.Command(PLUGIN, {
      env: {
        CNI_COMMAND: command,
        CNI_CONTAINERID: container,
        CNI_NETNS: "/proc/self/ns/net",
        CNI_IFNAME: "eth0",
        CNI_PATH: "/usr/lib/cni",
      },
      stdin: "piped",
      stdout: "piped",
      stderr: "piped",
    }).spawn();
    const writer = child.stdin.getWriter();
    await writer.write(new TextEncoder().encode(configuration));
    await writer.close();
    const { success, stdout } = await child.output();
    if (!success) throw new Error(`host-local ${command}: ${new TextDecoder().decode(stdout)}`);
  };
  try {
    let assigning = 0, releasing = 0;
    for (let i = 0; i < rounds; i++) {
      const start = performance.now();
      await call("ADD", `r${i}`);
      const middle = performance.now();
      await call("DEL", `r${i}`);
      assigning += middle - start;
      releasing += performance.now() - middle;
    }
    return {
      assignsPerSecond: Math.round(rounds / assigning * 1000),
      releasesPerSecond: Math.round(rounds / releasing * 1000),
    };
  } finally {
    await Deno.remove(dataDir, { recursive: true });
  }
}
