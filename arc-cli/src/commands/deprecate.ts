//! `arc deprecate`: say why a version should not be used any more.

import { bundleJson, parseVersion } from "../client/bundle.ts";
import { CALL_TIMEOUT_MS, contextOption, withDevice } from "../client/session.ts";
import { command, flag, option, positional } from "../command.ts";
import { UserError } from "../errors.ts";
import { escapeLine } from "../escape.ts";

export const deprecate = command({
  name: "deprecate",
  summary: "Say why a version should not be used any more",
  description: "It is still called; `arc ls` and whoever calls it are told.",
  args: {
    bundle: positional({ value: "NAME@VERSION", help: "Bundle and version" }),
    why: option({ value: "TEXT", help: "What to use instead, at most 500 bytes" }),
    undo: flag({ help: "Take it back" }),
    context: contextOption,
  },
  examples: ['arc deprecate weather@0.1.0 --why "use 0.2.0: it knows the southern hemisphere"'],
  async run({ bundle, why, undo, context: name }, context) {
    const { ui, signal } = context;
    const wanted = parseVersion(bundle);
    if (undo === (why !== undefined) || why === "") throw new UserError("ARC2002", "one of --why and --undo is needed", { hint: "say what to use instead, in one sentence" });
    await withDevice(name, context, `deprecate ${bundle}`, async (device) => {
      const { bundle: now } = await device.bundles.deprecateBundle({ ...wanted, why: why ?? "" }, { signal, timeoutMs: CALL_TIMEOUT_MS });
      ui.done(now === undefined ? null : bundleJson(now), () => `${escapeLine(bundle)} is ${undo ? "not deprecated any more" : "deprecated"}`);
    });
  },
});
