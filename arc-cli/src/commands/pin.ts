//! `arc pin`: which version of a bundle calls go to.

import { bundleJson, parseBundle } from "../client/bundle.ts";
import { CALL_TIMEOUT_MS, contextOption, withDevice } from "../client/session.ts";
import { command, flag, positional } from "../command.ts";
import { UserError } from "../errors.ts";
import { escapeLine } from "../escape.ts";

export const pin = command({
  name: "pin",
  summary: "Make calls of a bundle go to one version",
  description: "Newer versions that are installed later do not take the calls. Without a version it stays where it is; --newest lets it follow the newest again. Calls that run are not touched.",
  args: {
    bundle: positional({ value: "NAME[@VERSION]", help: "Bundle and version" }),
    newest: flag({ help: "Follow the newest version, now and later" }),
    context: contextOption,
  },
  examples: ["arc pin weather@0.1.0", "arc pin weather --newest"],
  async run({ bundle, newest, context: name }, context) {
    const { ui, signal } = context;
    const { name: wanted, version } = parseBundle(bundle);
    if (newest && version !== "") throw new UserError("ARC2043", "--newest takes no version", { hint: "write NAME --newest" });
    await withDevice(name, context, `pin ${bundle}`, async (device) => {
      const options = { signal, timeoutMs: CALL_TIMEOUT_MS };
      const target = newest || version !== "" ? version : ((await device.bundles.getBundle({ name: wanted }, options)).bundle?.version ?? "");
      const { bundle: now } = await device.bundles.pinBundle({ name: wanted, version: target }, options);
      ui.done(now === undefined ? null : bundleJson(now), () => `calls of ${escapeLine(wanted)} go to ${escapeLine(now?.version ?? "")}${now?.pinned === true ? ", pinned" : ""}`);
    });
  },
});
