//! `arc rm`: remove an installed bundle.

import { bundleJson } from "../client/bundle.ts";
import { CALL_TIMEOUT_MS, contextOption, withDevice } from "../client/session.ts";
import { command, flag, positional } from "../command.ts";
import { UserError } from "../errors.ts";
import { escapeLine } from "../escape.ts";

export const rm = command({
  name: "rm",
  summary: "Remove a bundle from a device",
  description: "Calls that run keep their files until they end. Without a version every installed version goes.",
  args: {
    bundle: positional({ value: "NAME[@VERSION]", help: "Bundle to remove" }),
    yes: flag({ short: "y", help: "Do not ask" }),
    dryRun: flag({ help: "Only say what would be removed" }),
    context: contextOption,
  },
  examples: ["arc rm weather@0.1.0 --yes"],
  async run({ bundle, yes, dryRun, context: name }, context) {
    const { ui, signal } = context;
    const wanted = parseBundle(bundle);
    await withDevice(name, context, `remove ${bundle}`, async (device, chosen) => {
      const options = { signal, timeoutMs: CALL_TIMEOUT_MS };
      // Asked first, so that what does not exist is said before any question.
      await device.bundles.getBundle(wanted, options);
      if (dryRun) {
        const { bundles } = await device.bundles.listBundles({}, options);
        const would = bundles.filter((found) => found.name === wanted.name && (wanted.version === "" || found.version === wanted.version));
        ui.done({ wouldRemove: would.map(bundleJson) }, () => would.map((found) => `would remove ${escapeLine(`${found.name}@${found.version}`)}`).join("\n"));
        return;
      }
      const what = wanted.version === "" ? `every version of ${wanted.name}` : bundle;
      if (!yes && !(await ui.confirm(`Remove ${what} from ${chosen.name}?`, "--yes"))) {
        ui.note("nothing was changed");
        return;
      }
      const { removed } = await device.bundles.removeBundle(wanted, options);
      ui.done({ removed: removed.map(bundleJson) }, () => removed.map((found) => `removed ${escapeLine(`${found.name}@${found.version}`)}`).join("\n"));
    });
  },
});

function parseBundle(text: string): { name: string; version: string } {
  const match = /^([a-z][a-z0-9-]{0,62})(?:@([0-9A-Za-z.+-]{1,128}))?$/.exec(text);
  if (match === null) throw new UserError("ARC2043", `\`${text}\` is no bundle`, { hint: "write NAME or NAME@VERSION" });
  return { name: match[1] ?? "", version: match[2] ?? "" };
}
