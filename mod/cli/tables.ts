/**
 * Tables as calicoctl prints them: columns padded to tab stops (Go's tabwriter with cells of at least
 * five characters and three blanks between), and the boxed tables of `ipam show` and `node status`.
 */
import stringWidth from "string-width";
import { visible } from "./visible.ts";

/** Rows of cells, the headings first. Each cell is padded, the last one too, as the original does. */
export function tabbed(rows: readonly (readonly string[])[]): string {
  const clean = rows.map((row) =>
    row.map((cell) => visible(cell.replaceAll(/[\t\n\v\f\r]/g, " ")))
  );
  const widths = columnWidths(clean).map((width) => Math.max(5, width + 3));
  return clean.map((row) => row.map((cell, i) => pad(cell, widths[i])).join("") + "\n").join("");
}

const NUMBER = /^-?([0-9]{1,3}(,[0-9]{3})*|[0-9]+)(\.[0-9]+)?$|^-?[0-9]+\.?[0-9]*%$/;

/**
 * A table in a box of +, - and |, as the library of calicoctl aligns it: headings in the middle, numbers to
 * the right, all else to the left.
 */
export function boxed(cells: readonly (readonly string[])[]): string {
  const rows = cells.map((row) => row.map(visible));
  const widths = columnWidths(rows);
  const rule = `+${widths.map((width) => "-".repeat(width + 2)).join("+")}+\n`;
  const line = (row: readonly string[], before: (gap: number, cell: string) => number) =>
    `|${
      widths.map((width, i) => {
        const cell = row[i] ?? "";
        const gap = width - stringWidth(cell);
        const left = before(gap, cell);
        return ` ${" ".repeat(left)}${cell}${" ".repeat(gap - left)} `;
      }).join("|")
    }|\n`;
  const [headings, ...body] = rows;
  const middle = (gap: number) => Math.floor(gap / 2);
  const byKind = (gap: number, cell: string) => NUMBER.test(cell) ? gap : 0;
  return rule + line(headings, middle) + rule + body.map((row) => line(row, byKind)).join("") +
    rule;
}

function columnWidths(rows: readonly (readonly string[])[]): number[] {
  const columns = Math.max(0, ...rows.map((row) => row.length));
  return Array.from(
    { length: columns },
    (_, i) => Math.max(...rows.map((row) => stringWidth(row[i] ?? ""))),
  );
}

function pad(cell: string, width: number): string {
  return cell + " ".repeat(Math.max(0, width - stringWidth(cell)));
}
