//! `arc schema`: JSON Schema of what a tool takes and gives.

import { contextOption } from "../client/session.ts";
import { command, option, positional } from "../command.ts";
import { rootAbove } from "../compiler/stamp.ts";
import { Exit, UserError } from "../errors.ts";
import { refer } from "../reference.ts";
import { didYouMean } from "../suggest.ts";

const PARTS = ["input", "output"] as const;

export const schema = command({
  name: "schema",
  summary: "Print the JSON Schema of a tool's input and output",
  description: "`TOOL` is a tool of the project here, BUNDLE.TOOL one of a device. --from names a bundle file, a project or an installed bundle instead.",
  args: {
    tool: positional({ value: "TOOL", help: "<tool> of the project, or <bundle>.<tool> of a device" }),
    part: option({ value: "PART", help: "Only this one", choices: PARTS }),
    from: option({ value: "BUNDLE", help: "A bundle file, a project's directory, or [DEVICE:]NAME[@VERSION]" }),
    context: contextOption,
  },
  examples: ["arc schema forecast", "arc schema weather.forecast --part input", "arc schema forecast --from weather-0.1.0.aria"],
  async run({ tool: text, part, from, context: device }, context) {
    const { ui, cwd } = context;
    const [bundle, short] = text.includes(".") ? [text.slice(0, text.indexOf(".")), text.slice(text.indexOf(".") + 1)] : [undefined, text];
    if (bundle === undefined && from === undefined && rootAbove(cwd) === undefined) {
      throw new UserError("ARC2043", `\`${text}\` names no bundle and there is no project here`, { exit: Exit.notFound, hint: `write <bundle>.${text} for a tool of a device` });
    }
    const { manifest, interfaceDigest } = await refer(from ?? bundle ?? ".", context, device);
    const tool = manifest.tools.find(({ name }) => name === short);
    if (tool === undefined || (bundle !== undefined && bundle !== manifest.name)) {
      const names = manifest.tools.map(({ name }) => name);
      throw new UserError("TOOL_UNKNOWN", `${manifest.name}@${manifest.version} has no tool ${text}`, { exit: Exit.notFound, hint: didYouMean(short, names) ?? `it has ${names.join(", ")}` });
    }
    const { input, output } = tool;
    const data = { tool: `${manifest.name}.${tool.name}`, version: manifest.version, description: tool.description, interfaceDigest, ...(part === "output" ? {} : { input }), ...(part === "input" ? {} : { output }) };
    if (ui.json) ui.done(data);
    else ui.printJson(JSON.stringify(part === undefined ? { input, output } : part === "input" ? input : output, null, 2));
  },
});
