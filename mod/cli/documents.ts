/**
 * Objects from `-f`: a file, `-` for standard input, or a directory of .yaml, .yml and .json files
 * (with -R those below it too), many documents a file, and `kind: List` or any `…List` for its items.
 * Each object knows where it stood, so that a fault can be found.
 */
import {
  isListObject,
  isListWithoutItems,
  listItems,
  type ListObject,
  strangerIn,
} from "../model/list_object.ts";
import { show } from "../model/show.ts";
import { describeFile, fileReason, isStandardInput, readTextWithin } from "./files.ts";
import { CliError, EXIT, failure, type Io, usageError } from "./io.ts";
import { MAX_BYTES, parseYaml, YamlError } from "./yaml.ts";
import { isArchive } from "./datastore/parts.ts";
import { withTexts } from "./scalars.ts";
import { PIECE, splitList } from "./yaml_list.ts";

export interface SourceObject {
  readonly value: unknown;
  /** `pools.yaml:14: document 2`, for messages about the whole object. */
  readonly where: string;
  /** The same, at the line of a path inside the object. */
  at(path: string): string;
}

export interface SourceOptions {
  readonly recursive?: boolean;
  /** Files without an object are no fault. */
  readonly skipEmpty?: boolean;
  /** Takes a text of another form; true where it did, so that it is not read as objects. */
  readonly take?: (text: string, name: string) => boolean;
}

/** Reads and parses everything that the names stand for; CliError at the first fault. */
export async function readObjects(
  names: readonly string[],
  io: Io,
  options: SourceOptions = {},
): Promise<SourceObject[]> {
  const objects: SourceObject[] = [];
  if (names.filter(isStandardInput).length > 1) {
    throw usageError("standard input is named twice with -f, and can be read once");
  }
  for (const name of names) {
    const files = isStandardInput(name) ? [name] : await filesOf(name, options.recursive ?? false);
    let found = 0;
    for (const file of files) {
      const text = await textOf(file, io);
      if (options.take?.(text, describeFile(file))) {
        found++;
        continue;
      }
      const own = objectsOf(text, describeFile(file));
      if (own.length === 0 && !options.skipEmpty) {
        throw failure(
          `${describeFile(file)} holds no object; want YAML or JSON with kind and metadata`,
        );
      }
      found += own.length;
      objects.push(...own);
    }
    if (found === 0 && !options.skipEmpty) {
      throw failure(`the directory ${name} holds no object; want .yaml, .yml or .json files in it`);
    }
  }
  return objects;
}

async function filesOf(name: string, recursive: boolean): Promise<string[]> {
  if (/^[a-z][a-z0-9+.-]*:\/\//i.test(name)) {
    throw usageError(
      `-f ${name}: addresses are not fetched; download the file first, or pipe it in with -f -`,
    );
  }
  let info: Deno.FileInfo;
  try {
    info = await Deno.stat(name);
  } catch (error) {
    throw fileError(name, error);
  }
  if (!info.isDirectory) return [name];
  const files: string[] = [];
  const entries: Deno.DirEntry[] = [];
  try {
    for await (const entry of Deno.readDir(name)) entries.push(entry);
  } catch (error) {
    throw fileError(name, error);
  }
  entries.sort((a, b) => a.name < b.name ? -1 : 1);
  for (const entry of entries) {
    const path = `${name.replace(/\/+$/, "")}/${entry.name}`;
    const named = /\.(ya?ml|json)$/i.test(entry.name);
    const target = entry.isSymlink ? await targetOf(path, named) : entry;
    if (target?.isDirectory) {
      // A link to a directory may lead back up.
      if (recursive && !entry.isSymlink) files.push(...await filesOf(path, true));
    } else if (target?.isFile && named) files.push(path);
  }
  return files;
}

/** Where a link leads; one of a name that is looked for must lead somewhere. */
async function targetOf(link: string, must: boolean): Promise<Deno.FileInfo | undefined> {
  try {
    return await Deno.stat(link);
  } catch (error) {
    if (!must) return undefined;
    const { message } = fileError(link, error);
    throw failure(`${message}: it is a link to ${await Deno.readLink(link).catch(() => "?")}`);
  }
}

async function textOf(file: string, io: Io): Promise<string> {
  try {
    return await readTextWithin(file, io, MAX_BYTES, "; split it into several files");
  } catch (error) {
    throw fileError(file, error);
  }
}

function fileError(file: string, error: unknown): CliError {
  if (error instanceof CliError) return error;
  if (error instanceof Deno.errors.NotFound) {
    return new CliError(EXIT.failed, `${file} is not there`, { cause: error });
  }
  if (error instanceof Deno.errors.PermissionDenied) {
    return new CliError(EXIT.failed, `${file} may not be read by this user`, { cause: error });
  }
  const message = `${describeFile(file)} cannot be read: ${fileReason(error)}`;
  return new CliError(EXIT.failed, message, { cause: error });
}

/**
 * Objects of a text of at most `max` characters; `name` is the file's, for messages. A list of more than
 * `whole` characters is read in pieces.
 */
export function objectsOf(
  text: string,
  name: string,
  max = MAX_BYTES,
  whole = 1024 * 1024,
): SourceObject[] {
  if (text.length <= max && text.length > whole) {
    const pieces = inPieces(text, name, whole);
    if (pieces) return pieces;
  }
  return objectsIn(text, name, max);
}

/** undefined where the text is no such list, or has a fault: then it is read as a whole, and told. */
function inPieces(text: string, name: string, whole: number): SourceObject[] | undefined {
  const split = splitList(text, Math.min(whole, PIECE));
  if (!split) return undefined;
  try {
    const frames = split.frame === undefined ? [] : parseYaml(split.frame, name);
    const frame = frames[0]?.value;
    if (split.frame !== undefined && (frames.length !== 1 || !isListObject(frame))) {
      return undefined;
    }
    const framed = (items: unknown) =>
      isListObject(frame) && Array.isArray(items)
        ? itemsOfList({ ...frame, items }, () => name)
        : items;
    return split.pieces.flatMap(({ text, before }) =>
      objectsIn(text, name, MAX_BYTES, before, framed)
    );
  } catch (error) {
    if (error instanceof YamlError || error instanceof CliError) return undefined;
    throw error;
  }
}

/** `before`: lines that stand before the text in the file; `framed`: what it is in the whole. */
function objectsIn(
  text: string,
  name: string,
  max: number,
  before = 0,
  framed = (value: unknown) => value,
): SourceObject[] {
  let documents;
  try {
    documents = parseYaml(text, name, max);
  } catch (error) {
    if (!(error instanceof YamlError)) throw error;
    throw failure(
      isArchive(text)
        ? `${name} is the export of a whole datastore: \`tortie datastore import\` takes it`
        : error.message,
    );
  }
  return documents.flatMap((document) => {
    const at = (path: string) =>
      `${name}:${before + document.lineOf(path)}: document ${document.number}`;
    return itemsOf(framed(document.value), "", at).map(({ value, path }): SourceObject => ({
      value: withTexts(value),
      where: at(path),
      at: (inner) => at(path === "" ? inner : `${path}.${inner}`),
    }));
  });
}

/** CliError where one is not of the list's kind; `at` says where an item stands. */
function itemsOfList(list: ListObject, at: (index: number) => string): unknown[] {
  const stranger = strangerIn(list);
  if (!stranger) return listItems(list);
  const { index } = stranger;
  const said = `${at(index)}: items[${index}] of the ${list.kind}`;
  throw failure(
    "list" in stranger
      ? `${said} is a list itself: want an object`
      : `${said} says that its kind is ${show(stranger.kind)}; put it into a list of its own, or ` +
        "into one of kind List",
  );
}

function itemsOf(
  value: unknown,
  path: string,
  at: (path: string) => string,
): { value: unknown; path: string }[] {
  const inList = path === "" ? "items" : `${path}.items`;
  if (isListWithoutItems(value)) {
    const { kind, items } = value;
    // To Go, null is a list of none.
    if (items === undefined || items === null) return [];
    throw failure(`${at(inList)}: items of the ${kind} is ${show(items)}: want a list of objects`);
  }
  const list = Array.isArray(value)
    ? { items: value, path }
    : isListObject(value)
    ? { items: itemsOfList(value, (i) => at(`${inList}[${i}]`)), path: inList }
    : undefined;
  if (!list) return [{ value, path }];
  return list.items.flatMap((item, i) => itemsOf(item, `${list.path}[${i}]`, at));
}
