/**
 * What the kernel said no to. Every call into libc and every netlink answer with an error becomes a
 * KernelError: the errno, its name, what was tried, on what, and the kernel's own words where it gave
 * any (netlink's extended acknowledgement). Callers branch on `code` ("EEXIST", "ESRCH"), people read
 * `message`. Pure: nothing here touches the kernel.
 */

/** Linux errno numbers (x86-64 and arm64 agree) with the meaning that people know from strerror(3). */
const errnoTable: readonly (readonly [number, string, string])[] = [
  [1, "EPERM", "operation not permitted"],
  [2, "ENOENT", "no such file or object"],
  [3, "ESRCH", "no such process or route"],
  [4, "EINTR", "interrupted"],
  [5, "EIO", "input/output error"],
  [6, "ENXIO", "no such device or address"],
  [7, "E2BIG", "argument list too long"],
  [9, "EBADF", "bad file descriptor"],
  [10, "ECHILD", "no child process"],
  [11, "EAGAIN", "try again"],
  [12, "ENOMEM", "out of memory"],
  [13, "EACCES", "permission denied"],
  [14, "EFAULT", "bad address"],
  [16, "EBUSY", "busy"],
  [17, "EEXIST", "exists already"],
  [18, "EXDEV", "crosses devices"],
  [19, "ENODEV", "no such device"],
  [20, "ENOTDIR", "not a directory"],
  [21, "EISDIR", "is a directory"],
  [22, "EINVAL", "invalid argument"],
  [23, "ENFILE", "too many open files in the system"],
  [24, "EMFILE", "too many open files"],
  [25, "ENOTTY", "wrong kind of file for this request"],
  [26, "ETXTBSY", "text file busy"],
  [27, "EFBIG", "file too large"],
  [28, "ENOSPC", "no space left"],
  [30, "EROFS", "read-only file system"],
  [31, "EMLINK", "too many links, or a loop"],
  [32, "EPIPE", "broken pipe"],
  [33, "EDOM", "out of the domain"],
  [34, "ERANGE", "out of range"],
  [36, "ENAMETOOLONG", "name too long"],
  [38, "ENOSYS", "not implemented by this kernel"],
  [39, "ENOTEMPTY", "directory not empty"],
  [40, "ELOOP", "too many symbolic links"],
  [61, "ENODATA", "no data"],
  [62, "ETIME", "timer expired"],
  [71, "EPROTO", "protocol error"],
  [74, "EBADMSG", "bad message"],
  [75, "EOVERFLOW", "value too large"],
  [85, "ERESTART", "generation has changed, start again"],
  [88, "ENOTSOCK", "not a socket"],
  [89, "EDESTADDRREQ", "destination address required"],
  [90, "EMSGSIZE", "message too long"],
  [91, "EPROTOTYPE", "wrong protocol type"],
  [92, "ENOPROTOOPT", "protocol option not available"],
  [93, "EPROTONOSUPPORT", "protocol not supported"],
  [94, "ESOCKTNOSUPPORT", "socket type not supported"],
  [95, "EOPNOTSUPP", "not supported by this kernel"],
  [97, "EAFNOSUPPORT", "address family not supported"],
  [98, "EADDRINUSE", "address already in use"],
  [99, "EADDRNOTAVAIL", "address not on this machine"],
  [100, "ENETDOWN", "network is down"],
  [101, "ENETUNREACH", "network is unreachable"],
  [102, "ENETRESET", "network dropped the connection"],
  [103, "ECONNABORTED", "connection aborted"],
  [104, "ECONNRESET", "connection reset by peer"],
  [105, "ENOBUFS", "no buffer space, messages were lost"],
  [106, "EISCONN", "already connected"],
  [107, "ENOTCONN", "not connected"],
  [110, "ETIMEDOUT", "timed out"],
  [111, "ECONNREFUSED", "connection refused"],
  [112, "EHOSTDOWN", "host is down"],
  [113, "EHOSTUNREACH", "no route to host"],
  [114, "EALREADY", "already in progress"],
  [115, "EINPROGRESS", "in progress"],
  [125, "ECANCELED", "given up on our side"],
];

const byNumber = new Map(errnoTable.map(([n, code, text]) => [n, { code, text }]));
const byCode = new Map(errnoTable.map(([n, code]) => [code, n]));

/** `17` -> `"EEXIST"`; a number that has no name here -> `"E<number>"`. */
export function errnoCode(errno: number): string {
  return byNumber.get(errno)?.code ?? `E${errno}`;
}

/** `17` -> `"exists already"`. */
export function errnoText(errno: number): string {
  return byNumber.get(errno)?.text ?? `error ${errno}`;
}

/** `"EEXIST"` -> `17`; 0 for a name that is not in the table. */
export function errnoNumber(code: string): number {
  return byCode.get(code) ?? 0;
}

/** More of what is known about a refusal. */
export interface KernelErrorDetail {
  /** The kernel's own words (netlink extended acknowledgement), or ours where it has none. */
  readonly detail?: string;
  /** Offset of the offending attribute within its netlink message, from the message's header. */
  readonly attributeOffset?: number;
  /** Sequence number of the refused netlink message. */
  readonly sequence?: number;
}

/**
 * A refusal by the kernel. `message` reads
 * `<operation>: <text> (<code>)[: <detail>]`,
 * for example `add route 10.0.0.0/24 via 172.31.255.1: network is unreachable (ENETUNREACH): Nexthop
 * has invalid gateway`.
 */
export class KernelError extends Error {
  override readonly name = "KernelError";
  /** The name of the errno: `"EEXIST"`. */
  readonly code: string;
  readonly detail?: string;
  readonly attributeOffset?: number;
  readonly sequence?: number;

  constructor(
    /** Positive errno. */
    readonly errno: number,
    /** What was tried, with its object: `"add link cali1234"`. */
    readonly operation: string,
    more: KernelErrorDetail = {},
  ) {
    const code = errnoCode(errno);
    super(
      `${operation}: ${errnoText(errno)} (${code})${more.detail ? `: ${more.detail}` : ""}`,
    );
    this.code = code;
    this.detail = more.detail;
    this.attributeOffset = more.attributeOffset;
    this.sequence = more.sequence;
  }

  /** The same refusal under a better description of what was tried. */
  during(operation: string): KernelError {
    return new KernelError(this.errno, operation, this);
  }
}

/** Is `error` a KernelError with one of these codes? */
export function isKernelError(error: unknown, ...codes: string[]): error is KernelError {
  return error instanceof KernelError && (codes.length === 0 || codes.includes(error.code));
}
