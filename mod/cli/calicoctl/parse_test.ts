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
  assert.deepEqual(read("get np --export=t"), ["get", ["np"], { export: true }]);
  assert.deepEqual(read("get np --export=0"), ["get", ["np"], { export: false }]);
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

Deno.test("a long flag may be shortened as long as one alone begins so", () => {
  const cases: [line: string, flags: Record<string, unknown>][] = [
    ["get tier --out yaml", { output: "yaml" }],
    ["get np --all-n", { "all-namespaces": true }],
    ["get --allow", { "allow-version-mismatch": true }],
    ["create --filen=1.yaml", { filename: "1.yaml" }],
    ["ipam show --show-bl", { "show-blocks": true }],
    ["ipam configure --strict=true", { strictaffinity: "true" }],
    ["node run --ip=x", { ip: "x" }],
    ["--log debug version --cl", { "log-level": "debug", client: true }],
  ];
  for (const [line, flags] of cases) assert.deepEqual(read(line)[2], flags, line);
});

Deno.test("a flag is given once, but for one that makes a list", () => {
  for (
    const line of [
      "apply -f a -f b",
      "get no -o ps --out yaml",
      "version --client --client",
      "get -AA",
    ]
  ) assert.throws(() => read(line), /^ParseError: --[a-z-]+ is given twice; give it once$/, line);
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
    ["datastore lock", /^unknown command "lock" for "calicoctl datastore"[^]*\n\tmigrate lock\n$/],
    ["checksystem", /^unknown command "checksystem"[^]*\n\tnode checksystem\n$/],
    ["get nodes -o", /^flag needs an argument: 'o' in -o$/],
    ["get nodes --output", /^flag needs an argument: --output$/],
    ["get --export=maybe", /^invalid argument "maybe" for "--export" flag: want true or false$/],
    ["cluster diags --max-logs x", /^invalid argument "x" for "--max-logs" flag/],
    ["get np --all", /^--all is not a unique prefix: --all-namespaces, --allow-version-mismatch$/],
    ["get --=x", /^unknown flag: --$/],
    [
      "apply -f 1.yaml 2.yaml",
      /^calicoctl apply takes no "2.yaml"; -f takes one file or folder, or/,
    ],
    ["create -f 1.yaml -- 2.yaml", /^calicoctl create takes no "2.yaml"; -f/],
    ["validate 1.yaml", /^calicoctl validate takes no "1.yaml"; -f/],
    ["datastore migrate lock x", /^calicoctl datastore migrate lock takes no "x"$/],
    ["datastore migrate unlock x", /^calicoctl datastore migrate unlock takes no "x"$/],
    ["ipam configure --strictaffinity=true x", /^calicoctl ipam configure takes no "x"$/],
    ["ipam release 1.2.3.4", /^calicoctl ipam release takes no "1.2.3.4"$/],
    ["ipam show x", /takes no "x"$/],
    ["ipam check x", /takes no "x"$/],
    ["version x", /takes no "x"$/],
    ["node checksystem x", /takes no "x"$/],
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
