/**
 * The kernel room's doors in one place. Nothing here opens a library, a socket or a file before it is
 * used; a role that needs one part alone imports that part's own file. nf_tables and connection
 * tracking have doors of their own (`nft/`, `conntrack.ts`).
 */
export * from "./errors.ts";
export * from "./file.ts";
export * from "./netns.ts";
export * from "./sysctl.ts";
export * from "./netlink/mod.ts";
export * from "./route/mod.ts";
export * from "./reactor.ts";
export * from "./stream.ts";
export * from "./unix.ts";
export * from "./tcp.ts";
export * from "./datagram.ts";
export * from "./process.ts";
export { configureLibnl, libnl } from "./libnl.ts";
