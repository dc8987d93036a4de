/**
 * How a failure is told: in tortie's own words after `error: `, or as calicoctl does, whose scripts look
 * for `resource does not exist`, `resource already exists`, `update conflict`.
 */
import type { Io } from "./io.ts";
import { colours } from "./terminal.ts";
import { visible } from "./visible.ts";
import { ResourceError } from "../store/resource_error.ts";

export type Program = "tortie" | "calicoctl";

/** The lines for standard error, each with its line end. */
export function told(error: Error, program: Program, io: Io): string {
  if (program === "calicoctl") return `${lines(calicoctlText(error)).join("\n")}\n`;
  const word = colours(io).red("error:");
  return lines(error.message).map((line) => `${word} ${line}\n`).join("");
}

/** A message may hold names and values out of the datastore. */
function lines(text: string): string[] {
  return text.split("\n").map((line) => visible(line.replaceAll("\t", " ")));
}

/** A failure in calicoctl's words. */
export function calicoctlText(error: Error): string {
  if (!(error instanceof ResourceError)) return error.message;
  const id = identifier(error.resource);
  switch (error.kind) {
    case "exists":
      return `resource already exists: ${id}`;
    case "notFound":
      return `resource does not exist: ${id}${error.detail ? ` with error: ${error.detail}` : ""}`;
    case "conflict":
      return `update conflict: ${id} (${remedy(error)})`;
    case "refused":
      return `operation is not supported on ${id}: ${remedy(error)}`;
    default:
      return error.message;
  }
}

/** `IPPool "p"` as Calico writes it: `IPPool(p)`. */
function identifier(resource: string): string {
  return resource.replace(/^(\w+) "(.*)"$/s, "$1($2)");
}

function remedy({ resource, message }: ResourceError): string {
  return message.startsWith(`${resource} `) ? message.slice(resource.length + 1) : message;
}
