/**
 * libnl, carried inside the executable for hosts that have none. It is taken from the machine that
 * builds (Debian's libnl-3-200, which the set-up installs; for another architecture out of that
 * package), with the licence that it must travel with (LGPL-2.1: the library stays a file of its own,
 * loaded dynamically, and may be replaced by the host's, which is always preferred).
 */

import { unpackDebian } from "./debian.ts";

const LIBRARY = "libnl-3.so.200";
const folders = (arch: string) =>
  ["/usr/lib", "/lib"].flatMap((base) => [
    `${base}/${arch}-linux-gnu`,
    ...(arch === Deno.build.arch ? [`${base}64`, base] : []),
  ]);
const LICENCES = ["/usr/share/common-licenses/LGPL-2.1", "/usr/share/licenses/libnl3/COPYING"];

const NOTICE = `libnl-3 (https://github.com/thom311/libnl), copyright Thomas Graf and others, is
carried inside this executable unchanged, under the GNU Lesser General Public License, version 2.1,
whose text follows. It is loaded dynamically and only where the host has no libnl-3.so.200 of its own;
install that library to use another version. Its source is on the address above.

`;

async function firstOf(paths: string[]): Promise<Uint8Array<ArrayBuffer> | undefined> {
  for (const path of paths) {
    try {
      return await Deno.readFile(path);
    } catch (error) {
      if (!(error instanceof Deno.errors.NotFound)) throw error;
    }
  }
}

/** Of another machine's architecture, out of Debian's package. */
async function foreignLibrary(arch: string): Promise<Uint8Array<ArrayBuffer> | undefined> {
  const root = await Deno.makeTempDir({ prefix: "tortie-libnl-" });
  try {
    await unpackDebian(["libnl-3-200"], { arch }, root);
    return await firstOf(folders(arch).map((folder) => `${root}${folder}/${LIBRARY}`));
  } finally {
    await Deno.remove(root, { recursive: true });
  }
}

/** The library and its notice: file name and content. */
export async function libnlFiles(arch: string): Promise<[string, Uint8Array<ArrayBuffer>][]> {
  const library = arch === Deno.build.arch
    ? await firstOf(folders(arch).map((folder) => `${folder}/${LIBRARY}`))
    : await foreignLibrary(arch);
  if (!library) {
    throw new Error(`${LIBRARY} is not on this machine: run "deno task setup" (it installs libnl)`);
  }
  const licence = await firstOf(LICENCES);
  if (!licence) throw new Error(`the text of the LGPL 2.1 is not at ${LICENCES.join(" or ")}`);
  const notice = new TextEncoder().encode(NOTICE);
  const text = new Uint8Array(notice.length + licence.length);
  text.set(notice);
  text.set(licence, notice.length);
  return [[LIBRARY, library], ["LIBNL-LICENSE.txt", text]];
}
