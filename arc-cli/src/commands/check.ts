//! `arc check`: is this a project that builds? Types, tools, options; nothing is written but the editor's `.arc/`.

import { command, positional } from "../command.ts";
import { projectStep } from "../compiler/session.ts";
import { escapeLine } from "../escape.ts";
import { counted, countDeclared } from "../table.ts";

export const check = command({
  name: "check",
  summary: "Check the project: types, options, references, authority",
  description: "Reads the sources and runs nothing of them. Exit code 3 when something is wrong.",
  args: { dir: positional({ value: "DIR", help: "The project; default is the current directory or the nearest above it", optional: true }) },
  examples: ["arc check", "arc check --json"],
  async run({ dir }, context) {
    const { summary, warnings } = await projectStep(dir, context, async (compiled) => {
      const { summarize } = await import("../compiler/build.ts");
      return { summary: summarize(compiled), warnings: compiled.warnings };
    });
    const noted = warnings.length === 0 ? "no problems" : `no errors, ${counted(warnings.length, "warning")}`;
    context.ui.done({ ...summary, diagnostics: warnings.map((warning) => ({ severity: "warning", ...warning })) }, () =>
      [
        `${escapeLine(summary.name)} ${summary.version}: ${countDeclared(summary)}, ${noted}`,
        ...[...summary.tools, ...summary.agents, ...summary.teams, ...summary.pipelines].map((tool) => `  ${escapeLine(tool.name)}  ${escapeLine(tool.description.split("\n")[0] ?? "")}`.trimEnd()),
        `interface  ${summary.interfaceDigest}`,
        `authority  ${summary.authorityDigest}`,
      ].join("\n"),
    );
  },
});
