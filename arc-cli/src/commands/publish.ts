//! `arc publish`: a bundle into a registry or a directory.

import { resolve } from "node:path";
import { command, option, positional } from "../command.ts";
import { escapeLine } from "../escape.ts";
import { UserError } from "../errors.ts";
import { parseShelf } from "../registry/reference.ts";
import { openShelf, publishTo } from "../registry/shelf.ts";
import { projectShelf } from "../registry/project.ts";
import { readBundle } from "./inspect.ts";

export const publish = command({
  name: "publish",
  summary: "Put a bundle into a registry or a directory",
  description: "A shelf is `oci://HOST/REPOSITORY` (any OCI registry) or `dir:PATH` (OCI image layouts); the bundle is NAME in it and its version a tag. A published version never changes; publishing it again changes nothing.",
  args: {
    file: positional({ value: "FILE", help: "A bundle made by `arc build`" }),
    to: option({ value: "SHELF", help: "Where to; absent: `[registry] shelf` of the project" }),
  },
  examples: ["arc publish weather-0.1.0.aria --to oci://registry.example.com/tools", "arc publish weather-0.1.0.aria --to dir:../shelf"],
  async run({ file, to }, { ui, cwd, signal }) {
    const { bundle, bytes } = readBundle(resolve(cwd, file), file);
    const chosen = to === undefined ? projectShelf(cwd) : { label: parseShelf(to), cwd };
    if (chosen === undefined) throw new UserError("ARC2210", "nothing says where to publish", { hint: "give --to SHELF, or write `[registry] shelf` into arc.toml" });
    const published = await publishTo(openShelf(chosen.label, chosen.cwd, signal), bundle, bytes);
    const { name, version } = bundle.manifest;
    const reference = `${chosen.label}/${name}@${version}`;
    ui.done({ reference, digest: bundle.digest, published }, () => `${escapeLine(reference)} ${bundle.digest}${published ? "" : " (already there)"}`);
  },
});
