/**
 * `bgp refresh`: asks peers to tell their routes again (RFC 2918), without a session being reset. It is
 * never needed for a change of ours, for what peers have said is kept as they said it; it is for an
 * operator who doubts that the two ends agree, or whose peer keeps back what it should have sent.
 */
import type { Call } from "./command.ts";
import { EXIT, failure } from "./io.ts";
import { askNode, type RefreshAnswer } from "./node_api.ts";

export async function run(call: Call): Promise<number> {
  const wanted: readonly (string | undefined)[] = call.args.length > 0 ? call.args : [undefined];
  const answers: RefreshAnswer[] = [];
  for (const peer of wanted) {
    answers.push(
      ...await askNode<RefreshAnswer[]>(call, "bgp.refresh", peer === undefined ? {} : { peer }),
    );
  }
  if (answers.length === 0) throw failure("this node has no BGP peer that could be asked");
  let failed = false;
  for (const { name, address, families, fault } of answers) {
    const who = `${address} (${name})`;
    if (fault === undefined) {
      call.io.stdout(`${who}: asked for its ${families.join(" and ")} routes\n`);
    } else {
      // Of all peers those count that can be asked.
      if (call.args.length > 0) failed = true;
      call.io.stderr(`${who}: not asked: ${fault}\n`);
    }
  }
  return failed || answers.every(({ fault }) => fault !== undefined) ? EXIT.failed : EXIT.ok;
}
