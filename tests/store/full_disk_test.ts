/**
 * A disk that is full. The process runs in a mount namespace of its own, with a tmpfs of a few
 * megabytes that goes with it.
 */
import assert from "node:assert/strict";
import { RUN_MODULE } from "../tools/run_module.ts";

const ROOT = Deno.uid() === 0;

Deno.test({
  name: `kv: a full disk refuses writes, keeps all that was, and goes on when there is room` +
    (ROOT ? "" : " (skipped: needs root, to mount a small disk)"),
  ignore: !ROOT,
  fn: async () => {
    const folder = await Deno.makeTempDir({ prefix: "tortie-full-" });
    try {
      const program = new URL("full_disk_process.ts", import.meta.url).pathname;
      const script = 'mount --make-rprivate / && mount -t tmpfs -o size=12m tmpfs "$0" && ' +
        'head -c 6000000 /dev/zero > "$0/ballast" && exec "$@" "$0"';
      const { code, stdout, stderr } = await new Deno.Command("unshare", {
        args: ["-m", "sh", "-c", script, folder, Deno.execPath(), ...RUN_MODULE, program],
      }).output();
      assert.equal(code, 0, new TextDecoder().decode(stderr));
      const said = JSON.parse(new TextDecoder().decode(stdout));
      assert(said.acknowledged > 20, `${said.acknowledged}`);
      assert.equal(said.refusal.kind, "unavailable");
      assert.match(
        said.refusal.message,
        /store\.kv cannot be written: .*full; nothing was changed/,
      );
      assert.equal(said.whileFull, said.acknowledged, "what was there can be read");
      assert.equal(said.largeWhileFull.kind, "unavailable");
      assert.match(said.afterwards, /^[0-9]+$/);
      assert.match(said.large, /^[0-9]+$/);
      assert.equal(said.reopened, said.acknowledged);
      assert.equal(said.largeReopened, 1_000_000);
    } finally {
      await Deno.remove(folder, { recursive: true });
    }
  },
});
