/**
 * The entry of the one executable: reads the environment and the arguments, picks the role, and
 * imports that role alone. The container runtime starts this file for every pod, so nothing is
 * imported here that is not needed to choose.
 */

/** The invoked name: a link or a copy called `calico`, `calico-ipam`, `calicoctl` is a role. */
function invokedName(): string {
  const argv0 = (globalThis as { process?: { argv0?: string } }).process?.argv0 ?? "tortie";
  return argv0.slice(argv0.lastIndexOf("/") + 1);
}

async function main(): Promise<number> {
  // With CNI_COMMAND this is a CNI plugin whatever its name (the CNI specification: a runtime always sets it).
  if (Deno.env.get("CNI_COMMAND")) {
    const plugin = await import("./cni/plugin.ts");
    return plugin.run(invokedName(), Deno.env.toObject(), Deno.stdin);
  }
  const cli = await import("./mod/cli/main.ts");
  return cli.run(Deno.args, { name: invokedName() });
}

const code = await main();
// Roles that leave sockets or timers behind have said what they had to say.
Deno.exit(code);
