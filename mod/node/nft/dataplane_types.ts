/** What the dataplane is told, what it tells, and how it fails. */
import type { TableName } from "../../../ffi/nft/client.ts";
import type { Family, Ruleset } from "../../../policy/rules.ts";

export type Rulesets = Readonly<Record<Family, Ruleset>>;

/** What happened, for logs and metrics. */
export type DataplaneEvent =
  /** A transaction was committed. */
  | {
    readonly event: "committed";
    readonly family: Family;
    readonly messages: number;
    readonly bytes: number;
    /** What it was for. */
    readonly reason:
      | "change"
      | "start"
      | "repair"
      | "replace"
      /** The closed skeleton of a table that was gone; the whole follows. */
      | "closed";
  }
  /** Somebody else has touched a table of ours. */
  | {
    readonly event: "foreign";
    readonly family: Family;
    readonly table: string;
    readonly program: string;
  }
  /** What of a family's table cannot be made, in words, is other than before: a whole list each time. */
  | { readonly event: "quarantine"; readonly family: Family; readonly words: readonly string[] }
  /** Notifications were lost; everything is read again. */
  | { readonly event: "lost" }
  /** The tables could not be made what is wanted; they will be tried again, asked or not. */
  | { readonly event: "failed"; readonly error: Error }
  /** They are, after they were touched or could not be. */
  | { readonly event: "settled" }
  | {
    readonly event: "refused";
    readonly family: Family;
    readonly error: Error;
    readonly failures: number;
  };

export interface DataplaneOptions {
  /** Default `calico`. */
  readonly table?: string;
  /** Whether a second table keeps connections tracked while the first is away (tracking.ts). */
  readonly keepTracking?: boolean;
  /** Default 5 and 10. */
  readonly replaceAfter?: number;
  readonly giveUpAfter?: number;
  /** Does work after so many milliseconds, unless it is cancelled. Default setTimeout. */
  readonly later?: (milliseconds: number, work: () => void) => () => void;
  /** Milliseconds of a clock that never goes back. Default performance.now. */
  readonly now?: () => number;
  readonly onEvent?: (event: DataplaneEvent) => void;
  /** Called before the sockets are closed: takes the listener out of the reactor. */
  readonly onClose?: () => void;
}

/** The kernel would not take what policy wants, time and again. `cause` is its last refusal. */
export class DataplaneError extends Error {
  override readonly name = "DataplaneError";
  constructor(readonly family: Family, readonly attempts: number, cause: Error) {
    super(
      `table calico of IPv${family} could not be brought up to date in ${attempts} attempts ` +
        `(it is as it was, or as others left it): ${cause.message}`,
      { cause },
    );
  }
}

/** Our table's name is taken by a table that the kernel lets its maker alone change. */
export class TableOwnedError extends Error {
  override readonly name = "TableOwnedError";
  /** `owner`: the port id of its maker's socket. */
  constructor(readonly table: TableName, readonly owner: number) {
    super(
      `table ${table.family} ${table.name} belongs to another program (flags owner; netlink port ` +
        `${owner}, mostly its process id), and no other may change it: end that program, which takes ` +
        "the table with it",
    );
  }
}
