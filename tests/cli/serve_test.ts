/** `datastore serve` as a process of its own: what it serves, how it ends, and what outlives it. */
import assert from "node:assert/strict";
import { command } from "./harness.ts";
import { RUN_MODULE } from "../tools/run_module.ts";

const ROOT = new URL("../../", import.meta.url).pathname;

/** The built executable where there is one, else the program from its source. */
function program(): [string, string[]] {
  const binary = Deno.env.get("TORTIE_BINARY");
  return binary && exists(binary)
    ? [binary, []]
    : [Deno.execPath(), [...RUN_MODULE, `${ROOT}main.ts`]];
}

function exists(path: string): boolean {
  try {
    Deno.statSync(path);
    return true;
  } catch {
    return false;
  }
}

function start(folder: string): Deno.ChildProcess {
  const [path, args] = program();
  return new Deno.Command(path, {
    args: [...args, "datastore", "serve"],
    env: { TORTIE_STATE_DIR: folder, TORTIE_RUN_DIR: folder, NO_COLOR: "1" },
    cwd: ROOT,
    stdin: "null",
    stdout: "null",
    stderr: "piped",
  }).spawn();
}

/** Waits until the socket answers. */
async function answering(socket: string): Promise<void> {
  for (let i = 0; i < 300; i++) {
    try {
      (await Deno.connect({ transport: "unix", path: socket })).close();
      return;
    } catch {
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  }
  throw new Error(`${socket} does not answer`);
}

async function ended(child: Deno.ChildProcess): Promise<{ code: number; err: string }> {
  const err = await new Response(child.stderr).text();
  return { code: (await child.status).code, err };
}

Deno.test("datastore serve: serves, refuses a second owner, survives kill -9, ends on SIGTERM", async () => {
  const folder = await Deno.makeTempDir({ prefix: "tortie-serve-" });
  const socket = `${folder}/store.sock`;
  const env = { TORTIE_STORE: socket };
  const set = (name: string) => ({
    env,
    stdin: `{apiVersion: projectcalico.org/v3, kind: GlobalNetworkSet, metadata: {name: ${name}}}`,
  });
  let child = start(folder);
  try {
    await answering(socket);
    assert.equal((Deno.statSync(socket).mode ?? 0) & 0o777, 0o600);
    const applied = await command(["apply", "-f", "-"], set("one"));
    assert.deepEqual([applied.exit, applied.err], [0, ""]);

    // The file has one owner: a command that would open it is told who that is.
    const direct = await command(["get", "gnetsets", "--store", `kv:${folder}/store.kv`]);
    assert.equal(direct.exit, 3);
    assert.match(direct.err, /store\.kv/);

    child.kill("SIGKILL");
    await ended(child);
    const away = await command(["get", "gnetsets"], { env });
    assert.equal(away.exit, 3);
    assert.match(away.err, /store\.sock \(TORTIE_STORE\): nobody serves it/);

    child = start(folder);
    await answering(socket);
    assert.equal((await command(["apply", "-f", "-"], set("two"))).exit, 0);
    const both = await command(["get", "gnetsets", "-o", "name"], { env });
    assert.equal(both.out, "globalnetworkset/one\nglobalnetworkset/two\n");

    child.kill("SIGTERM");
    const { code, err } = await ended(child);
    assert.equal(code, 0, err);
    assert.ok(!exists(socket), "the socket goes with its server");
  } finally {
    try {
      child.kill("SIGKILL");
    } catch {
      // it has ended
    }
    await child.status;
    if (!child.stderr.locked) await child.stderr.cancel();
    await Deno.remove(folder, { recursive: true });
  }
});
