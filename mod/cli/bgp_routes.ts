/** `bgp routes`: the table of this machine's speaker, live, with the reason of each choice. */
import { parsePrefix } from "../net/mod.ts";
import { type Call, flagOption, textOption } from "./command.ts";
import { EXIT, usageError } from "./io.ts";
import { askNode, type RouteStatus } from "./node_api.ts";
import { tabbed } from "./tables.ts";

export async function run(call: Call): Promise<number> {
  const format = textOption(call, "output") ?? "ps";
  if (!["ps", "wide", "json"].includes(format)) {
    throw usageError(`-o ${format}: want ps, wide or json`);
  }
  const [prefix] = call.args;
  if (prefix !== undefined && !parsePrefix(prefix)) {
    throw usageError(`"${prefix}" is not a prefix; want one such as 10.244.1.0/26`);
  }
  const params = prefix === undefined ? {} : { prefix };
  const all = await askNode<RouteStatus[]>(call, "bgp.routes", params);
  const routes = flagOption(call, "best") ? all.filter((route) => route.best || route.used) : all;
  call.io.stdout(
    format === "json"
      ? `${JSON.stringify(routes, null, 2)}\n`
      : routesTable(routes, format === "wide"),
  );
  return EXIT.ok;
}

/** `*` marks the best way, `=` one that is used beside it, `S` one of a peer that is restarting. */
export function routesTable(routes: readonly RouteStatus[], wide: boolean): string {
  const headings = ["", "PREFIX", "NEXT-HOP", "FROM", "AS-PATH", "REASON"];
  const more = ["ORIGIN", "LOCAL-PREF", "MED", "COMMUNITIES"];
  const rows = routes.map((route) => [
    `${route.best ? "*" : route.used ? "=" : " "}${route.stale ? "S" : ""}`,
    route.prefix,
    route.nextHop,
    route.peer ?? `own${route.tag ? ` (${route.tag})` : ""}`,
    route.asPath,
    route.reason,
    ...(wide
      ? [
        route.origin,
        String(route.localPref ?? ""),
        String(route.med ?? ""),
        [...route.communities, ...route.largeCommunities].join(" "),
      ]
      : []),
  ]);
  return `${tabbed([wide ? [...headings, ...more] : headings, ...rows])}\n`;
}
