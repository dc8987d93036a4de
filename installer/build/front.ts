/**
 * Builds the native front door (cni/front) and puts it into denort, before `deno compile` appends the
 * program to that.
 *
 *     constants of the TypeScript plugin --constants.h--> front.c --gcc, objcopy--> some KB of code
 *     denort + code --one more segment, the program starts in it--> denort for `deno compile`
 *
 * Every step refuses what it does not know: a denort that is not the checked one, one that is patched
 * already, a product that does not begin with the denort that went in (a Deno whose `deno compile` writes
 * the file in another way would lose or displace the code), a product whose front door does not answer.
 */
import { Buffer } from "node:buffer";
import {
  ANSWER_TIMEOUT,
  CONNECT_TIMEOUT,
  RUN_DIR,
  SOCKET_NAME,
  TOO_LARGE,
} from "../../cni/plugin.ts";
import { KIND, MAGIC, MAX_BYTES } from "../../cni/request.ts";
import { LATEST_VERSION, VERSION_ANSWER } from "../../cni/versions.ts";
import {
  deferRelocations,
  elfEnd,
  MACHINES,
  PT_INTERP,
  PT_NOTE,
  readImage,
  spaceBehind,
  withCode,
} from "./elf.ts";

const SOURCES = decodeURIComponent(new URL("../../cni/front", import.meta.url).pathname);

/**
 * How the program starts. `loaded`: the kernel loads ld.so first, as for every program, and the front door
 * runs after it, with the bulk of the relocations left to itself. `direct`: the kernel starts the front door,
 * which loads ld.so itself where it is needed.
 */
export type FrontVariant = "loaded" | "direct";

/** struct place of front.c: its magic, its fields of eight bytes each, and where the code begins. */
const PLACE = 80;
const PLACE_FIELDS = [
  "image",
  "entry",
  "interpreter",
  "interpreterSize",
  "relocations",
  "count",
  "sealed",
  "sealedSize",
] as const;
type Place = Partial<Record<typeof PLACE_FIELDS[number], number>>;
const PLACE_MAGIC = "TORTIEFD";

/** What the C source takes from TypeScript. */
export function constants(): string {
  // Octal, since a digit may follow; JSON's other escapes are C's too.
  const text = (value: string) => JSON.stringify(value).replaceAll("\\u0000", "\\000");
  const values = {
    REQUEST_WORDS: text(`${MAGIC}\0${KIND}`),
    VERSION_ANSWER: text(VERSION_ANSWER),
    LATEST_VERSION: text(LATEST_VERSION),
    RUN_DIR: text(RUN_DIR),
    SOCKET_NAME: text(`/${SOCKET_NAME}`),
    MAX_BYTES,
    TOO_LARGE: text(TOO_LARGE),
    CONNECT_SECONDS: CONNECT_TIMEOUT / 1000,
    ANSWER_SECONDS: text(String(ANSWER_TIMEOUT / 1000)),
    ANSWER_MILLISECONDS: ANSWER_TIMEOUT,
  };
  return Object.entries(values).map(([name, value]) => `#define ${name} ${value}\n`).join("");
}

async function tool(command: string, args: string[]): Promise<void> {
  let output: Deno.CommandOutput;
  try {
    output = await new Deno.Command(command, { args, stdout: "null", stderr: "piped" }).output();
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
    throw new Error(
      `${command} is not on this machine: "deno task build" installs it as root; or leave the native ` +
        `front door out with --no-front`,
    );
  }
  if (output.success) return;
  throw new Error(`${command} failed: ${new TextDecoder().decode(output.stderr).trim()}`);
}

/** The code of the front door, from its sources. `flags`: more for the compiler. */
export async function compileFront(
  arch: string,
  variant: FrontVariant,
  flags: readonly string[] = [],
): Promise<Uint8Array<ArrayBuffer>> {
  const folder = await Deno.makeTempDir({ prefix: "tortie-front-" });
  try {
    await Deno.writeTextFile(`${folder}/constants.h`, constants());
    await tool(`${arch}-linux-gnu-gcc`, [
      "-std=gnu11",
      "-Os",
      "-Wall",
      "-Wextra",
      // It is started as it stands, by no C library and at any address.
      "-ffreestanding",
      "-fno-builtin",
      "-nostdlib",
      "-static",
      "-fpie",
      "-fno-jump-tables",
      // Else our own memcpy would become a call of memcpy.
      "-fno-tree-loop-distribute-patterns",
      // What would need a run-time library or the thread's memory.
      "-fno-stack-protector",
      "-fno-asynchronous-unwind-tables",
      "-mgeneral-regs-only",
      ...(arch === "x86_64" ? ["-fcf-protection=none"] : ["-mno-outline-atomics"]),
      ...(variant === "direct" ? ["-DDIRECT"] : []),
      ...flags,
      `-I${folder}`,
      "-T",
      `${SOURCES}/front.ld`,
      "-Wl,--build-id=none,-z,noexecstack",
      "-o",
      `${folder}/front.elf`,
      `${SOURCES}/front.c`,
    ]);
    await tool(`${arch}-linux-gnu-objcopy`, [
      "-O",
      "binary",
      "-j",
      ".front",
      `${folder}/front.elf`,
      `${folder}/front.bin`,
    ]);
    return await Deno.readFile(`${folder}/front.bin`);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

/** denort with the front door in it. Throws where it is not a denort as Deno publishes it. */
export function placeFront(
  denort: Uint8Array,
  code: Uint8Array,
  arch: string,
  variant: FrontVariant,
): Uint8Array<ArrayBuffer> {
  const { machine, entry, headers } = readImage(denort);
  if (machine !== MACHINES[arch]) throw new Error(`denort is not for ${arch}`);
  const rest = denort.length - elfEnd(denort);
  if (rest !== 0) {
    throw new Error(
      `denort has ${rest} bytes behind its section headers: it is no denort but a finished program`,
    );
  }
  const isFront = ({ offset }: { offset: number }) =>
    new TextDecoder().decode(denort.subarray(offset, offset + 8)) === PLACE_MAGIC;
  if (headers.some(isFront)) throw new Error("denort has a front door already");
  const interpreter = headers.find(({ type }) => type === PT_INTERP);
  if (!interpreter) throw new Error("denort has no PT_INTERP: it is linked statically, or damaged");
  if (new TextDecoder().decode(code.subarray(0, 8)) !== PLACE_MAGIC) {
    throw new Error("the code of the front door does not begin with its struct place");
  }
  const { address } = spaceBehind(denort);
  const known: Place = { image: -address, entry };
  if (variant === "direct") {
    return withCode(
      denort,
      fillPlace(code, {
        ...known,
        interpreter: interpreter.address,
        interpreterSize: interpreter.fileSize,
      }),
      PLACE,
      PT_INTERP,
    );
  }
  const { file, deferred } = deferRelocations(denort);
  // The notes (ABI, build id) are for tools, which find them by their sections.
  return withCode(file, fillPlace(code, { ...known, ...deferred }), PLACE, PT_NOTE);
}

function fillPlace(code: Uint8Array, values: Place): Uint8Array<ArrayBuffer> {
  const filled = code.slice();
  const view = new DataView(filled.buffer);
  PLACE_FIELDS.forEach((name, i) => view.setBigInt64(8 + 8 * i, BigInt(values[name] ?? 0), true));
  return filled;
}

/** Throws where the product is not this denort with something behind it. */
export function checkProduct(product: Uint8Array, denort: Uint8Array): void {
  const head = product.subarray(0, denort.length);
  if (product.length > denort.length && Buffer.compare(head, denort) === 0) return;
  throw new Error(
    `deno ${Deno.version.deno} did not leave the runtime as it was when it compiled the program into ` +
      `it, so that the native front door is lost or displaced. Build with --no-front, or with the Deno ` +
      `that this project names.`,
  );
}

/** Throws where the product's front door, or the Deno behind it, does not answer. */
export async function tryProduct(path: string, version: string): Promise<void> {
  const run = async (args: string[], env: Record<string, string>, before = "") => {
    const { success, stdout } = await new Deno.Command("/bin/sh", {
      args: ["-c", `${before}exec "$0" "$@"`, path, ...args],
      clearEnv: true,
      env,
      stdin: "null",
      stderr: "null",
    }).output();
    return success ? new TextDecoder().decode(stdout) : undefined;
  };
  // In so little memory no Deno starts, which would give the same answer.
  const little = "ulimit -v 300000; ";
  if (await run([], { CNI_COMMAND: "VERSION" }, little) !== VERSION_ANSWER) {
    throw new Error("the native front door of the new executable does not answer VERSION");
  }
  if (!(await run(["version", "--client"], {}))?.includes(version)) {
    throw new Error("the new executable with the native front door does not start Deno");
  }
}
