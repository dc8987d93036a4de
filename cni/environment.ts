/**
 * The CNI_ variables of a call (CNI SPEC 1.1.0, section 2), judged before anything is done: the
 * command, the container ID, the interface name, the path of the network namespace, CNI_ARGS.
 *
 * Each refusal has code 4 and names the variable. Which variables a command needs: ADD and CHECK
 * container, interface and namespace; DEL container and interface (the namespace may be gone);
 * GC, STATUS and VERSION none.
 */

import { type CniArgs, parseArgs } from "./args.ts";
import { CniCode, CniError } from "./errors.ts";

export const COMMANDS = ["ADD", "DEL", "CHECK", "GC", "STATUS", "VERSION"] as const;
export type CniCommand = typeof COMMANDS[number];

/** One interface of one container: what ADD attaches and DEL detaches. */
export interface Attachment {
  readonly containerId: string;
  /** Name of the interface inside the container. */
  readonly ifname: string;
  /** Path of the network namespace; undefined where DEL came without one. */
  readonly netns: string | undefined;
  readonly args: CniArgs;
}

/** The command of a call. The case matters, as the specification says. */
export function parseCommand(env: Readonly<Record<string, string>>): CniCommand {
  const command = env.CNI_COMMAND ?? "";
  const found = COMMANDS.find((c) => c === command);
  if (found) return found;
  throw new CniError(
    CniCode.environment,
    command === ""
      ? `CNI_COMMAND is not set: set it to one of ${COMMANDS.join(", ")}.`
      : `CNI_COMMAND ${JSON.stringify(shorten(command))} is not a command: use one of ${
        COMMANDS.join(", ")
      }.`,
  );
}

/** The attachment that ADD, DEL or CHECK speaks of. */
export function parseAttachment(
  command: "ADD" | "DEL" | "CHECK",
  env: Readonly<Record<string, string>>,
): Attachment {
  const missing = ["CNI_CONTAINERID", "CNI_IFNAME"].filter((name) => !env[name]);
  if (command !== "DEL" && !env.CNI_NETNS) missing.push("CNI_NETNS");
  if (missing.length > 0) {
    throw new CniError(
      CniCode.environment,
      `${missing.join(" and ")} ${missing.length > 1 ? "are" : "is"} not set: ${command} needs ${
        missing.length > 1 ? "them" : "it"
      }.`,
    );
  }
  return {
    containerId: checkContainerId(env.CNI_CONTAINERID),
    ifname: checkIfname(env.CNI_IFNAME),
    netns: env.CNI_NETNS || undefined,
    args: parseArgs(env.CNI_ARGS ?? ""),
  };
}

/** A container ID that the specification allows and that Calico's names can hold. */
export function checkContainerId(id: string): string {
  if (!/^[A-Za-z0-9][A-Za-z0-9_.-]*$/.test(id)) {
    throw wrong(
      "CNI_CONTAINERID",
      id,
      "it must begin with a letter or digit and hold only letters, digits, '_', '.' and '-'",
    );
  }
  if (id.endsWith("-") || id.length > 200) {
    throw wrong(
      "CNI_CONTAINERID",
      id,
      "an endpoint's name can hold neither a '-' at its end nor more than 200 characters",
    );
  }
  return id;
}

/** An interface name that the kernel takes (`dev_valid_name`) and Calico's names can hold. */
export function checkIfname(name: string): string {
  const rule = new TextEncoder().encode(name).length > 15
    ? "the kernel takes at most 15 characters"
    : name === "." || name === ".."
    ? "it would be a directory"
    // deno-lint-ignore no-control-regex
    : /[\/:\s\x00-\x1f\x7f]/.test(name)
    ? "it may not hold '/', ':' or white space"
    : name === "lo" || name === "all" || name === "default"
    ? "the name is taken in every namespace"
    : name.startsWith("-") || name.endsWith("-")
    ? "an endpoint's name can hold no '-' at its beginning or end"
    : undefined;
  if (rule) throw wrong("CNI_IFNAME", name, rule);
  return name;
}

function wrong(variable: string, value: string, rule: string): CniError {
  return new CniError(
    CniCode.environment,
    `${variable} ${JSON.stringify(shorten(value))} cannot be used: ${rule}.`,
  );
}

/** Untrusted text as far as a message should carry it. */
export function shorten(text: string, limit = 80): string {
  return text.length <= limit ? text : text.slice(0, limit) + "…";
}
