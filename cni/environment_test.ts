import assert from "node:assert/strict";
import { parseAttachment, parseCommand } from "./environment.ts";
import { CniError } from "./errors.ts";

const env = { CNI_CONTAINERID: "c1", CNI_IFNAME: "eth0", CNI_NETNS: "/run/netns/x" };

function refused(what: () => unknown, variable: string): void {
  assert.throws(
    what,
    (e) => e instanceof CniError && e.code === 4 && e.message.includes(variable),
    variable,
  );
}

Deno.test("environment: the command is one of six, and its case matters", () => {
  assert.equal(parseCommand({ CNI_COMMAND: "ADD" }), "ADD");
  for (const command of ["", "add", "FROB", "ADD "]) {
    refused(() => parseCommand({ CNI_COMMAND: command }), "CNI_COMMAND");
  }
  refused(() => parseCommand({}), "CNI_COMMAND");
});

Deno.test("environment: what a command needs must be there", () => {
  refused(() => parseAttachment("ADD", { ...env, CNI_CONTAINERID: "" }), "CNI_CONTAINERID");
  refused(() => parseAttachment("ADD", { ...env, CNI_IFNAME: "" }), "CNI_IFNAME");
  refused(() => parseAttachment("ADD", { ...env, CNI_NETNS: "" }), "CNI_NETNS");
  refused(() => parseAttachment("CHECK", { ...env, CNI_NETNS: "" }), "CNI_NETNS");
  assert.equal(parseAttachment("DEL", { ...env, CNI_NETNS: "" }).netns, undefined);
});

Deno.test("environment: container IDs that the specification or our names forbid", () => {
  for (const id of ["a/b", "-a", "_a", ".a", "ä", "a b", "a-", "x".repeat(201)]) {
    refused(() => parseAttachment("ADD", { ...env, CNI_CONTAINERID: id }), "CNI_CONTAINERID");
  }
  for (const id of ["a", "A1_b.c-d", "x".repeat(64)]) {
    assert.equal(parseAttachment("ADD", { ...env, CNI_CONTAINERID: id }).containerId, id);
  }
});

Deno.test("environment: interface names that the kernel or our names forbid", () => {
  const wrong = ["e".repeat(16), "ä".repeat(8), "a/b", "a:b", "a b", ".", "..", "a\n", "-a", "lo"];
  for (const name of wrong) {
    refused(() => parseAttachment("ADD", { ...env, CNI_IFNAME: name }), "CNI_IFNAME");
  }
  for (const name of ["e".repeat(15), "eth0.1", "net_1"]) {
    assert.equal(parseAttachment("ADD", { ...env, CNI_IFNAME: name }).ifname, name);
  }
});
