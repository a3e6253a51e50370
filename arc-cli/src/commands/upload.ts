//! `arc upload`: one bundle to a device.

import { resolve } from "node:path";
import { bundleJson } from "../client/bundle.ts";
import { deliver } from "../client/deliver.ts";
import { contextOption } from "../client/session.ts";
import { command, positional } from "../command.ts";
import { escapeLine } from "../escape.ts";

export const upload = command({
  name: "upload",
  summary: "Send a bundle to a device",
  description: "Only what the device lacks is sent, and a broken upload goes on where it stopped. Sending the same bundle again changes nothing.",
  args: { file: positional({ value: "FILE", help: "A bundle made by `arc build`" }), context: contextOption },
  examples: ["arc upload weather-0.1.0.aria"],
  async run({ file, context: name }, context) {
    const { bundle, alreadyPresent, sentBytes } = await deliver(resolve(context.cwd, file), name, context);
    context.ui.done({ bundle: bundle === undefined ? null : bundleJson(bundle), alreadyPresent, sentBytes }, () => {
      const title = `${bundle?.name ?? ""}@${bundle?.version ?? ""}`;
      return `${escapeLine(title)} ${escapeLine(bundle?.digest ?? "")}${alreadyPresent ? " (already present)" : ""}`;
    });
  },
});
