/**
 * The native front door and the plugin in TypeScript beside each other at one node service: what the other
 * tests cannot compare, the results of ADDs that succeed, which no second call repeats; and that it is the
 * front door who answers. Where there is one executable alone there is nothing to compare.
 */
import assert from "node:assert/strict";
import { VERSION_ANSWER } from "../../cni/versions.ts";
import { CniHarness, run } from "./harness.ts";

const two = Deno.env.has("TORTIE_BESIDE") && Deno.env.get("TORTIE_CNI_WAY") === "front";

function test(name: string, fn: () => Promise<void>): void {
  Deno.test({
    name: two ? name : `${name} (not here: the front door alone is asked in group cni-front)`,
    ignore: !two,
    // The rpc client keeps a socket for the life of the process.
    sanitizeOps: false,
    sanitizeResources: false,
    fn,
  });
}

const VERSIONS = JSON.parse(VERSION_ANSWER).supportedVersions as string[];
const HOST_MAC = '"ee:ee:ee:ee:ee:ee"';
const MAC = /"([0-9a-f]{2}:){5}[0-9a-f]{2}"/g;

test("an ADD that succeeds has the same bytes by both ways, in every version and role", async () => {
  await using h = await CniHarness.start();
  const netns = await h.addNamespace();
  for (const role of ["tortie", "calico", "tortie-ipam", "calico-ipam"]) {
    for (const cniVersion of VERSIONS) {
      const call = {
        conf: h.conf({ cniVersion }),
        container: "one",
        netns,
        args: "IgnoreUnknown=1;IP=10.244.7.7",
      };
      const answers: string[] = [];
      for (const folder of [h.plugins, h.beside]) {
        const plugin = `${folder}/${role}`;
        const { code, stdout } = await h.call({ ...call, plugin });
        assert.equal(code, 0, stdout);
        assert.match(stdout, /10\.244\.7\.7/);
        // The host side's is the same for all; the pod's own is drawn.
        answers.push(stdout.replaceAll(MAC, (mac) => mac === HOST_MAC ? mac : '"MAC"'));
        const gone = await h.call({ ...call, plugin, command: "DEL" });
        assert.deepEqual([gone.code, gone.stdout], [0, ""]);
      }
      assert.equal(answers[0], answers[1], `${role} ${cniVersion}`);
    }
  }
});

test("ordinary calls are answered where there is too little memory for Deno", async () => {
  await using h = await CniHarness.start();
  const netns = await h.addNamespace();
  const call = async (command: string, folder: string) =>
    await run([
      ...["nsenter", `--net=/run/netns/${h.host}`],
      ...["bash", "-c", 'ulimit -v 300000; exec "$0"', `${folder}/tortie`],
    ], {
      stdin: JSON.stringify(h.conf()),
      env: h.environment({ command, netns }),
      clearEnv: true,
    });
  assert.notEqual((await call("VERSION", h.beside)).stdout, VERSION_ANSWER, "no Deno can start");
  assert.equal((await call("VERSION", h.plugins)).stdout, VERSION_ANSWER);
  for (const command of ["ADD", "CHECK", "DEL"]) {
    const { code, stdout } = await call(command, h.plugins);
    // CHECK wants the result of the ADD, and says so.
    assert.equal(code, command === "CHECK" ? 1 : 0, stdout);
  }
  assert.deepEqual(await h.traces(), []);
});
