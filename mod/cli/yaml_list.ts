/**
 * A long list in YAML, as `get -o yaml` prints it, in pieces of some objects each: read as one document it
 * would take a hundred times its size of memory. It is split where an object begins at the left margin, at
 * which nothing inside an object can stand:
 *
 *     apiVersion: …        \
 *     items:                |  frame, without the objects
 *     - apiVersion: …      a piece
 *     - apiVersion: …      …
 *     kind: IPPoolList      |  frame
 *
 * Texts of several documents, and those with anchors, whose aliases may stand in other pieces, are none.
 */

export interface ListPiece {
  readonly text: string;
  /** Lines of the text before it. */
  readonly before: number;
}

export interface SplitList {
  /** What stands around the objects, with `items: []`; undefined: the text is nothing but a list. */
  readonly frame?: string;
  readonly pieces: readonly ListPiece[];
}

/** Characters of a piece. */
export const PIECE = 256 * 1024;
const SEVERAL_DOCUMENTS = /^(---|\.\.\.|%)/m;
const ANCHOR = /(^|[\s,[{:])[&*][\w-]/;

/** The pieces of a text that is one such list; undefined where it is something else. */
export function splitList(text: string, size = PIECE): SplitList | undefined {
  const marked = /^---[ \t]*\n/.exec(text)?.[0].length ?? 0;
  const body = text.slice(marked);
  if (SEVERAL_DOCUMENTS.test(body) || ANCHOR.test(body) || body.includes("\t")) return undefined;
  const items = /^items:[ ]*\n(?=- )/m.exec(body);
  if (!items && !body.startsWith("- ")) return undefined;
  const begin = items ? items.index + items[0].length : 0;
  const pieces: ListPiece[] = [];
  let line = marked > 0 ? 1 : 0;
  for (let i = 0; i < begin; i++) if (body[i] === "\n") line++;
  let from = begin, fromLine = line, end = body.length;
  for (let at = begin; at < body.length;) {
    const next = body.indexOf("\n", at) + 1 || body.length;
    const letter = body[at];
    const starts = body.startsWith("- ", at);
    if (!starts && letter !== " " && letter !== "\n" && letter !== "#") {
      end = at;
      break;
    }
    if (starts && at - from >= size) {
      pieces.push({ text: body.slice(from, at), before: fromLine });
      from = at;
      fromLine = line;
    }
    at = next;
    line++;
  }
  pieces.push({ text: body.slice(from, end), before: fromLine });
  if (!items) return end === body.length ? { pieces } : undefined;
  return { frame: `${body.slice(0, items.index)}items: []\n${body.slice(end)}`, pieces };
}
