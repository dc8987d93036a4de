/** rtnetlink: links, addresses, routes, rules, neighbours; read, changed, watched. */
export * from "./command.ts";
export * from "./values.ts";
export * from "./link.ts";
export * from "./address.ts";
export * from "./route.ts";
export * from "./rule.ts";
export * from "./neighbour.ts";
export * from "./socket.ts";
export * from "./events.ts";
