/**
 * Takes out of a text what is secret: passwords, tokens, keys. An archive of diagnosis is given to people
 * who help, so that rather too much goes than too little; names and places of secrets stay, since
 * they are what one looks for.
 *
 *     private keys     between their BEGIN and END lines
 *     tokens           in the form of a JWT, and behind Authorization
 *     in addresses     https://user:password@host
 *     by name          `password: …`, `ETCD_PASSWORD=…`, `"token": "…"`, `--token …`, `basic_auth="user:…"`,
 *                      blocks of YAML
 *     by a word before `passwd …`, `secret …`, where what follows looks like no word of a sentence
 *     behind key=      unless it looks like the key of a map or a store
 */
const SECRET =
  "(?:pass(?:word|wd|phrase|code)|pwd|basic[-_]?auth|secret|token|api[-_]?key|private[-_]?key|" +
  "key[-_]?data|credential|psk|pre[-_]?shared[-_]?key|auth[-_]?key|etcd[-_]?key|tls[-_]?key)";
const NAME = `[A-Za-z0-9_.-]*${SECRET}[A-Za-z0-9_.-]*`;
/** Where a secret is, or what it is called: not the secret. */
const HARMLESS =
  /(?:file|path|dir|ref|refs|name|namespace|ttl|seconds|expiry|expires|expired|id|ids|type|audiences?)$/i;

/** The shell's directories are called as a password may be. */
const isHarmless = (name: string) => HARMLESS.test(name) || /^(?:OLD)?PWD$/.test(name);

const YAML_LINE = new RegExp(`^(\\s*(?:-\\s+)?)(["']?)(${NAME})\\2(\\s*:)(\\s+\\S.*)$`, "i");
const ENV_LINE = new RegExp(`^((?:export\\s+)?)(${NAME})=(.+)$`, "i");
/** A value within JSON that is itself a string has its quotes escaped. */
const VALUE = `\\\\"[^"]*"|"(?:[^"\\\\]|\\\\.)*"|'[^']*'|[^\\s,;{}\\[\\]"']+`;
const PAIR = new RegExp(`(\\\\?["']?)(${NAME})\\1(\\s*[:=]\\s*)(${VALUE})`, "gi");
const FLAG = new RegExp(`(--${NAME})\\s+(?!-)(\\S+)`, "gi");
/** `passwd hunter2`: with a letter, and a digit or a sign that names and words have not. */
const SPOKEN = new RegExp(
  "\\b(pass(?:word|wd|phrase|code)|pwd|secret|token|credentials?)(\\s+)" +
    "(?=[^\\s\"',;()]*[A-Za-z])(?=[^\\s\"',;()]*[0-9!@#$%^&*+=])" +
    "(?![^\\s\"',;()]*[/:\\[])([^\\s\"',;()]{4,})",
  "gi",
);
/** Not `key=/calico/…`, `key=Node(n1)`, `key=has-a-name`. */
const KEY =
  /((?:^|[\s,;{(])["']?key["']?=["']?)((?=[^\s"',;]*[0-9])[A-Za-z0-9][A-Za-z0-9+/=_-]{7,})(?=$|[\s"',;})])/gim;

const GONE = "[redacted]";

export function redact(text: string): string {
  const whole = text
    .replace(
      /(-----BEGIN [A-Z ]*PRIVATE KEY-----)[\s\S]*?(-----END [A-Z ]*PRIVATE KEY-----|$(?![\s\S]))/g,
      `$1 ${GONE} $2`,
    )
    .replace(/\beyJ[A-Za-z0-9_-]{6,}\.[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]*)?/g, GONE)
    .replace(/(authorization["']?\s*[:=]\s*["']?)(?:(bearer|basic)\s+)?[^\s"',]+/gi, `$1$2 ${GONE}`)
    .replace(/\b(bearer\s+)[A-Za-z0-9._~+\/-]{8,}=*/gi, `$1${GONE}`)
    .replace(KEY, `$1${GONE}`)
    .replace(/([a-z][a-z0-9+.-]*:\/\/)[^\s\/@"']*:[^\s\/@"']*@/gi, `$1${GONE}@`);
  const lines: string[] = [];
  /** Indentation of a key whose value stands in the lines below it. */
  let block: number | undefined;
  for (const line of whole.split("\n")) {
    const indent = line.length - line.trimStart().length;
    if (block !== undefined && (line.trim() === "" || indent > block)) continue;
    block = undefined;
    const redacted = redactLine(line);
    if (redacted.block) block = indent;
    lines.push(redacted.line);
  }
  return lines.join("\n");
}

function redactLine(line: string): { line: string; block: boolean } {
  const yaml = YAML_LINE.exec(line);
  if (yaml && !isHarmless(yaml[3])) {
    const value = yaml[5].trim();
    const isBlock = /^[|>][-+0-9]*\s*(#.*)?$/.test(value);
    // Of an object on the same line each member is looked at for itself.
    if (!/^[{[]/.test(value)) {
      const comma = /^".*",$/.test(value) ? "," : "";
      const [, before, quote, name, colon] = yaml;
      return {
        line: `${before}${quote}${name}${quote}${colon} ${quote}${GONE}${quote}${comma}`,
        block: isBlock,
      };
    }
  }
  const env = ENV_LINE.exec(line);
  if (env && !isHarmless(env[2])) return { line: `${env[1]}${env[2]}=${GONE}`, block: false };
  return {
    line: line
      .replace(PAIR, (whole, quote, name, sign, value) => {
        if (isHarmless(name)) return whole;
        const mark = /^\\?["']/.exec(value)?.[0] ?? "";
        return `${quote}${name}${quote}${sign}${mark}${GONE}${mark}`;
      })
      .replace(SPOKEN, `$1$2${GONE}`)
      .replace(FLAG, (whole, name) => isHarmless(name) ? whole : `${name} ${GONE}`),
    block: false,
  };
}
