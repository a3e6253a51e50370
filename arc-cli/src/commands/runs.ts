//! `arc runs`: what was run, newest first.

import { durationText, runJson } from "../client/runs.ts";
import { CALL_TIMEOUT_MS, contextOption, withDevice } from "../client/session.ts";
import { command, flag, option, positional } from "../command.ts";
import { UserError } from "../errors.ts";
import type { Run } from "../gen/aria/v1/runs_pb.ts";
import { ago, table } from "../table.ts";
import { count, since } from "../values.ts";

const NAME = "[a-z][a-z0-9-]{0,62}";
const TOOL = new RegExp(`^(${NAME}(\\.${NAME})?|exec:${NAME})$`);
/** Rows of one answer of the device. */
const PAGE = 1000;
const SHOWN_DEFAULT = 20;

export const runs = command({
  name: "runs",
  summary: "List what was run, newest first",
  description: "One line per call: who, what, how it ended and how long it took. `arc run ID` shows one of them.",
  args: {
    tool: positional({ value: "TOOL", help: "Only of this tool, <bundle>.<tool>, or of a whole bundle; absent: everything", optional: true }),
    outcome: option({ value: "OUTCOME", help: "Only these: running, succeeded, failed (whatever went wrong), cancelled, refused, or a reason such as THREW" }),
    owner: option({ value: "OWNER", help: "Only this caller's; absent: everybody's this identity may see" }),
    since: option({ value: "TIME", help: "Only begun after this: 10m, 2h, or an RFC 3339 time", parse: (text) => since(text, Date.now()) }),
    limit: option({ value: "N", help: "At most this many", parse: count, default: SHOWN_DEFAULT, short: "n" }),
    after: option({ value: "PAGE", help: "Go on where the answer before ended (its `next`)" }),
    all: flag({ help: "Every run that is kept, without --limit" }),
    context: contextOption,
  },
  examples: ["arc runs", "arc runs weather.forecast --outcome failed --since 1h", "arc runs --json --limit 100"],
  async run({ tool, outcome, owner, since: from, limit, after, all, context: name }, context) {
    const { ui, signal } = context;
    if (tool !== undefined && !TOOL.test(tool)) throw new UserError("ARC2044", `\`${tool}\` is neither a tool nor a bundle`, { hint: "write <bundle>.<tool>, or <bundle>" });
    const wanted = all ? Number.POSITIVE_INFINITY : limit;
    const filter = { tool: tool ?? "", outcome: outcome ?? "", owner: owner ?? "", since: from ?? "" };
    const found: Run[] = [];
    let next = after ?? "";
    await withDevice(name, context, "list the runs", async (device) => {
      do {
        const page = await device.runs.listRuns({ ...filter, pageSize: Math.min(PAGE, wanted - found.length), pageToken: next }, { signal, timeoutMs: CALL_TIMEOUT_MS });
        found.push(...page.runs);
        next = page.nextPageToken;
      } while (next !== "" && found.length < wanted);
    });
    ui.done({ runs: found.map(runJson), next: next === "" ? null : next }, () => {
      if (found.length === 0) return "no run fits";
      const now = Date.now();
      const rows = found.map((run) => [run.invocationId, run.tool, run.outcome, run.outcome === "running" ? "" : durationText(run.usage?.wallMs ?? 0n), ago(run.startedAt, now), run.owner]);
      return [table(["RUN", "TOOL", "OUTCOME", "TOOK", "BEGAN", "CALLER"], rows), ...(next === "" ? [] : [`more: --after ${next}`])].join("\n");
    });
  },
});
