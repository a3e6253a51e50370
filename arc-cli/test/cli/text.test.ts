//! Text from others on a terminal, values of options, JSON that loses nothing.

import { expect, test } from "bun:test";
import { escapeJson, escapeLine, escapeText, keepColours } from "../../src/escape.ts";
import { RawJson, toJson } from "../../src/json.ts";
import { ago, bytesText, table } from "../../src/table.ts";
import { bytes, cores, count, duration, fileArgument, since, variable } from "../../src/values.ts";

const hostile: [string, string][] = [
  ["\u001b[31mred", "\\u{1b}[31mred"],
  ["\u001b]0;title\u0007", "\\u{1b}]0;title\\u{7}"],
  ["\u009b2J", "\\u{9b}2J"],
  ["a\rb\nc\td", "a\\rb\\nc\\td"],
  ["user\u202etxt.exe", "user\\u{202e}txt.exe"],
  ["zero\u200bwidth\ufeff", "zero\\u{200b}width\\u{feff}"],
  ["tag\u{e0041}", "tag\\u{e0041}"],
  ["half\ud800", "half\\u{d800}"],
  ["\u007f\u0000", "\\u{7f}\\u{0}"],
  ["Grüße 👩 日本", "Grüße 👩 日本"],
];
test.each(hostile)("%j on one line", (text, safe) => expect(escapeLine(text)).toBe(safe));

test("several lines keep newline and tab, nothing else", () => expect(escapeText("a\n\tb\r\u001b")).toBe("a\n\tb\\r\\u{1b}"));
test("the last gate lets only colours pass", () => {
  expect(keepColours("\u001b[1mbold\u001b[22m\n\t")).toBe("\u001b[1mbold\u001b[22m\n\t");
  expect(keepColours("\u001b[2J\u001b[1;1H\u001b]8;;x\u0007\u009b\u202e")).toBe("\\u{1b}[2J\\u{1b}[1;1H\\u{1b}]8;;x\\u{7}\\u{9b}\\u{202e}");
});
test("JSON for a terminal is the same value", () => {
  const value = { "k\u009b": "a\u202e\u{e0041}\u007f", n: 1 };
  const safe = escapeJson(JSON.stringify(value));
  expect(safe).not.toMatch(/[\u007f-\u009f\u202e\u{e0000}-\u{e007f}]/u);
  expect(JSON.parse(safe)).toEqual(value);
});

test("JSON keeps big integers and raw parts, drops undefined", () => {
  expect(toJson({ a: 18446744073709551615n, b: new RawJson('{"z":1.0,"a":12345678901234567890}'), c: undefined, d: [undefined, null], e: new Date(0) })).toBe(
    '{"a":18446744073709551615,"b":{"z":1.0,"a":12345678901234567890},"d":[null,null],"e":"1970-01-01T00:00:00.000Z"}',
  );
});

const good: [(text: string) => unknown, string, unknown][] = [
  [bytes, "256M", 268435456n],
  [bytes, "1.5GiB", 1610612736n],
  [bytes, "1kB", 1000n],
  [bytes, "65536", 65536n],
  [duration, "500ms", 500n],
  [duration, "1.5s", 1500n],
  [duration, "2m", 120_000n],
  [cores, "0.5", 500],
  [cores, "250m", 250],
  [count, "4294967295", 4294967295],
  [variable, "A=b=c", { name: "A", value: "b=c" }],
  [variable, "A=", { name: "A", value: "" }],
  [fileArgument, "a b.txt=/x=y", { name: "a b.txt", value: "/x=y" }],
  [(text) => since(text, Date.parse("2026-11-20T10:00:00Z")), "10m", "2026-11-20T09:50:00.000Z"],
  [(text) => since(text, 0), "2026-11-20T10:00:00+02:00", "2026-11-20T08:00:00.000Z"],
];
test.each(good)("%p reads %s", (parse, text, value) => expect(parse(text)).toEqual(value));

const bad: [(text: string) => unknown, string[]][] = [
  [bytes, ["", "0", "-1", "1T5", "M", "1e9", "99999999999999999999", "0x10", "9007199254740993G"]],
  [duration, ["", "10", "0s", "-1s", "1w", "s", "1 hour", "Infinitys"]],
  [cores, ["0", "0m", "-1", "1e3", "", "0.0001", "half"]],
  [count, ["0", "-1", "1.5", "4294967296", "1e3", " 1"]],
  [variable, ["A", "=b", "1A=b", "A B=c", "A-B=c", "A=\0"]],
  [fileArgument, ["a", "a/b=c", "..=c", "=c", "a=", `${"x".repeat(256)}=c`, "a\\b=c", "a\nb=c"]],
  [(text) => since(text, 0), ["", "yesterday", "2026-13-45T00:00:00Z", "10", "2026"]],
];
for (const [parse, texts] of bad) for (const text of texts) test(`${parse.name || "since"} refuses ${JSON.stringify(text.slice(0, 20))}`, () => expect(() => parse(text)).toThrow());

test("tables align by what is seen and escape what is in them", () => {
  expect(table(["NAME", "X"], [["日本", "1"], ["a\u001b", "2"]])).toBe("NAME     X\n日本     1\na\\u{1b}  2");
});
test("sizes and times for people", () => {
  expect([0, 1023, 1536, 5 * 1024 ** 3].map(bytesText)).toEqual(["0 B", "1023 B", "1.5 KiB", "5.0 GiB"]);
  const now = Date.parse("2026-11-20T10:00:00Z");
  expect(["2026-11-20T09:59:30Z", "2026-11-20T07:00:00Z", "2026-11-01T10:00:00Z", "2027-01-01T00:00:00Z", "x"].map((time) => ago(time, now))).toEqual(["just now", "3 h ago", "19 d ago", "2027-01-01T00:00:00Z", "x"]);
});
