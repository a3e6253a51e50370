//! `arc new`, `check`, `build` and `inspect` as a person or a script meets them.

import { afterAll, describe, expect, test, setDefaultTimeout } from "bun:test";
import { existsSync, lstatSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { openBundle } from "../../src/bundle/layout.ts";
import { runCli } from "../../src/cli.ts";
import { call, cleanUp } from "../sdk/host.ts";

// A type check takes half a second alone, and tests run beside other work.
setDefaultTimeout(120_000);

const scratch = mkdtempSync(join(tmpdir(), "arc-commands-"));
afterAll(() => {
  cleanUp();
  rmSync(scratch, { recursive: true });
});

interface Ran {
  readonly code: number;
  readonly out: string;
  readonly err: string;
}

async function arc(cwd: string, ...words: string[]): Promise<Ran> {
  let [out, err] = ["", ""];
  const text = (data: Uint8Array | string): string => (typeof data === "string" ? data : new TextDecoder().decode(data));
  const code = await runCli(words, {
    stdout: { tty: false, columns: 80, write: async (data) => void (out += text(data)) },
    stderr: { tty: false, columns: 80, write: async (data) => void (err += text(data)) },
    stdin: { tty: false, chunks: async function* () {} },
    env: { HOME: "/nonexistent" },
    cwd,
    signal: new AbortController().signal,
    ask: undefined,
  });
  return { code, out, err };
}

const weather = join(scratch, "weather");

describe("the five-minute story", () => {
  test("new writes a project", async () => {
    expect(await arc(scratch, "new", "weather", "--template", "tool")).toMatchObject({ code: 0, err: "" });
    expect(readdirSync(weather).sort()).toEqual([".arc", ".gitignore", "AGENTS.md", "arc.toml", "src", "tsconfig.json"]);
    expect(readFileSync(join(weather, ".gitignore"), "utf8")).toContain(".arc/");
  });
  test("check finds nothing wrong and prints both digests", async () => {
    const { code, out } = await arc(weather, "check");
    expect([code, out.match(/sha256:[0-9a-f]{64}/g)?.length]).toEqual([0, 2]);
    expect(out).toContain("forecast");
  });
  test("build writes weather-0.1.0.aria and prints the digests", async () => {
    const { code, out } = await arc(weather, "build");
    expect([code, out.match(/sha256:[0-9a-f]{64}/g)?.length]).toEqual([0, 3]);
    expect(openBundle(new Uint8Array(readFileSync(join(weather, "weather-0.1.0.aria")))).manifest.tools.map(({ name }) => name)).toEqual(["forecast"]);
  });
  test("check and build agree on the digests, from a directory below as well", async () => {
    const of = (ran: Ran): unknown => {
      const { interfaceDigest, authorityDigest } = (JSON.parse(ran.out) as { data: Record<string, string> }).data;
      return { interfaceDigest, authorityDigest };
    };
    expect(of(await arc(join(weather, "src"), "check", "--json"))).toEqual(of(await arc(weather, "build", "--json", "--out", "../other.aria")));
    expect(existsSync(join(scratch, "other.aria"))).toBe(true);
  });
  test("the tool takes a city and always says the same", async () => {
    const { files } = openBundle(new Uint8Array(readFileSync(join(weather, "weather-0.1.0.aria"))));
    const module = join(scratch, "forecast.js");
    writeFileSync(module, files.find(({ path }) => path === "code/forecast.js")?.bytes ?? "");
    const [first, second] = [await call(module, '{"city":"Oslo"}'), await call(module, '{"city":"Oslo"}')];
    const answer = JSON.parse(String(first.frames[0]?.["result"]?.["outputJson"])) as { city: string; days: unknown[] };
    expect([answer.city, answer.days.length, second.frames]).toEqual(["Oslo", 3, [...first.frames]]);
  });
  test("its own tests pass", async () => {
    const child = Bun.spawn([process.execPath, "test"], { cwd: weather, stdout: "pipe", stderr: "pipe" });
    expect(await child.exited).toBe(0);
  });
  test("an editor finds no fault with it", async () => {
    const tsc = join(import.meta.dir, "../../node_modules/typescript/lib/tsc.js");
    const child = Bun.spawn([process.execPath, tsc, "--noEmit", "--project", weather], { stdout: "pipe" });
    expect([await new Response(child.stdout).text(), await child.exited]).toEqual(["", 0]);
  });
  test("inspect shows it, for people and for scripts", async () => {
    const { code, out } = await arc(weather, "inspect", "weather-0.1.0.aria");
    expect([code, out]).toEqual([0, expect.stringContaining("weather.forecast")]);
    const { data } = JSON.parse((await arc(weather, "inspect", "weather-0.1.0.aria", "--json")).out) as { data: { manifest: { name: string } } };
    expect(data.manifest.name).toBe("weather");
  });
});

describe("new refuses", () => {
  test("a directory that is not empty, and leaves it alone", async () => {
    const dir = join(scratch, "full");
    mkdirSync(dir);
    writeFileSync(join(dir, "mine.txt"), "mine");
    const { code, err } = await arc(scratch, "new", "full");
    expect([code, err.includes("ARC1100"), readdirSync(dir)]).toEqual([6, true, ["mine.txt"]]);
  });
  test("a template it does not have", async () => expect((await arc(scratch, "new", "x", "--template", "microservice")).code).toBe(2));
  test("a name that gives no bundle name", async () => expect(await arc(scratch, "new", "7")).toMatchObject({ code: 2, err: expect.stringContaining("ARC1048") }));
  test("nothing about an awkward but usable name", async () => {
    expect((await arc(scratch, "new", "My Tools_2")).code).toBe(0);
    expect((await arc(join(scratch, "My Tools_2"), "check")).out).toContain("my-tools-2 0.1.0");
  });
});

describe("check and build refuse", () => {
  const broken = join(scratch, "broken");
  mkdirSync(join(broken, "src"), { recursive: true });
  writeFileSync(join(broken, "arc.toml"), '[bundle]\nname = "broken"\n');
  writeFileSync(join(broken, "src/a.ts"), 'import { defineTool } from "@aria/sdk";\nexport const a = defineTool({ run: (input: { value: any; text: string }): number => input.text });\n');
  test("with exit 3, all findings, frames and carets", async () => {
    const { code, err } = await arc(broken, "build");
    expect(code).toBe(3);
    expect(err).toContain("2 problems");
    expect(err).toContain("src/a.ts:2:53");
    expect(err).toContain("^^^");
    expect(readdirSync(broken).sort()).toEqual(["arc.toml", "src"]);
  });
  test("with the same as data", async () => {
    const { code, out } = await arc(broken, "check", "--json");
    const { ok, error } = JSON.parse(out) as { ok: boolean; error: { code: string; span: object; details: { diagnostics: { id: string }[] } } };
    expect([code, ok, error.code, error.details.diagnostics.map(({ id }) => id)]).toEqual([3, false, "ARC1010", ["ARC1010", "ARC1001"]]);
    expect(error.span).toMatchObject({ file: "src/a.ts", line: 2, column: 53 });
  });
  test("where there is no project", async () => expect(await arc(scratch, "check")).toMatchObject({ code: 5, err: expect.stringContaining("ARC1080") }));
  test("an output that cannot be written", async () => expect(await arc(weather, "build", "--out", "/nonexistent/x.aria")).toMatchObject({ code: 6, err: expect.stringContaining("ARC1102") }));
  test("to write over what is no regular file, and leave it as it is", async () => {
    const fifo = join(scratch, "fifo");
    expect(await Bun.spawn(["mkfifo", fifo]).exited).toBe(0);
    symlinkSync(fifo, join(scratch, "to-fifo"));
    symlinkSync("nowhere/at/all", join(scratch, "dangling"));
    mkdirSync(join(scratch, "a-directory"));
    for (const name of ["fifo", "to-fifo", "dangling", "a-directory"]) {
      expect(await arc(weather, "build", "--out", `../${name}`)).toMatchObject({ code: 6, err: expect.stringContaining("ARC1102") });
    }
    expect([lstatSync(fifo).isFIFO(), lstatSync(join(scratch, "to-fifo")).isSymbolicLink(), lstatSync(join(scratch, "dangling")).isSymbolicLink()]).toEqual([true, true, true]);
  });
  test("nothing about a link to a file: the file is written, the link stays", async () => {
    writeFileSync(join(scratch, "target.aria"), "old");
    symlinkSync("target.aria", join(scratch, "link.aria"));
    expect((await arc(weather, "build", "--out", "../link.aria")).code).toBe(0);
    expect([lstatSync(join(scratch, "link.aria")).isSymbolicLink(), openBundle(new Uint8Array(readFileSync(join(scratch, "target.aria")))).manifest.name]).toEqual([true, "weather"]);
  });
  const odd: readonly (readonly [string, string, (at: string) => void])[] = [
    ["package.json that holds null", "ARC1083", (at) => writeFileSync(join(at, "package.json"), "null")],
    ["package.json that holds a list", "ARC1083", (at) => writeFileSync(join(at, "package.json"), "[1]")],
    ["package.json that is a directory", "ARC1083", (at) => mkdirSync(join(at, "package.json"))],
    ["arc.toml that is a directory", "ARC1081", (at) => (rmSync(join(at, "arc.toml")), mkdirSync(join(at, "arc.toml")))],
    ["an entry that is a directory", "ARC1084", (at) => (mkdirSync(join(at, "d.ts")), writeFileSync(join(at, "arc.toml"), '[bundle]\nname = "x"\nentry = "d.ts"\n'))],
    ["tsconfig.json that is a directory", "ARC1001", (at) => mkdirSync(join(at, "tsconfig.json"))],
  ];
  for (const [i, [what, id, spoil]] of odd.entries()) {
    test(`${what} with ${id}`, async () => {
      const at = join(scratch, `odd-${i}`);
      mkdirSync(join(at, "src"), { recursive: true });
      writeFileSync(join(at, "arc.toml"), '[bundle]\nname = "x"\n');
      writeFileSync(join(at, "src/a.ts"), 'import { defineTool } from "@aria/sdk";\nexport const a = defineTool({ run: () => 1 });\n');
      spoil(at);
      const { code, out } = await arc(at, "check", "--json");
      expect([code, (JSON.parse(out) as { error: { code: string } }).error.code]).toEqual([3, id]);
    });
  }
  test("an import of the project's own file without telling to install anything", async () => {
    const at = join(scratch, "no-file");
    mkdirSync(join(at, "src"), { recursive: true });
    writeFileSync(join(at, "arc.toml"), '[bundle]\nname = "x"\n');
    const fixes = async (specifier: string): Promise<unknown> => {
      writeFileSync(join(at, "src/a.ts"), `import { b } from "${specifier}";\nconsole.log(b);\n`);
      const { error } = JSON.parse((await arc(at, "check", "--json")).out) as { error: { code: string; fix: string[] } };
      return [error.code, error.fix];
    };
    expect(await fixes("./b.ts")).toEqual(["ARC1003", []]);
    expect(await fixes("some-package")).toEqual(["ARC1003", ["bun install"]]);
  });
  test("control characters of the source stay harmless", async () => {
    writeFileSync(join(broken, "src/b.ts"), 'export const b: number = "\u001b]0;owned\u0007\u001b[31m";\n');
    const { err } = await arc(broken, "check");
    rmSync(join(broken, "src/b.ts"));
    expect(err).not.toContain("\u001b");
    expect(err).not.toContain("\u0007");
  });
});

describe("inspect refuses", () => {
  test("a file that is no bundle, with the rule", async () => {
    writeFileSync(join(scratch, "no.aria"), "hello");
    expect(await arc(scratch, "inspect", "no.aria")).toMatchObject({ code: 2, err: expect.stringContaining("ARC1104") });
    const { error } = JSON.parse((await arc(scratch, "inspect", "no.aria", "--json")).out) as { error: { details: { reason: string } } };
    expect(error.details.reason).toBe("TRUNCATED");
  });
  test("a file that is not there", async () => expect((await arc(scratch, "inspect", "none.aria")).code).toBe(5));
  test("a directory", async () => expect((await arc(scratch, "inspect", ".")).code).toBe(2));
});
