//! `arc rollback`: calls of a bundle go back to where they went before.

import { bundleJson, parseBundle } from "../client/bundle.ts";
import { CALL_TIMEOUT_MS, contextOption, withDevice } from "../client/session.ts";
import { command, positional } from "../command.ts";
import { UserError } from "../errors.ts";
import { escapeLine } from "../escape.ts";

export const rollback = command({
  name: "rollback",
  summary: "Make calls of a bundle go to the version before",
  description: "The version calls went to before the last change takes them again, and is pinned. Doing it twice comes back. Calls that run are not touched.",
  args: { bundle: positional({ value: "NAME", help: "Bundle" }), context: contextOption },
  examples: ["arc rollback weather"],
  async run({ bundle, context: name }, context) {
    const { ui, signal } = context;
    const wanted = parseBundle(bundle);
    if (wanted.version !== "") throw new UserError("ARC2043", "a rollback goes to the version before and takes no other", { hint: "choose a version with `arc pin`", fix: [`arc pin ${bundle}`] });
    await withDevice(name, context, `roll back ${bundle}`, async (device) => {
      const { bundle: now } = await device.bundles.rollBackBundle({ name: wanted.name }, { signal, timeoutMs: CALL_TIMEOUT_MS });
      ui.done(now === undefined ? null : bundleJson(now), () => `calls of ${escapeLine(wanted.name)} go to ${escapeLine(now?.version ?? "")}, pinned`);
    });
  },
});
