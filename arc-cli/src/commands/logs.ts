//! `arc logs`: what runs wrote and what happened to them.

import { contextOption, withDevice } from "../client/session.ts";
import { command, flag, option, positional } from "../command.ts";
import { Exit, UserError } from "../errors.ts";
import { escapeLine, escapeText } from "../escape.ts";
import type { StreamLogsResponse } from "../gen/aria/v1/node_pb.ts";
import type { Style } from "../ui.ts";
import { count, since } from "../values.ts";

const NAME = "[a-z][a-z0-9-]{0,62}";

export const logs = command({
  name: "logs",
  summary: "Show what runs wrote and what happened to them",
  args: {
    what: positional({ value: "RUN|TOOL", help: "Id of one run, or <bundle>.<tool>; absent: everything", optional: true }),
    follow: flag({ short: "f", help: "Go on as new lines come" }),
    since: option({ value: "TIME", help: "Only newer than this: 10m, 2h, or an RFC 3339 time", parse: (text) => since(text, Date.now()) }),
    tail: option({ value: "N", help: "At most this many of the newest", parse: count, short: "n" }),
    context: contextOption,
  },
  examples: ["arc logs weather.forecast -f", "arc logs --since 10m"],
  async run({ what, follow, since: from, tail, context: name }, context) {
    const { ui, signal } = context;
    const request = { ...selection(what), since: from ?? "", follow, tail: tail ?? 0 };
    return await withDevice(name, context, "read the log", async (device) => {
      try {
        for await (const line of device.node.streamLogs(request, { signal })) {
          if (ui.json) ui.event({ type: "log", ...lineJson(line) });
          else ui.print(lineText(line, ui.style));
          await ui.flush();
        }
      } catch (error) {
        // Ctrl-C is how following ends.
        if (!follow || !signal.aborted) throw error;
        return Exit.interrupted;
      }
      return Exit.ok;
    });
  },
});

/** `a.b` is a tool, `exec:name` a program; anything else is the id of a run. */
function selection(what: string | undefined): { tool: string; invocationId: string } {
  if (what === undefined) return { tool: "", invocationId: "" };
  if (new RegExp(`^(${NAME}\\.${NAME}|exec:${NAME})$`).test(what)) return { tool: what, invocationId: "" };
  if (/^[A-Za-z0-9_-]{1,128}$/.test(what)) return { tool: "", invocationId: what };
  throw new UserError("ARC2044", `\`${what}\` is neither a run nor a tool`, { hint: "write the id of a run, or <bundle>.<tool>" });
}

export function lineJson({ time, invocationId, tool, source, level, text }: StreamLogsResponse): Record<string, string> {
  return { time, invocationId, tool, source, level, text };
}

export function lineText({ time, invocationId, tool, source, level, text }: StreamLogsResponse, style: Style): string {
  const mark = level === "error" ? style.red : level === "warn" ? style.yellow : style.dim;
  const kind = escapeLine(source === "log" ? level : source).padEnd(6);
  const indented = escapeText(text.replace(/\n$/, "")).replaceAll("\n", "\n    ");
  return `${style.dim(escapeLine(time))} ${style.cyan(escapeLine(tool))} ${style.dim(escapeLine(invocationId.slice(0, 12)))} ${mark(kind)} ${indented}`;
}
