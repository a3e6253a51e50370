// C59 and C60 through the guest door: forged, broken, double and endless answers of a tool each end in one typed outcome, and the
// same device answers the next honest call.

import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { arcProgram, root, run, type Run } from "../../stand/host.ts";
import { type Driver, Findings } from "./driver.ts";

const PROJECT = join(root, "tests/hostile/projects/results");

/** What a call of the misfits must end in; `answers` means success with exactly this output. */
type Expected = { reasons: readonly string[] } | { answers: unknown };
const invalid: Expected = { reasons: ["RESULT_INVALID"] };
const threw: Expected = { reasons: ["THREW"] };

const CALLS: readonly [tool: string, way: string, expected: Expected][] = [
  ["forge", "two-results", invalid], ["forge", "no-json", invalid], ["forge", "duplicate-keys", invalid], ["forge", "deep", invalid], ["forge", "wrong-type", invalid],
  ["forge", "extra-property", invalid], ["forge", "lone-surrogate", invalid], ["forge", "huge-number", invalid], ["forge", "frame-no-json", { reasons: ["RESULT_INVALID", "EXITED"] }],
  ["forge", "frame-unknown", { reasons: ["RESULT_INVALID", "EXITED"] }], ["forge", "frame-not-utf8", { reasons: ["RESULT_INVALID", "EXITED"] }],
  ["forge", "frame-too-long", { reasons: ["OUTPUT_TOO_LARGE", "RESULT_INVALID"] }], ["forge", "frame-empty", { reasons: ["RESULT_INVALID", "EXITED"] }],
  ["forge", "short-frame", { reasons: ["RESULT_INVALID", "EXITED"] }], ["forge", "honest-exit", { reasons: ["EXITED"] }],
  ["fail", "error", threw], ["fail", "string", threw], ["fail", "nothing", threw], ["fail", "getter", threw], ["fail", "proxy", threw], ["fail", "escape-codes", threw], ["fail", "huge", threw],
  ["end", "exit-0", { reasons: ["EXITED"] }], ["end", "exit-7", { reasons: ["EXITED"] }], ["end", "hang", { reasons: ["DEADLINE"] }], ["end", "spin", { reasons: ["DEADLINE"] }],
  ["end", "flood", { reasons: ["OUTPUT_TOO_LARGE"] }], ["end", "allocate", { reasons: ["OOM_KILLED"] }], ["end", "kill", { reasons: ["SIGNALLED"] }],
  ["end", "close-door", { reasons: ["EXITED", "RESULT_INVALID", "THREW"] }],
  ["odd", "nan", invalid], ["odd", "infinity", invalid], ["odd", "bigint", invalid], ["odd", "cycle", invalid], ["odd", "surrogate", invalid], ["odd", "map", invalid],
  ["odd", "huge", { reasons: ["RESULT_INVALID", "OUTPUT_TOO_LARGE", "OOM_KILLED"] }], ["odd", "to-json", { reasons: ["RESULT_INVALID"] }],
  ["odd", "getter", { reasons: ["RESULT_INVALID", "THREW"] }], ["odd", "nothing", invalid], ["odd", "plain", { answers: { value: 1 } }],
];

/** What came back of one call: the answer, or the error's code. */
export interface Answer {
  ok: boolean;
  code: string;
  output: unknown;
  exit: number;
  text: string;
}

export function answerOf(done: Run): Answer {
  let body: { ok?: boolean; data?: { output?: unknown }; error?: { code?: string } } = {};
  try {
    body = JSON.parse(done.stdout) as typeof body;
  } catch {
    // What is no JSON is shown as it came.
  }
  return { ok: body.ok === true, code: body.error?.code ?? "", output: body.data?.output, exit: done.code, text: `${done.stdout}${done.stderr}`.slice(0, 400) };
}

export const results: Driver = {
  name: "C60 results",
  attack: "answer through the guest door with forged, broken, double, endless and absent results",
  holds: "the reader of frames and results (ariad)",
  where: "any",
  heavy: false,
  async run(device) {
    const findings = new Findings();
    const directory = mkdtempSync(join(tmpdir(), "misfits-"));
    const arc = (...args: string[]): Promise<Run> => run([arcProgram, ...args], { env: { ARC_CONFIG_DIR: device.configDir, NO_COLOR: "1" } });
    try {
      const bundle = join(directory, "misfits.aria");
      const built = await arc("build", PROJECT, "--out", bundle);
      findings.check("the misfits build", built.code === 0, built.stderr);
      const uploaded = await arc("upload", bundle);
      findings.check("the misfits upload", uploaded.code === 0, uploaded.stderr);
      for (const [tool, way, expected] of CALLS) {
        const answer = answerOf(await arc("--json", "invoke", `misfits.${tool}`, "--input", JSON.stringify({ way })));
        const what = `${tool} ${way}`;
        if ("answers" in expected) findings.check(what, answer.ok && Bun.deepEquals(answer.output, expected.answers), answer.text);
        else findings.check(`${what} is ${expected.reasons.join(" or ")}`, !answer.ok && answer.exit === 9 && expected.reasons.includes(answer.code), answer.text);
        findings.check(`${what} drives no terminal`, !/[\u001b\u0007]/.test(answer.text), JSON.stringify(answer.text));
      }
      for (const way of ["link", "hard-link", "directory", "control"]) {
        const answer = answerOf(await arc("--json", "invoke", "misfits.leave", "--input", JSON.stringify({ way })));
        findings.check(`leave ${way} brings back no link and no strange name`, !/"name":"(link|directory|[^"]*red[^"]*)"/.test(answer.text), answer.text);
      }
      const chatter = answerOf(await arc("--json", "invoke", "misfits.chatter", "--input", '{"lines":20000}'));
      findings.check("a chatty tool still answers", chatter.ok && Bun.deepEquals(chatter.output, { said: 20_000 }), chatter.text);
      const removed = await arc("rm", "misfits", "--yes");
      findings.check("the misfits can be removed", removed.code === 0, removed.stderr);
    } finally {
      rmSync(directory, { recursive: true, force: true });
    }
    return findings.verdict();
  },
};
