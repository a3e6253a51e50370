//! `arc explain`: the long form of every error code, offline.

import { command, positional } from "../command.ts";
import { Exit, UserError } from "../errors.ts";
import { explanations } from "../explanations.ts";
import { didYouMean } from "../suggest.ts";

export const explain = command({
  name: "explain",
  summary: "Explain an error code",
  args: { code: positional({ value: "CODE", help: "For example ARC2001 or TOOL_UNKNOWN; absent: list all", optional: true }) },
  async run({ code }, { ui }) {
    const all = await explanations();
    if (code === undefined) {
      const rows = [...all.values()].map(({ code: id, title }) => ({ code: id, title }));
      ui.done(rows, () => rows.map((row) => `${row.code.padEnd(24)} ${row.title}`).join("\n"));
      return;
    }
    const found = all.get(code.toUpperCase());
    if (found === undefined) {
      throw new UserError("ARC2020", `no error is called \`${code}\``, { exit: Exit.notFound, hint: didYouMean(code.toUpperCase(), all.keys()) ?? "`arc explain` lists all codes" });
    }
    ui.done(found, () => [ui.style.bold(`${found.code}: ${found.title}`), "", found.text, ...found.fix.map((fix) => `\n  ${fix}`)].join("\n"));
  },
});
