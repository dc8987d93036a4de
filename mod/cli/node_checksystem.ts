/**
 * `node checksystem`: can this machine's kernel carry a node? Each thing that a node needs is tried
 * (`system/probes.ts`); with --kernel-config a kernel is judged by its configuration instead, which may be
 * that of another machine.
 */
import { type Call, textOption } from "./command.ts";
import { EXIT, failure } from "./io.ts";
import {
  type Finding,
  findingText,
  isAtLeast,
  judgeConfig,
  type KernelConfig,
  OLDEST_KERNEL,
  parseKernelConfig,
  resultLine,
} from "./system/checks.ts";

export async function run(call: Call): Promise<number> {
  const { io, program } = call;
  const file = textOption(call, "kernelConfig") || undefined;
  const config = file === undefined ? undefined : await readConfig(file);
  if (!config && Deno.uid() !== 0) {
    throw failure(
      `${program} node checksystem must be run as root: it tries what a node does in the kernel; ` +
        "with --kernel-config it only reads a file",
    );
  }
  io.stdout("Checking kernel version...\n");
  const release = config ? config.release : await ownRelease();
  const recent = release === undefined || isAtLeast(release, OLDEST_KERNEL);
  io.stdout(resultLine(release ?? "not said", recent ? "OK" : "FAIL"));
  if (!recent) {
    io.stdout(
      `ERROR: the kernel is ${release}, and a node needs ${OLDEST_KERNEL} or later; update it\n`,
    );
  }
  io.stdout("Checking kernel modules...\n");
  const findings = config ? judgeConfig(config) : await tried();
  for (const finding of findings) io.stdout(findingText(finding));
  const name = program === "calicoctl" ? "Calico" : "tortie";
  const failed = findings.filter(({ check, fault }) => check.needed && fault !== undefined);
  if (failed.length > 0 || !recent) {
    throw failure(
      `system doesn't meet one or more minimum systems requirements to run ${name}${
        failed.length > 0 ? `: ${failed.map(({ check }) => check.name).join(", ")}` : ""
      }`,
    );
  }
  io.stdout(`System meets minimum system requirements to run ${name}!\n`);
  return EXIT.ok;
}

async function ownRelease(): Promise<string> {
  const { readSysctl } = await import("../../ffi/sysctl.ts");
  return readSysctl("kernel/osrelease");
}

async function tried(): Promise<Finding[]> {
  const { tryAll } = await import("./system/probes.ts");
  return await tryAll(`tortie-check-${Deno.pid}`);
}

async function readConfig(file: string): Promise<KernelConfig> {
  let text: string;
  try {
    const bytes = await Deno.readFile(file);
    // As /proc/config.gz.
    const packed = bytes[0] === 0x1f && bytes[1] === 0x8b;
    const stream = new Blob([bytes]).stream();
    text = await new Response(
      packed ? stream.pipeThrough(new DecompressionStream("gzip")) : stream,
    ).text();
  } catch (error) {
    throw failure(`the kernel's configuration ${file} cannot be read: ${(error as Error).message}`);
  }
  const config = parseKernelConfig(text);
  if (config) return config;
  throw failure(`${file} is no kernel's configuration: it has no line such as CONFIG_NET=y`);
}
