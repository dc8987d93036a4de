import assert from "node:assert/strict";
import fc from "fast-check";
import {
  concat,
  encodeCniAnswer,
  encodeCniRequest,
  encodeWords,
  FramingError,
  LineParser,
  parseCniAnswer,
  parseCniWords,
  WordsParser,
} from "./framing.ts";

const bytes = (text: string) => new TextEncoder().encode(text);

/** The same bytes in pieces, cut where the numbers say. */
function cut(whole: Uint8Array, at: number[]): Uint8Array[] {
  const places = [...new Set(at.map((n) => n % (whole.length + 1)))].sort((a, b) => a - b);
  return [0, ...places].map((from, i) => whole.slice(from, places[i] ?? whole.length));
}

const word = fc.string({ unit: "binary", minLength: 1 }).filter((text) =>
  !text.includes("\0") && text.isWellFormed()
);

Deno.test("a CNI request begins as a C program would write it", () => {
  const request = encodeCniRequest({
    argv0: "tortie",
    env: { CNI_COMMAND: "ADD", CNI_ARGS: "A=b;C=d" },
    stdin: bytes('{"name":"x"}'),
  });
  assert.equal(
    new TextDecoder().decode(request),
    'TORTIE1\0cni\0tortie\0CNI_COMMAND=ADD\0CNI_ARGS=A=b;C=d\0\0{"name":"x"}',
  );
  assert.equal(new TextDecoder().decode(encodeWords(["rpc"])), "TORTIE1\0rpc\0\0");
  assert.equal(
    new TextDecoder().decode(encodeCniAnswer({ exit: 1, body: "é\n" })),
    "1 3\né\n",
  );
});

Deno.test("words are read however they are cut, and what follows them is kept", () => {
  fc.assert(fc.property(
    fc.array(word, { minLength: 1 }),
    fc.uint8Array(),
    fc.array(fc.nat()),
    (words, rest, places) => {
      const parser = new WordsParser();
      const after: Uint8Array[] = [];
      let opening: ReturnType<WordsParser["push"]>;
      for (const chunk of cut(concat([encodeWords(words), rest]), places)) {
        if (opening) after.push(chunk);
        else if ((opening = parser.push(chunk))) after.push(opening.rest);
      }
      assert.deepEqual(opening?.words, words);
      assert.equal(parser.kind, words[0]);
      assert.equal(opening?.bytes, encodeWords(words).length);
      assert.deepEqual(concat(after), new Uint8Array(rest));
    },
  ));
});

Deno.test("lines are read however they are cut", () => {
  fc.assert(fc.property(
    fc.array(fc.string({ unit: "binary" }).map((text) => text.toWellFormed().replaceAll("\n", ""))),
    fc.string().map((text) => text.replaceAll("\n", "")),
    fc.array(fc.nat()),
    (lines, unfinished, places) => {
      const parser = new LineParser();
      const whole = bytes(lines.map((line) => line + "\n").join("") + unfinished);
      const read = cut(whole, places).flatMap((chunk) => parser.push(chunk));
      assert.deepEqual(read, lines);
      assert.equal(parser.held, bytes(unfinished).length);
    },
  ));
});

Deno.test("chunks may change after they were pushed", () => {
  const parser = new LineParser();
  const chunk = bytes("half");
  parser.push(chunk);
  chunk.fill(0);
  assert.deepEqual(parser.push(bytes(" and half\n")), ["half and half"]);
});

Deno.test("what is no request of ours is refused at the first sign", () => {
  const refused = (text: string | Uint8Array, message: RegExp, limit?: number) =>
    assert.throws(
      () => new WordsParser(limit).push(typeof text === "string" ? bytes(text) : text),
      (error: Error) => error instanceof FramingError && message.test(error.message),
    );
  refused("GET / HTTP/1.1\r\n", /TORTIE1/);
  refused("TORTIE2\0rpc\0\0", /TORTIE1/);
  refused("\0", /TORTIE1/);
  refused(new Uint8Array([...bytes("TORTIE1\0"), 0xff, 0xfe, 0]), /UTF-8/);
  refused("TORTIE1\0" + "x".repeat(200), /exceeds? 100 bytes/, 100);
  refused("TORTIE1\0" + "x\0".repeat(100), /exceed 100 bytes/, 100);
  assert.equal(new WordsParser().push(bytes("TORT")), undefined);
});

Deno.test("a line that is too long is refused before it is held", () => {
  const parser = new LineParser(10);
  assert.deepEqual(parser.push(bytes("0123456789\n01234")), ["0123456789"]);
  assert.throws(() => parser.push(bytes("567890")), FramingError);
  assert.throws(() => new LineParser().push(new Uint8Array([0xc3, 0x28, 0x0a])), /UTF-8/);
});

Deno.test("the words of a CNI request are argv0 and NAME=value", () => {
  assert.deepEqual(parseCniWords(["tortie", "CNI_ARGS=a=b", "CNI_PATH="]), {
    argv0: "tortie",
    env: { CNI_ARGS: "a=b", CNI_PATH: "" },
  });
  assert.throws(() => parseCniWords([]), FramingError);
  assert.throws(() => parseCniWords(["tortie", "CNI_ARGS"]), FramingError);
  assert.throws(() => parseCniWords(["tortie", "=x"]), FramingError);
  const { env } = parseCniWords(["tortie", "__proto__=x"]);
  assert.equal(Object.getPrototypeOf(env), Object.prototype);
  assert(Object.hasOwn(env, "__proto__"));
});

Deno.test("words that would break the framing are a bug of ours", () => {
  assert.throws(() => encodeWords(["rpc", ""]), TypeError);
  assert.throws(() => encodeWords(["a\0b"]), TypeError);
});

Deno.test("a CNI answer is read whole or not at all", () => {
  fc.assert(fc.property(fc.nat(255), fc.uint8Array(), fc.nat(), (exit, body, n) => {
    const whole = encodeCniAnswer({ exit, body });
    assert.deepEqual(parseCniAnswer(whole), { exit, body: new Uint8Array(body) });
    assert.throws(() => parseCniAnswer(whole.subarray(0, n % whole.length)), FramingError);
  }));
  assert.throws(() => parseCniAnswer(bytes("x".repeat(100))), FramingError);
  assert.throws(() => parseCniAnswer(bytes("-1 0\n")), FramingError);
});
