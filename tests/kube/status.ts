/**
 * What the server answers when it does not do what was asked: a `Status` object with code, reason,
 * message and details, as "Response Status Kind" of the API conventions lists them. Each function makes
 * one kind of failure; `ApiError` carries it through the server to the one place that answers.
 */
import { toJson } from "./object.ts";
import type { ResourceKind } from "./resource_kind.ts";

export interface Cause {
  reason: string;
  message: string;
  field?: string;
}

export interface StatusDetails {
  name?: string;
  group?: string;
  /** Plural of the resource; the kind in `Invalid`. */
  kind?: string;
  uid?: string;
  causes?: Cause[];
  retryAfterSeconds?: number;
}

export interface Status {
  kind: "Status";
  apiVersion: "v1";
  metadata: { continue?: string };
  status: "Success" | "Failure";
  message?: string;
  reason?: string;
  details?: StatusDetails;
  code?: number;
}

export class ApiError extends Error {
  constructor(readonly status: Status) {
    super(status.message);
  }

  get code(): number {
    return this.status.code!;
  }
}

export function failure(
  code: number,
  reason: string,
  message: string,
  details?: StatusDetails,
): ApiError {
  return new ApiError({
    kind: "Status",
    apiVersion: "v1",
    metadata: {},
    status: "Failure",
    message,
    ...(reason === "" ? {} : { reason }),
    ...(details ? { details } : {}),
    code,
  });
}

type Of = Pick<ResourceKind, "group" | "plural" | "kind">;

/** `pods`, `ippools.crd.projectcalico.org`. */
export const qualified = (of: Of) => of.group === "" ? of.plural : `${of.plural}.${of.group}`;

const detailsOf = (of: Of, name: string): StatusDetails => ({
  ...(name === "" ? {} : { name }),
  ...(of.group === "" ? {} : { group: of.group }),
  kind: of.plural,
});

export const badRequest = (message: string) => failure(400, "BadRequest", message);
export const unauthorized = () => failure(401, "Unauthorized", "Unauthorized");
export const notFound = (of: Of, name: string) =>
  failure(404, "NotFound", `${qualified(of)} "${name}" not found`, detailsOf(of, name));
export const noSuchResource = () =>
  failure(404, "NotFound", "the server could not find the requested resource", {});
export const methodNotAllowed = () =>
  failure(
    405,
    "MethodNotAllowed",
    "the server does not allow this method on the requested resource",
    {},
  );
export const notAcceptable = () =>
  failure(
    406,
    "NotAcceptable",
    "only the following media types are accepted: application/json",
  );
export const alreadyExists = (of: Of, name: string) =>
  failure(409, "AlreadyExists", `${qualified(of)} "${name}" already exists`, detailsOf(of, name));
export const conflict = (of: Of, name: string, why: string) =>
  failure(
    409,
    "Conflict",
    `Operation cannot be fulfilled on ${qualified(of)} "${name}": ${why}`,
    detailsOf(of, name),
  );
export const stale = (of: Of, name: string) =>
  conflict(
    of,
    name,
    "the object has been modified; please apply your changes to the latest version and try again",
  );
export const unsupportedMediaType = (accepted: string[]) =>
  failure(
    415,
    "UnsupportedMediaType",
    "the body of the request was in an unknown format - accepted media types include: " +
      accepted.join(", "),
  );
export const tooLarge = (limit: number) =>
  failure(
    413,
    "RequestEntityTooLarge",
    `Request entity too large: limit is ${limit}`,
  );
export const expired = (message: string) => failure(410, "Expired", message);
/** A patch that does not fit the object that it is for. */
export const unprocessable = () =>
  failure(
    422,
    "Invalid",
    "the server rejected our request due to an error in our request",
    {},
  );
export const forbidden = (of: Of, name: string, why: string, causes?: Cause[]) =>
  failure(403, "Forbidden", `${qualified(of)}${name && ` "${name}"`} is forbidden: ${why}`, {
    ...detailsOf(of, name),
    ...(causes ? { causes } : {}),
  });
export const tooManyRequests = (seconds: number) =>
  failure(
    429,
    "TooManyRequests",
    "the server has received too many requests and has asked us to try again later",
    { retryAfterSeconds: seconds },
  );
export const internal = (message: string) =>
  failure(500, "InternalError", `Internal error occurred: ${message}`, {
    causes: [{ reason: "", message }],
  });
export const futureRevision = (wanted: number, current: number) =>
  failure(504, "Timeout", `Too large resource version: ${wanted}, current: ${current}`, {
    causes: [{ reason: "ResourceVersionTooLarge", message: "Too large resource version" }],
    retryAfterSeconds: 1,
  });

/** One fault of a field, as a cause of `Invalid`. */
export interface FieldError {
  reason:
    | "FieldValueRequired"
    | "FieldValueInvalid"
    | "FieldValueNotSupported"
    | "FieldValueForbidden"
    | "FieldValueDuplicate"
    | "FieldValueTooLong"
    | "FieldValueTooMany"
    | "FieldValueTypeInvalid";
  field: string;
  /** With the words of the reason: `Required value`, `Invalid value: "x": must be …`. */
  message: string;
}

export const required = (field: string, detail = ""): FieldError => ({
  reason: "FieldValueRequired",
  field,
  message: `Required value${detail && `: ${detail}`}`,
});
export const invalidValue = (field: string, value: unknown, detail: string): FieldError => ({
  reason: "FieldValueInvalid",
  field,
  message: `Invalid value: ${toJson(value)}: ${detail}`,
});
export const typeInvalid = (field: string, value: unknown, detail: string): FieldError => ({
  reason: "FieldValueTypeInvalid",
  field,
  message: `Invalid value: ${toJson(value)}: ${detail}`,
});
export const notSupported = (field: string, value: unknown, allowed: unknown[]): FieldError => ({
  reason: "FieldValueNotSupported",
  field,
  message: `Unsupported value: ${toJson(value)}: supported values: ${
    allowed.map((a) => toJson(a)).join(", ")
  }`,
});
export const forbiddenField = (field: string, detail: string): FieldError => ({
  reason: "FieldValueForbidden",
  field,
  message: `Forbidden: ${detail}`,
});

export const tooLong = (field: string, limit: number): FieldError => ({
  reason: "FieldValueTooLong",
  field,
  message: `Too long: may not be more than ${limit} bytes`,
});

export function invalid(group: string, kind: string, name: string, errors: FieldError[]): ApiError {
  const full = group === "" ? kind : `${kind}.${group}`;
  const lines = errors.map((e) => `${e.field}: ${e.message}`);
  const text = lines.length === 1 ? lines[0] : `[${lines.join(", ")}]`;
  return failure(422, "Invalid", `${full} "${name}" is invalid: ${text}`, {
    ...(name === "" ? {} : { name }),
    ...(group === "" ? {} : { group }),
    kind,
    causes: errors.map(({ reason, message, field }) => ({ reason, message, field })),
  });
}

/** Success of a deletion. */
export function deleted(of: Of, name: string, uid: string | undefined): Status {
  return {
    kind: "Status",
    apiVersion: "v1",
    metadata: {},
    status: "Success",
    details: { ...detailsOf(of, name), ...(uid ? { uid } : {}) },
  };
}
