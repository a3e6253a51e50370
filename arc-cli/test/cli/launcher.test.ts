//! `out/bin/arc`: the shell around the program. Its ready answer to `--help` is the program's own, in every setting.

import { expect, test } from "bun:test";
import { join } from "node:path";

const launcher = join(import.meta.dir, "../../../out/bin/arc");

function help(env: Record<string, string>, words = ["--help"]): { out: string; code: number } {
  const { stdout, exitCode } = Bun.spawnSync([launcher, ...words], { env: { PATH: "/usr/bin:/bin", ...env } });
  return { out: stdout.toString(), code: exitCode };
}

test("help from the launcher is the help of the program, word for word", () => {
  // `-q` and a colour setting both go to the program.
  const program = help({}, ["--help", "-q"]);
  expect(program.code).toBe(0);
  expect(help({})).toEqual(program);
  expect(help({}, ["-h"])).toEqual(program);
  expect(help({ NO_COLOR: "1" })).toEqual(program);
});

test("colour is the program's business when somebody asks for it", () => {
  expect(help({ FORCE_COLOR: "1" }).out).toContain("\u001b[1musage\u001b[22m");
  expect(help({ CLICOLOR_FORCE: "1" }).out).toContain("\u001b[1musage\u001b[22m");
});

test("a help that cannot be written is a failure", () => {
  const { exitCode } = Bun.spawnSync(["sh", "-c", '"$0" --help > /dev/full', launcher], { stderr: "ignore" });
  expect(exitCode).not.toBe(0);
});
