//! `arc rm`: remove an installed bundle.

import { bundleJson, parseBundle } from "../client/bundle.ts";
import { CALL_TIMEOUT_MS, contextOption, withDevice } from "../client/session.ts";
import { command, flag, positional } from "../command.ts";
import { escapeLine } from "../escape.ts";

export const rm = command({
  name: "rm",
  summary: "Remove a bundle from a device",
  description: "Calls that run keep their files until they end. Without a version every installed version goes. Refused when other bundles need it.",
  args: {
    bundle: positional({ value: "NAME[@VERSION]", help: "Bundle to remove" }),
    withDependants: flag({ help: "Remove the bundles that need it too" }),
    yes: flag({ short: "y", help: "Do not ask" }),
    dryRun: flag({ help: "Only say what would be removed" }),
    context: contextOption,
  },
  examples: ["arc rm weather@0.1.0 --yes"],
  async run({ bundle, withDependants, yes, dryRun, context: name }, context) {
    const { ui, signal } = context;
    const wanted = { ...parseBundle(bundle), withDependants };
    await withDevice(name, context, `remove ${bundle}`, async (device, chosen) => {
      const options = { signal, timeoutMs: CALL_TIMEOUT_MS };
      // Asked first, so that what does not exist or is needed is said before any question.
      const would = (await device.bundles.removeBundle({ ...wanted, dryRun: true }, options)).removed;
      const titles = would.map((found) => escapeLine(`${found.name}@${found.version}`));
      if (dryRun) {
        ui.done({ wouldRemove: would.map(bundleJson) }, () => titles.map((title) => `would remove ${title}`).join("\n"));
        return;
      }
      if (!yes && !(await ui.confirm(`Remove ${titles.join(", ")} from ${chosen.name}?`, "--yes"))) {
        ui.note("nothing was changed");
        return;
      }
      const { removed } = await device.bundles.removeBundle(wanted, options);
      ui.done({ removed: removed.map(bundleJson) }, () => removed.map((found) => `removed ${escapeLine(`${found.name}@${found.version}`)}`).join("\n"));
    });
  },
});
