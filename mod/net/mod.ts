/** Addresses and prefixes as values; every room may import this one. */
export * from "./ip.ts";
export * from "./prefix.ts";
