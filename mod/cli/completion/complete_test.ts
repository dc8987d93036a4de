import assert from "node:assert/strict";
import fc from "fast-check";
import { CALICOCTL_COMMANDS } from "../calicoctl/commands.ts";
import { COMMANDS, GROUPS } from "../commands.ts";
import { complete } from "./complete.ts";
import { calicoctlTree, tortieTree } from "./tree.ts";

const tortie = tortieTree(COMMANDS, GROUPS);
const calicoctl = calicoctlTree(CALICOCTL_COMMANDS);

/** The candidates of a line whose last word is half typed; a blank at its end begins a new word. */
const words = (line: string, root = tortie) =>
  complete(root, line.split(" ")).candidates.map(({ word }) => word);
const ask = (line: string) => complete(tortie, line.split(" ")).ask;

Deno.test("commands, groups and what is below them", () => {
  assert.deepEqual(words("ge"), ["get"]);
  assert.ok(words("").includes("ipam") && words("").includes("completion"));
  assert.deepEqual(words("ipam sh"), ["show"]);
  assert.deepEqual(words("datastore migrate ", calicoctl), ["export", "import", "lock", "unlock"]);
  assert.deepEqual(words("nothing "), []);
});

Deno.test("flags where a dash is typed, without those that are hidden", () => {
  assert.deepEqual(words("get --ou"), ["--output"]);
  assert.deepEqual(words("get ippools pool-a --all"), ["--all-namespaces"]);
  assert.deepEqual(words("get --allow"), []);
  assert.deepEqual(words("--ver"), ["--version"]);
  assert.deepEqual(words("get --context", calicoctl), ["--context"]);
});

Deno.test("values of flags, behind a blank, an = and a letter", () => {
  assert.deepEqual(words("get np -o js"), ["json"]);
  assert.deepEqual(words("get np --output js"), ["json"]);
  assert.deepEqual(words("get np --output=js"), ["--output=json"]);
  assert.deepEqual(words("get np -ojs"), ["-ojson"]);
  assert.deepEqual(words("get np -Ao y"), ["yaml"]);
  assert.deepEqual(words("patch node n -t "), ["strategic", "merge", "json"]);
  assert.deepEqual(words("version -o "), ["text", "json", "yaml"]);
  assert.equal(complete(tortie, ["apply", "-f", ""]).files, true);
  assert.equal(complete(tortie, ["apply", "--filename=a"]).files, true);
  for (const root of [tortie, calicoctl]) {
    assert.deepEqual(words("ipam configure --strictaffinity ", root), ["true", "false"]);
    assert.deepEqual(words("ipam configure --kubevirt-ip-persistence=E", root), [
      "--kubevirt-ip-persistence=Enabled",
    ]);
  }
});

Deno.test("every flag that takes a file or folder offers files", () => {
  for (
    const line of [
      "ipam release --from-report ",
      "ipam check -o ",
      "ipam check --kubeconfig=",
      "datastore migrate import -f ",
      "node diags --log-dir ",
      "node checksystem -f ",
    ]
  ) {
    assert.equal(complete(calicoctl, line.split(" ")).files, true, line);
    if (line.startsWith("datastore")) continue;
    assert.equal(complete(tortie, line.split(" ")).files, true, line);
  }
  // By their notation in the table, none left out.
  for (const { name, options = [] } of COMMANDS.filter(({ hidden }) => !hidden)) {
    for (const { flags } of options) {
      if (!/<(file|folder|path)>/.test(flags)) continue;
      const flag = /--[\w-]+/.exec(flags)![0];
      assert.equal(complete(tortie, [...name.split(" "), flag, ""]).files, true, `${name} ${flag}`);
    }
  }
});

Deno.test("behind help stand commands, and what is below groups", () => {
  for (const root of [tortie, calicoctl]) {
    assert.deepEqual(words("hel", root), ["help"]);
    assert.ok(words("help ", root).includes("ipam"));
    assert.deepEqual(words("help ipam sh", root), ["show"]);
    assert.deepEqual(words("help get ", root), []);
    assert.deepEqual(words("help nothing ", root), []);
  }
});

Deno.test("a flag that is not offered is understood: its value is none of the operands", () => {
  assert.deepEqual(words("get --context x ippo"), ["ippool"]);
  assert.deepEqual(complete(tortie, ["get", "ippool", "--context", ""]), { candidates: [] });
  assert.deepEqual(ask("get --context x ippool p")!.kind, "ippool");
});

Deno.test("kinds by their shortest fitting name, then their names out of the datastore", () => {
  assert.deepEqual(words("get ippo"), ["ippool"]);
  assert.deepEqual(words("get pool"), ["pool"]);
  assert.deepEqual(words("get knp"), ["knp"]);
  const { what, kind, without, partial } = ask("delete ippool a b p")!;
  assert.deepEqual([what, kind, without, partial], ["names", "ippool", ["a", "b"], "p"]);
  assert.deepEqual(ask("get np -n shop --store /x ")!.options, { namespace: "shop", store: "/x" });
  assert.equal(ask("get np -n ")!.what, "namespaces");
  assert.equal(ask("get np --namespace=s")!.prefix, "--namespace=");
  assert.equal(ask("get -- np ")!.what, "names");
});

Deno.test("pools, their CIDRs and nodes are asked for where a flag names them", () => {
  for (const root of [tortie, calicoctl]) {
    const asked = (line: string) => complete(root, line.split(" ")).ask;
    const { what, kind } = asked("ipam split 2 --name ")!;
    assert.deepEqual([what, kind], ["names", "ippool"]);
    assert.equal(asked("ipam split 2 --cidr 10.")!.what, "cidrs");
    const nodes = asked("cluster diags --focus-nodes a,b")!;
    assert.deepEqual([nodes.what, nodes.prefix, nodes.partial], ["nodes", "a,", "b"]);
    assert.ok(nodes.without.includes("a"));
    assert.equal(asked("cluster diags --focus-nodes=a,b")!.prefix, "--focus-nodes=a,");
  }
});

Deno.test("every command of both command lines is found word by word", () => {
  for (const [root, list] of [[tortie, COMMANDS], [calicoctl, CALICOCTL_COMMANDS]] as const) {
    for (const { name, ...rest } of list) {
      if (name === "" || (rest as { hidden?: boolean }).hidden) continue;
      const parts = name.split(" ");
      const before = parts.slice(0, -1);
      const found = complete(root, [...before, parts.at(-1)!.slice(0, 2)]).candidates;
      assert.ok(found.some(({ word }) => word === parts.at(-1)), name);
    }
  }
});

Deno.test("no line breaks it, and each candidate begins with what was typed", () => {
  const word = fc.oneof(
    fc.constantFrom("get", "-o", "--output=", "--", "-", "ippool", "-n", "$(x)", "=", "ipam"),
    fc.string({ maxLength: 6 }),
  );
  fc.assert(
    fc.property(
      fc.array(word, { maxLength: 6 }),
      fc.constantFrom(tortie, calicoctl),
      (line, root) => {
        for (const { word } of complete(root, line).candidates) {
          assert.ok(
            word.toLowerCase().startsWith((line.at(-1) ?? "").toLowerCase()),
            `${line}: ${word}`,
          );
        }
      },
    ),
  );
});
