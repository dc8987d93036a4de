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

/** A table in a box of +, - and |; the columns listed in `right` are aligned to the right. */
export function boxed(
  cells: readonly (readonly string[])[],
  options: { right?: readonly number[] } = {},
): string {
  const rows = cells.map((row) => row.map(visible));
  const widths = columnWidths(rows);
  const rule = `+${widths.map((width) => "-".repeat(width + 2)).join("+")}+\n`;
  const line = (row: readonly string[]) =>
    `|${
      widths.map((width, i) => {
        const cell = row[i] ?? "";
        const gap = " ".repeat(width - stringWidth(cell));
        return options.right?.includes(i) ? ` ${gap}${cell} ` : ` ${cell}${gap} `;
      }).join("|")
    }|\n`;
  const [headings, ...body] = rows;
  return rule + line(headings) + rule + body.map(line).join("") + rule;
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
