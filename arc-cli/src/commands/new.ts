//! `arc new`: a project from a template that arc carries. Works without a network, never writes over anything.

import { existsSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { basename, dirname, join, relative, resolve } from "node:path";

import { command, option, positional } from "../command.ts";
import { NAME } from "../bundle/reader.ts";
import { kebabCase } from "../compiler/name.ts";
import { escapeLine } from "../escape.ts";
import { Exit, UserError } from "../errors.ts";

const TEMPLATES = ["tool", "agent", "team", "pipeline"] as const;
/** What every project has. */
const COMMON = "common";
/** Facts about a template; not part of the project. */
const ABOUT = "template.json";

export const create = command({
  name: "new",
  summary: "Begin a project",
  description: "Writes a small working project into a new or empty directory. The directory's name becomes the bundle's.",
  args: {
    dir: positional({ value: "DIR", help: "Where; default is the current directory", optional: true }),
    template: option({ value: "NAME", help: "What to begin with", choices: TEMPLATES, default: "tool" }),
  },
  examples: ["arc new weather --template tool", "arc new library --template agent"],
  async run({ dir, template }, { ui, cwd }) {
    const target = resolve(cwd, dir ?? ".");
    const name = bundleName(target);
    refuseNonEmpty(target);
    const { files, call, input } = await render(template, name);
    for (const [path, text] of files) write(join(target, path), text);
    const { writeOffline } = await import("../compiler/offline.ts");
    writeOffline(target);
    const shown = relative(cwd, target) || ".";
    ui.done({ directory: target, name, template, files: [...files.keys()] }, () =>
      [`${escapeLine(shown)} is ready`, "", `  cd ${escapeLine(shown)}`, "  arc check && arc build", `  arc upload ${name}-0.1.0.aria`, `  arc invoke ${name}.${call} --input '${input}'`].filter((line) => shown !== "." || line !== "  cd .").join("\n"),
    );
  },
});

function bundleName(target: string): string {
  const name = kebabCase(basename(target).replace(/[^A-Za-z0-9-]+/g, "-")).slice(0, 63);
  if (NAME.test(name)) return name;
  throw new UserError("ARC1048", `${JSON.stringify(basename(target))} gives no bundle name`, { exit: Exit.usage, hint: "choose a directory name of a-z, 0-9 and -, beginning with a letter" });
}

function refuseNonEmpty(target: string): void {
  if (!existsSync(target)) return;
  if (!statSync(target).isDirectory()) throw new UserError("ARC1100", `${target} is a file`, { exit: Exit.conflict, hint: "choose another directory" });
  const found = readdirSync(target).filter((name) => name !== ".git");
  if (found.length > 0) throw new UserError("ARC1100", `${target} is not empty`, { exit: Exit.conflict, hint: "choose a new directory", details: { found: found.slice(0, 10) } });
}

interface Rendered {
  readonly files: Map<string, string>;
  /** A tool of the project to try, and what to give it. */
  readonly call: string;
  readonly input: string;
}

async function render(template: string, name: string): Promise<Rendered> {
  const { templatesDirectory } = await import("../compiler/assets.ts");
  const { call, input } = JSON.parse(readFileSync(join(templatesDirectory, template, ABOUT), "utf8")) as { call: string; input: string };
  const fill = (text: string): string => text.replaceAll("__NAME__", name).replaceAll("__CALL__", call).replaceAll("__INPUT__", input);
  const files = [COMMON, template].flatMap((part) => {
    const root = join(templatesDirectory, part);
    const paths = listFiles(root, "").filter((path) => path !== ABOUT);
    return paths.map((path) => [fill(path).replace(/^gitignore$/, ".gitignore"), fill(readFileSync(join(root, path), "utf8"))] as const);
  });
  return { files: new Map(files), call, input };
}

function listFiles(root: string, below: string): string[] {
  return readdirSync(join(root, below), { withFileTypes: true }).sort((a, b) => (a.name < b.name ? -1 : 1)).flatMap((item) => {
    const path = join(below, item.name);
    return item.isDirectory() ? listFiles(root, path) : [path];
  });
}

function write(path: string, text: string): void {
  try {
    mkdirSync(dirname(path), { recursive: true });
    // `wx`: a file that appeared meanwhile is not ours.
    writeFileSync(path, text, { flag: "wx" });
  } catch (cause) {
    throw new UserError("ARC1102", `${path} cannot be written: ${(cause as Error).message}`, { exit: Exit.conflict, cause });
  }
}
