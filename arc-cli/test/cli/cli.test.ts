//! Conventions every command keeps: where text goes, envelopes, exit codes, colours, suggestions.

import { expect, test } from "bun:test";
import { command, flag, option, positional, rest } from "../../src/command.ts";
import { Exit, errorJson, UserError } from "../../src/errors.ts";
import { parseArgs } from "../../src/parse.ts";
import { didYouMean, editDistance } from "../../src/suggest.ts";
import { errorText, style, Ui, wantsColour } from "../../src/ui.ts";
import { arc } from "./drive.ts";

const usage: [string[], string, string][] = [
  [[], "ARC2000", "no command given"],
  [["uplaod", "x"], "ARC2000", "did you mean `upload`?"],
  [["device"], "ARC2000", "needs a command"],
  [["device", "int"], "ARC2000", "did you mean `init`?"],
  [["version", "--jsn"], "ARC2001", "did you mean `--json`?"],
  [["upload"], "ARC2002", "missing FILE"],
  [["device", "add", "x", "--address"], "ARC2003", "--address needs a value"],
  [["version", "--client=yes"], "ARC2004", "takes no value"],
  [["version", "now"], "ARC2005", "unexpected argument `now`"],
  [["device", "init", "--name", "a", "--name", "b"], "ARC2006", "given twice"],
  [["logs", "--tail", "0"], "ARC2007", "whole number"],
  [["device", "init", "--name", "../x"], "ARC2030", "cannot be the name"],
  [["--nope", "version"], "ARC2001", "unknown option"],
];
test.each(usage)("%j is a usage error %s", async (words, code, text) => {
  const ran = await arc(words);
  expect([ran.code, ran.stdout]).toEqual([2, ""]);
  expect(ran.stderr).toContain(`[${code}]`);
  expect(ran.stderr).toContain(text);
  const json = await arc(["--json", ...words]);
  expect([json.code, json.stderr, json.json().ok, json.json().error.code]).toEqual([2, "", false, code]);
  expect(Object.keys(json.json().error)).toEqual(["code", "message", "hint", "fix", "docs", "retryable", "details", "span"]);
});

const env = { ARC_CONFIG_DIR: "/nonexistent/arc" };
test.each([["ls"], ["rm", "x", "--yes"], ["invoke", "a.b"], ["logs"], ["upload", import.meta.path]].map((words) => [words] as const))("%j without a device is exit 5 and says what to type", async (words) => {
  const ran = await arc([...words, "--json"], { env });
  expect([ran.code, ran.json().error.code]).toEqual([5, "ARC2031"]);
  expect(ran.json().error.fix).toContain("arc device init");
});

test("a bug keeps its stack for -v and is exit 1", () => {
  const broken = new TypeError("x is no function");
  expect(errorJson(broken)).toMatchObject({ code: "BUG", message: "x is no function" });
  expect(errorText(broken, style(false), false)).not.toContain("cli.test.ts");
  expect(errorText(broken, style(false), true)).toContain("cli.test.ts");
});

test("an error for people: code, place, hint, commands; text from outside is escaped", () => {
  const error = new UserError("ARC1042", "bad \u001b[2J name", { hint: "rename\u202e", fix: ["arc check\u0007"], span: { file: "src/a\u001b.ts", line: 3, column: 9 } });
  expect(errorText(error, style(false), false)).toBe("error[ARC1042]: bad \\u{1b}[2J name\n  --> src/a\\u{1b}.ts:3:9\n  hint  rename\\u{202e}\n  fix   arc check\\u{7}");
});

const colour: [Record<string, string>, boolean, boolean][] = [
  [{}, true, true],
  [{}, false, false],
  [{ NO_COLOR: "1", FORCE_COLOR: "1" }, true, false],
  [{ NO_COLOR: "" }, true, true],
  [{ FORCE_COLOR: "1" }, false, true],
  [{ FORCE_COLOR: "0" }, true, false],
  [{ CLICOLOR_FORCE: "1" }, false, true],
  [{ CLICOLOR: "0" }, true, false],
  [{ TERM: "dumb" }, true, false],
];
test.each(colour)("colour with %j on a terminal %p: %p", (env, tty, wanted) => expect(wantsColour(env, tty)).toBe(wanted));

const slips: [string, string[], string | undefined][] = [
  ["invok", ["invoke", "init"], "did you mean `invoke`?"],
  ["ivnoke", ["invoke"], "did you mean `invoke`?"],
  ["x", ["ls", "rm"], undefined],
  ["weather.forcast", ["weather.forecast", "orders.count"], "did you mean `weather.forecast`?"],
  ["completely-else", ["invoke"], undefined],
];
test.each(slips)("%s in %j", (word, known, wanted) => expect(didYouMean(word, known)).toBe(wanted));
test("distance is symmetric and zero only for equals", () => {
  expect(editDistance("abc", "abc")).toBe(0);
  expect(editDistance("ab", "ba")).toBe(1);
  expect(editDistance("", "abc")).toBe(3);
  expect(editDistance("kitten", "sitting")).toBe(editDistance("sitting", "kitten"));
});

const sample = command({
  name: "sample",
  summary: "",
  args: {
    file: positional({ value: "FILE", help: "" }),
    more: positional({ value: "MORE", help: "", optional: true, repeat: true }),
    loud: flag({ help: "", short: "l" }),
    dryRun: flag({ help: "" }),
    size: option({ value: "N", help: "", short: "s", parse: Number, default: 5, env: "SAMPLE_SIZE" }),
    tag: option({ value: "T", help: "", repeat: true }),
    rest: rest({ value: "ARGS", help: "" }),
  },
  run: async () => undefined,
});
const parse = (words: string[], environment: Record<string, string> = {}) => parseArgs(words, sample.args, { command: "arc sample", env: environment }).values;

const parsed: [string[], object][] = [
  [["f"], { file: "f", more: [], loud: false, size: 5, tag: [], rest: [] }],
  [["f", "-ls7", "--tag=a", "--tag", "b", "g", "h"], { file: "f", more: ["g", "h"], loud: true, size: 7, tag: ["a", "b"] }],
  [["--size=-3", "f", "-5"], { size: -3, more: ["-5"] }],
  [["f", "--dry-run", "--no-dry-run"], { dryRun: false }],
  [["f", "--", "--tag", "-x", "--"], { tag: [], rest: ["--tag", "-x", "--"] }],
  [["f", "--tag", "-x", "-"], { tag: ["-x"], more: ["-"] }],
  [["f", "--tag="], { tag: [""] }],
];
test.each(parsed)("%j parses", (words, values) => expect(parse(words)).toMatchObject(values));
test("the environment comes after options and before defaults", () => {
  expect(parse(["f"], { SAMPLE_SIZE: "8" })["size"]).toBe(8);
  expect(parse(["f", "-s", "9"], { SAMPLE_SIZE: "8" })["size"]).toBe(9);
});

test("the envelope: warnings are in it, -q silences notes only, fields trim", async () => {
  let out = "";
  let err = "";
  const sink = (take: (text: string) => void) => ({ tty: false, columns: 80, write: async (data: Uint8Array | string) => take(String(data)) });
  const make = (json: boolean, quiet: boolean) => new Ui({ stdout: sink((text) => (out += text)), stderr: sink((text) => (err += text)), env: {}, json, quiet, verbose: false, progress: true, fields: ["a"] });
  const json = make(true, false);
  json.warn("old");
  json.done({ a: 1n, b: 2 }, () => "human");
  await json.flush();
  expect([out, err]).toEqual(['{"ok":true,"data":{"a":1},"warnings":["old"]}\n', ""]);
  [out, err] = ["", ""];
  const quiet = make(false, true);
  quiet.note("doing");
  quiet.warn("old");
  quiet.done({ a: 1 }, () => "human\u001b[2J");
  await quiet.flush();
  expect([out, err]).toEqual(["human\\u{1b}[2J\n", "warning: old\n"]);
});

test("nothing is asked without a terminal or with --json", async () => {
  const sink = { tty: false, columns: 80, write: async () => undefined };
  const options = { stdout: sink, stderr: sink, env: {}, quiet: false, verbose: false, progress: true, fields: [] };
  const none = new Ui({ ...options, json: false });
  expect(none.confirm("sure?", "--yes")).rejects.toMatchObject({ code: "ARC2010", exit: Exit.usage });
  const json = new Ui({ ...options, json: true, ask: async () => "y" });
  expect(json.confirm("sure?", "--yes")).rejects.toMatchObject({ code: "ARC2010" });
});

test("a progress bar shows on a terminal, after a second, and leaves no trace", async () => {
  const drawn: string[] = [];
  const ui = (tty: boolean) => new Ui({ stdout: { tty, columns: 80, write: async () => undefined }, stderr: { tty, columns: 80, write: async (text) => void drawn.push(String(text)) }, env: {}, json: false, quiet: false, verbose: false, progress: true, fields: [] });
  const real = performance.now;
  let now = 0;
  performance.now = () => now;
  try {
    for (const tty of [false, true]) {
      now = 0;
      const made = ui(tty);
      const bar = made.progress("x", 10, String);
      bar.advance(1);
      await made.flush();
      expect(drawn).toEqual([]);
      now = 1500;
      bar.advance(4);
      bar.end();
      await made.flush();
    }
  } finally {
    performance.now = real;
  }
  expect(drawn).toHaveLength(2);
  expect(drawn[0]).toContain("50%");
  expect(drawn[1]).toBe("\r\u001b[K");
});

test("what is waited for shows on a terminal, and nowhere else", async () => {
  for (const tty of [false, true]) {
    const drawn: string[] = [];
    const ui = new Ui({ stdout: { tty, columns: 80, write: async () => undefined }, stderr: { tty, columns: 80, write: async (text) => void drawn.push(String(text)) }, env: { NO_COLOR: "1" }, json: false, quiet: false, verbose: false, progress: true, fields: [] });
    (await ui.working("reading\u001b[2J types")).end();
    const waiting = ui.waiting("waiting");
    waiting.end();
    await ui.flush();
    expect(drawn).toEqual(tty ? ["\r\u001b[Kreading\\u{1b}[2J types …", "\r\u001b[K"] : []);
  }
});
