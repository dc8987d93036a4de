/**
 * The demo as a user runs it, with every execve of everything that it starts recorded: services,
 * plugin calls, command line. Nothing may be executed but this executable's own copies, and the BIRD that
 * the caller names.
 */
import assert from "node:assert/strict";

const binary = Deno.env.get("TORTIE_BINARY") ??
  new URL("../../dist/tortie", import.meta.url).pathname;

const bird = "/usr/sbin/bird";

Deno.test("the demo is all true, and starts nothing but its own executable", async () => {
  const trace = await Deno.makeTempFile();
  try {
    const { code, stdout, stderr } = await new Deno.Command("strace", {
      args: [
        ...["--seccomp-bpf", "-f", "-qq", "-e", "trace=execve,execveat", "-o", trace],
        ...[binary, "lab", "demo", "--megabytes", "200", "--bird", bird],
      ],
    }).output();
    const said = new TextDecoder().decode(stdout) + new TextDecoder().decode(stderr);
    assert.equal(code, 0, said);
    assert.match(said, /All \d+ statements were true/);
    // A call that another one interrupts in the trace is told in two lines; the second names nothing.
    const calls = (await Deno.readTextFile(trace)).split("\n")
      .filter((l) => /execve(?:at)?\(/.test(l));
    const programs = calls.map((l) => /execve(?:at)?\((?:\S+, )?"([^"]*)"/.exec(l)?.[1]);
    assert.ok(calls.length > 30, `only ${calls.length} executions were seen`);
    assert.deepEqual([...new Set(programs)].sort(), [binary, bird].sort());
    assert.equal(programs.filter((p) => p === bird).length, 2, "BIRD was started twice");
  } finally {
    await Deno.remove(trace);
  }
});
