//! `arc check`: is this a project that builds? Types, tools, options; nothing is written but the editor's `.arc/`.

import { command, positional } from "../command.ts";
import { escapeLine } from "../escape.ts";
import { projectStep } from "../compiler/session.ts";

export const check = command({
  name: "check",
  summary: "Check the project: types, tools, options",
  description: "Reads the sources and runs nothing of them. Exit code 3 when something is wrong.",
  args: { dir: positional({ value: "DIR", help: "The project; default is the current directory or the nearest above it", optional: true }) },
  examples: ["arc check", "arc check --json"],
  async run({ dir }, context) {
    const { summary } = await projectStep(dir, context, async (compiled) => {
      const { summarize } = await import("../compiler/build.ts");
      return { summary: summarize(compiled) };
    });
    const count = summary.tools.length;
    context.ui.done({ ...summary, diagnostics: [] }, () =>
      [
        `${escapeLine(summary.name)} ${summary.version}: ${count} ${count === 1 ? "tool" : "tools"}, no problems`,
        ...summary.tools.map((tool) => `  ${escapeLine(tool.name)}  ${escapeLine(tool.description.split("\n")[0] ?? "")}`.trimEnd()),
        `interface  ${summary.interfaceDigest}`,
        `authority  ${summary.authorityDigest}`,
      ].join("\n"),
    );
  },
});
