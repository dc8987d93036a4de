/** The netlink envelope: messages, attributes, acknowledgements, dumps, and what carries them. */
export * from "./constants.ts";
export * from "./encoder.ts";
export * from "./decoder.ts";
export * from "./acknowledgement.ts";
export * from "./transport.ts";
export * from "./connection.ts";
export * from "./fake.ts";
export * from "./socket.ts";
