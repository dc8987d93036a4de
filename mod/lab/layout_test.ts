import assert from "node:assert/strict";
import { formatPrefix } from "../net/mod.ts";
import { hostAddresses, layout, parseFamilies, parseSubnets } from "./layout.ts";
import { LabError } from "./workloads.ts";

const read = (text: string, nodes?: number) =>
  parseSubnets(text, nodes).map((s) => `${formatPrefix(s.cidr)}:${s.nodes}`).join(" ");

Deno.test("subnets are numbers, CIDRs or both", () => {
  assert.equal(read("2,1"), "10.10.1.0/24:2 10.10.2.0/24:1");
  assert.equal(read("192.168.5.0/24:2,192.168.6.0/25:1"), "192.168.5.0/24:2 192.168.6.0/25:1");
  assert.equal(read("192.168.5.0/24,192.168.6.0/24", 3), "192.168.5.0/24:2 192.168.6.0/24:1");
  assert.equal(read("192.168.5.0/24,1", 4), "192.168.5.0/24:3 10.10.2.0/24:1");
  assert.equal(read("2,1", 3), "10.10.1.0/24:2 10.10.2.0/24:1");
  assert.equal(read("192.168.5.0/24"), "192.168.5.0/24:1");
});

Deno.test("subnets that cannot be are named", () => {
  const wrong = (text: string, message: RegExp, nodes?: number) =>
    assert.throws(() => read(text, nodes), (e) => e instanceof LabError && message.test(e.message));
  wrong("", /"" is not a number/);
  wrong("0", /"0" is not/);
  wrong("2,x", /"x" is not/);
  wrong("fd00::/64:2", /is not a number/);
  wrong("10.0.0.0/29:2", /is not a number/);
  wrong("10.0.0.0/28:9", /no room for 9/);
  wrong("2,1", /does not go with --nodes 4/, 4);
  wrong("10.1.0.0/24,10.2.0.0/24", /does not go with --nodes 1/, 1);
});

Deno.test("names and directories of a lab begin with its own", () => {
  const plan = layout("x", parseSubnets("1,1"), [4], "/run/l");
  assert.deepEqual(plan.nodes.map((n) => [n.name, n.namespace, n.addresses, n.directory]), [
    ["node1", "tortie-x-node1", ["10.10.1.11/24"], "/run/l/x/node1"],
    ["node2", "tortie-x-node2", ["10.10.2.11/24"], "/run/l/x/node2"],
  ]);
  for (const name of ["", "a-b", "A", "a".repeat(17)]) {
    assert.throws(() => layout(name, []), LabError);
  }
});

Deno.test("with IPv6 every subnet has a /64 too, or that alone", () => {
  const plan = (families: string) => layout("x", parseSubnets("2,1"), parseFamilies(families));
  const dual = plan("ipv6,IPv4");
  assert.deepEqual(dual.families, [4, 6]);
  assert.deepEqual(dual.nodes.map((n) => n.addresses), [
    ["10.10.1.11/24", "fd00:10:10:1::11/64"],
    ["10.10.1.12/24", "fd00:10:10:1::12/64"],
    ["10.10.2.11/24", "fd00:10:10:2::11/64"],
  ]);
  assert.deepEqual(dual.subnets[1].routers, ["10.10.2.1/24", "fd00:10:10:2::1/64"]);
  assert.deepEqual(plan("IPv6").nodes[2].addresses, ["fd00:10:10:2::11/64"]);
  assert.deepEqual(plan("IPv4").subnets[0].routers, ["10.10.1.1/24"]);
  for (
    const [text, message] of [["ipv5", /"ipv5" is neither/], ["", /neither/], [
      "ipv6,IPv6",
      /twice/,
    ]]
  ) {
    assert.throws(
      () => parseFamilies(text as string),
      (e) => e instanceof LabError && (message as RegExp).test(e.message),
    );
  }
});

Deno.test("a host number is an address of each family in its subnet", () => {
  const { subnets } = layout("x", parseSubnets("2,192.168.5.64/28:1"), [4, 6]);
  assert.deepEqual(hostAddresses(subnets[0], 40), ["10.10.1.40/24", "fd00:10:10:1::40/64"]);
  assert.deepEqual(hostAddresses(subnets[1], 14), ["192.168.5.78/28", "fd00:10:10:2::14/64"]);
  for (const [n, last] of [[0, 1], [0, 256], [1, 16]]) {
    assert.throws(() => hostAddresses(subnets[n], last), LabError);
  }
});
