/**
 * What a CNI plugin says when it could not do what it was asked (CNI SPEC 1.1.0, section 5).
 *
 * Codes 0 to 99 belong to the specification; our own begin at 100, one for each kind of trouble that
 * a runtime or a person may want to tell apart. `msg` is one sentence: what is wrong, with which
 * object, and what to do about it. Runtimes show `msg` in the pod's events, so it must stand alone.
 */

/** Codes of the specification and, from 100, our own. */
export const CniCode = {
  /** The configuration's cniVersion is not served, or the command came with a later version. */
  incompatibleVersion: 1,
  /** A CNI_ variable is missing or wrong; `msg` names it. */
  environment: 4,
  /** Reading or writing failed: a file, a socket. */
  io: 5,
  /** Standard input is not JSON, or is too large. */
  decode: 6,
  /** The network configuration is understood and wrong. */
  configuration: 7,
  /** Passing trouble: the runtime should try again later. */
  tryAgain: 11,
  /** STATUS: no ADD can succeed now. */
  unavailable: 50,
  /** STATUS: pods that are there may have lost their connections. */
  limited: 51,
  /** The pod's interface, or this very attachment, is there already. */
  exists: 100,
  /** No address could be given: pools missing, disabled, exhausted or not those asked for. */
  addresses: 101,
  /** An annotation of the pod or its namespace cannot be followed. */
  annotation: 102,
  /** The kernel refused. */
  kernel: 103,
  /** The datastore refused for good. */
  datastore: 104,
  /** CHECK found that the attachment is not what ADD left. */
  check: 105,
  /** A bug of ours. */
  internal: 199,
} as const;

export type CniCode = typeof CniCode[keyof typeof CniCode];

/** The only thing that CNI code throws on purpose. */
export class CniError extends Error {
  override readonly name = "CniError";
  constructor(
    readonly code: CniCode,
    message: string,
    /** A longer text for people who look closer. */
    readonly details?: string,
    options?: ErrorOptions,
  ) {
    super(message, options);
  }
}

/** The error object of the specification, as it goes to standard output. */
export function errorBody(version: string, error: CniError): string {
  const body: Record<string, unknown> = {
    cniVersion: version,
    code: error.code,
    msg: error.message,
  };
  if (error.details) body.details = error.details;
  return JSON.stringify(body) + "\n";
}

/** Anything that was thrown as a CniError: our own as it is, the rest as the given code. */
export function asCniError(
  thrown: unknown,
  code: CniCode = CniCode.internal,
  context?: string,
): CniError {
  if (thrown instanceof CniError) return thrown;
  const text = thrown instanceof Error ? thrown.message : String(thrown);
  const details = code === CniCode.internal && thrown instanceof Error ? thrown.stack : undefined;
  return new CniError(code, context ? `${context}: ${text}` : text, details, { cause: thrown });
}
