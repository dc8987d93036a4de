/** The states of a BGP session (RFC 4271 section 8.2.2). */
export type SessionState =
  | "Idle"
  | "Connect"
  | "Active"
  | "OpenSent"
  | "OpenConfirm"
  | "Established";
