import assert from "node:assert/strict";
import { formatIp, mustIp } from "../../mod/net/mod.ts";
import { CniError } from "../errors.ts";
import { givesFamily, type HostLocalConf, parseHostLocal, resolveSets } from "./conf.ts";
import { candidates, formatSet } from "./ranges.ts";

const sets = (ipam: Record<string, unknown>, podCidrs: string[] = []) =>
  resolveSets(parseHostLocal(ipam), podCidrs);

Deno.test("host-local: a subnet's gateway is its first address, its range what is left", () => {
  const [[range]] = sets({ subnet: "10.1.0.0/29" });
  assert.equal(formatIp(range.gateway), "10.1.0.1");
  assert.equal(formatSet([range]), "10.1.0.1-10.1.0.6");
  const [[six]] = sets({ ranges: [[{ subnet: "fd00::/126", gateway: "fd00::2" }]] });
  assert.equal(formatSet([six]), "fd00::1-fd00::3");
  assert.equal(formatIp(six.gateway), "fd00::2");
});

Deno.test("host-local: the search goes round from behind the last address, gateways left out", () => {
  const all = (ipam: Record<string, unknown>, last?: string) =>
    [...candidates(sets(ipam)[0], last ? mustIp(last) : undefined)].map(({ ip }) => formatIp(ip));
  const subnet = { subnet: "10.1.0.0/29" };
  assert.deepEqual(all(subnet), ["2", "3", "4", "5", "6"].map((n) => `10.1.0.${n}`));
  assert.deepEqual(all(subnet, "10.1.0.4"), ["5", "6", "2", "3", "4"].map((n) => `10.1.0.${n}`));
  assert.deepEqual(all(subnet, "10.9.0.4"), all(subnet));
  const two = {
    ranges: [[
      { subnet: "10.1.0.0/29", rangeStart: "10.1.0.5" },
      { subnet: "10.2.0.0/29", rangeEnd: "10.2.0.2" },
    ]],
  };
  assert.deepEqual(all(two, "10.1.0.6"), ["10.2.0.2", "10.1.0.5", "10.1.0.6"]);
});

Deno.test("host-local: the node's own network stands in for usePodCidr, in any letters", () => {
  const conf = parseHostLocal({
    ranges: [[{ subnet: "USEPODCIDR" }], [{ subnet: "usePodCidrIPv6" }]],
  });
  assert.deepEqual([givesFamily(conf, 4), givesFamily(conf, 6)], [true, true]);
  assert.equal(
    resolveSets(conf, ["fd00:1::/64", "10.7.3.0/24"]).map(formatSet).join(" "),
    "10.7.3.1-10.7.3.254 fd00:1::1-fd00:1::ffff:ffff:ffff:ffff",
  );
  assert.throws(
    () => resolveSets(conf, ["10.7.3.0/24"]),
    (e) =>
      e instanceof CniError && e.code === 7 &&
      /the Node has no IPv6 network among its podCIDRs/.test(e.message),
  );
});

Deno.test("host-local: what cannot be used is refused with its field", () => {
  const wrong: [Record<string, unknown>, RegExp][] = [
    [{}, /ipam\.ranges is missing/],
    [{ rangeStart: "10.1.0.1" }, /ipam\.ranges is missing/],
    [{ subnet: "10.1.0.1/29" }, /host bits set: the network is 10\.1\.0\.0\/29/],
    [{ subnet: "10.1.0.0/31" }, /too small/],
    [{ subnet: "x" }, /neither a CIDR nor usePodCidr/],
    [{ subnet: 7 }, /ipam\.subnet must be a text/],
    [{ subnet: "10.1.0.0/30", rangeStart: "10.1.0.9" }, /rangeStart 10\.1\.0\.9 is not in/],
    [{ subnet: "10.1.0.0/24", rangeEnd: "10.1.0.2", rangeStart: "10.1.0.3" }, /comes after/],
    [{ subnet: "10.1.0.0/24", gateway: "x" }, /ipam\.gateway "x" is not an IP address/],
    [{ ranges: [[]] }, /ranges\[0\] is empty/],
    [{ ranges: [{}] }, /ipam\.ranges\[0\] must be a list/],
    [{ ranges: [["x"]] }, /ipam\.ranges\[0\]\[0\] must be an object/],
    [{ ranges: [[{ subnet: "10.1.0.0/24" }, { subnet: "fd00::/64" }]] }, /mixes IPv4 and IPv6/],
    [{ ranges: [[{ subnet: "10.1.0.0/24" }, { subnet: "10.1.0.0/25" }]] }, /overlap/],
    [{ ranges: [[{ subnet: "10.1.0.0/24" }], [{ subnet: "10.2.0.0/24" }]] }, /one address of each/],
    [{ subnet: "10.1.0.0/24", dataDir: "x" }, /ipam\.dataDir must be an absolute path/],
  ];
  for (const [ipam, words] of wrong) {
    assert.throws(
      () => resolveSets(parseHostLocal(ipam) as HostLocalConf, []),
      (e) => e instanceof CniError && e.code === 7 && words.test(e.message),
      JSON.stringify(ipam),
    );
  }
});
