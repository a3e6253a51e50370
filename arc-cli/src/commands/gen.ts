//! `arc gen`: code made from a bundle's interface.

import { existsSync, readFileSync } from "node:fs";
import { join, relative, resolve } from "node:path";

import { contextOption } from "../client/session.ts";
import { command, group, option, positional } from "../command.ts";
import { templatesDirectory } from "../compiler/assets.ts";
import { Exit, UserError } from "../errors.ts";
import { escapeLine } from "../escape.ts";
import { clientSource } from "../generate/client.ts";
import { refer } from "../reference.ts";
import { writeWhole } from "./build.ts";

const LANGUAGES = ["ts"] as const;

const client = command({
  name: "client",
  summary: "Write a typed client of a bundle",
  description: "One TypeScript file without dependencies, bound to the interface digest: it asks the device once and refuses one whose interface differs. Calls go through `arc`, or through a transport of your own.",
  args: {
    bundle: positional({ value: "BUNDLE", help: "[DEVICE:]NAME[@VERSION] on a device, a bundle file, or a project's directory; absent: the project here", optional: true }),
    lang: option({ value: "LANG", help: "Language", choices: LANGUAGES, default: "ts" }),
    out: option({ value: "FILE", help: "Where to write it; absent: NAME-client.ts", short: "o" }),
    check: option({ value: "FILE", help: "Write nothing; exit 6 when this file is not what would be written" }),
    context: contextOption,
  },
  examples: ["arc gen client weather --lang ts", "arc gen client weather-0.1.0.aria --out src/weather.ts", "arc gen client weather --check src/weather.ts"],
  async run({ bundle, out, check, context: device }, context) {
    const { ui, cwd } = context;
    const { manifest, interfaceDigest } = await refer(bundle ?? ".", context, device);
    if (manifest.tools.length === 0) throw new UserError("ARC2047", `${manifest.name}@${manifest.version} has no tools`, { exit: Exit.notFound });
    const text = clientSource(manifest, interfaceDigest, readFileSync(join(templatesDirectory, "client/transport.ts"), "utf8"));
    const facts = { name: manifest.name, version: manifest.version, interfaceDigest };
    if (check !== undefined) {
      const path = resolve(cwd, check);
      if (!existsSync(path)) throw new UserError("ARC1103", `${check} does not exist`, { exit: Exit.notFound });
      if (readFileSync(path, "utf8") !== text) throw new UserError("ARC2048", `${check} is not the client of ${manifest.name}@${manifest.version}`, { exit: Exit.conflict, hint: "the interface or this arc changed; write it again", fix: [`arc gen client ${bundle ?? "."} --out ${check}`] });
      ui.done({ file: path, ...facts, current: true }, () => `${escapeLine(check)} is current`);
      return;
    }
    const path = resolve(cwd, out ?? `${manifest.name}-client.ts`);
    writeWhole(path, new TextEncoder().encode(text));
    ui.done({ file: path, ...facts }, () => `${escapeLine(relative(cwd, path) || path)}  ${manifest.tools.length} ${manifest.tools.length === 1 ? "tool" : "tools"} of ${manifest.name}@${manifest.version}, interface ${interfaceDigest}`);
  },
});

export const gen = group({ name: "gen", summary: "Code made from a bundle's interface: client", commands: [client] });
