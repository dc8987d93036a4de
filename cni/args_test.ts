import assert from "node:assert/strict";
import { formatIp } from "../mod/net/mod.ts";
import { parseArgs } from "./args.ts";
import { CniError } from "./errors.ts";

Deno.test("CNI_ARGS: the pod, its uid and addresses are read, the rest is ignored", () => {
  const args = parseArgs(
    "IgnoreUnknown=1;K8S_POD_NAMESPACE=blue;K8S_POD_NAME=web-0;K8S_POD_UID=u1;" +
      "K8S_POD_INFRA_CONTAINER_ID=abc;FOO=bar=baz;IP=10.0.0.7/24, fd00::7",
  );
  assert.deepEqual(args.pod, { namespace: "blue", name: "web-0" });
  assert.equal(args.podUid, "u1");
  assert.deepEqual(args.addresses.map(formatIp), ["10.0.0.7", "fd00::7"]);
});

Deno.test("CNI_ARGS: empty text and empty parts are no arguments", () => {
  for (const text of ["", ";", "A=;", "K8S_POD_NAME=;K8S_POD_NAMESPACE="]) {
    assert.deepEqual(parseArgs(text), { pod: undefined, podUid: undefined, addresses: [] });
  }
});

Deno.test("CNI_ARGS: what cannot be used is refused with code 4 and names the variable", () => {
  const wrong = [
    "justtext",
    "=x",
    "K8S_POD_NAME=web",
    "K8S_POD_NAMESPACE=blue",
    "K8S_POD_NAME=../etc;K8S_POD_NAMESPACE=blue",
    "K8S_POD_NAME=web;K8S_POD_NAMESPACE=a/b",
    "K8S_POD_NAME=web;K8S_POD_NAMESPACE=" + "n".repeat(64),
    "IP=10.0.0.256",
    "IP=10.0.0.1,10.0.0.2",
  ];
  for (const text of wrong) {
    assert.throws(
      () => parseArgs(text),
      (e) => e instanceof CniError && e.code === 4 && e.message.startsWith("CNI_ARGS "),
      text,
    );
  }
});
