import assert from "node:assert/strict";
import { CALICOCTL_COMMANDS } from "./commands.ts";
import { parse, ParseError } from "./parse.ts";

const read = (line: string) => {
  const { command, operands, flags } = parse(
    line.split(" ").filter((word) => word !== ""),
    CALICOCTL_COMMANDS,
    "calicoctl",
  );
  return [command.name, operands, Object.fromEntries(flags)];
};

Deno.test("all notations of a flag mean the same", () => {
  const want = ["get", ["nodes"], { output: "wide" }];
  for (
    const line of [
      "get nodes -o wide",
      "get nodes -owide",
      "get nodes -o=wide",
      "get nodes --output wide",
      "get nodes --output=wide",
      "get --output=wide nodes",
    ]
  ) assert.deepEqual(read(line), want, line);
  assert.deepEqual(read("get -Ao json np"), [
    "get",
    ["np"],
    { "all-namespaces": true, output: "json" },
  ]);
  assert.deepEqual(read("get np --export=false --export=t"), ["get", ["np"], { export: true }]);
});

Deno.test("global flags stand before, between and behind the command's words", () => {
  const want = ["datastore migrate export", [], { "log-level": "debug", config: "x" }];
  for (
    const line of [
      "--log-level debug datastore migrate export -c x",
      "datastore -l debug migrate export --config=x",
      "datastore migrate -ldebug export -cx",
    ]
  ) assert.deepEqual(read(line), want, line);
});

Deno.test("behind -- all words are operands, and - is one", () => {
  assert.deepEqual(read("delete ippool -- --name -x"), ["delete", ["ippool", "--name", "-x"], {}]);
  assert.deepEqual(read("apply -f -"), ["apply", [], { filename: "-" }]);
});

Deno.test("the last of a flag counts, but of a list all", () => {
  assert.deepEqual(read("get no -o ps -o yaml")[2], { output: "yaml" });
  assert.deepEqual(read("ipam release --from-report a --from-report=b")[2], {
    "from-report": ["a", "b"],
  });
});

Deno.test("what is wrong is said in calicoctl's words, with the nearest right one", () => {
  const cases: [line: string, message: RegExp][] = [
    ["-m", /^unknown shorthand flag: 'm' in -m$/],
    ["get -om -Aqx", /^unknown shorthand flag: 'q' in -Aqx$/],
    ["--unknown-flag", /^unknown flag: --unknown-flag$/],
    ["get --outptu json", /^unknown flag: --outptu\n\nDid you mean this\?\n\t--output\n$/],
    ["gett nodes", /^unknown command "gett" for "calicoctl"\n\nDid you mean this\?\n\tget\n$/],
    ["ipam shwo", /^unknown command "shwo" for "calicoctl ipam"[^]*\tshow/],
    ["get nodes -o", /^flag needs an argument: 'o' in -o$/],
    ["get nodes --output", /^flag needs an argument: --output$/],
    ["get --export=maybe", /^invalid argument "maybe" for "--export" flag: want true or false$/],
    ["cluster diags --max-logs x", /^invalid argument "x" for "--max-logs" flag/],
    ["patch node", /^accepts 2 arg\(s\), received 1$/],
    ["label node n", /^requires at least 3 arg\(s\), only received 2$/],
  ];
  for (const [line, message] of cases) {
    assert.throws(
      () => read(line),
      (error) => error instanceof ParseError && message.test(error.message),
      line,
    );
  }
});

Deno.test("no line of any words does anything but parse or be refused", () => {
  const words = [
    "get",
    "--",
    "-",
    "-o",
    "--output",
    "=",
    "-=",
    "--=",
    "ipam",
    "-A",
    "",
    "-o=",
    "é",
  ];
  for (const a of words) {
    for (const b of words) {
      for (const c of words) {
        try {
          parse([a, b, c], CALICOCTL_COMMANDS, "calicoctl");
        } catch (error) {
          assert.ok(error instanceof ParseError, `${a} ${b} ${c}: ${error}`);
        }
      }
    }
  }
});
