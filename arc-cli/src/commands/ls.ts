//! `arc ls`: what is installed.

import { bundleJson } from "../client/bundle.ts";
import { CALL_TIMEOUT_MS, contextOption, withDevice } from "../client/session.ts";
import { command } from "../command.ts";
import { escapeLine } from "../escape.ts";
import type { Bundle } from "../gen/aria/v1/bundles_pb.ts";
import { ago, bytesText, table } from "../table.ts";

export const ls = command({
  name: "ls",
  summary: "List the bundles and tools on a device",
  args: { context: contextOption },
  async run({ context: name }, context) {
    const { ui, signal } = context;
    const { bundles } = await withDevice(name, context, "list bundles", (device) => device.bundles.listBundles({}, { signal, timeoutMs: CALL_TIMEOUT_MS }));
    for (const { name, version, deprecated } of bundles) if (deprecated !== "") ui.warn(escapeLine(`${name}@${version} is deprecated: ${deprecated}`));
    ui.done(bundles.map(bundleJson), () => {
      if (bundles.length === 0) return "no bundle is installed";
      const now = Date.now();
      const rows = bundles.map((bundle) => [bundle.name, bundle.version, callsText(bundle), bytesText(Number(bundle.sizeBytes)), ago(bundle.installedAt, now), bundle.tools.map((tool) => (tool.includes(".") ? tool : `${bundle.name}.${tool}`)).join(" "), bundle.blocked === "" ? bundle.publisher : `not called: ${bundle.blocked}`]);
      return table(["NAME", "VERSION", "CALLS", "SIZE", "INSTALLED", "TOOLS", "PUBLISHER"], rows);
    });
  },
});

/** Whether calls go to this version. */
function callsText({ active, pinned, deprecated }: Bundle): string {
  const marks = [...(pinned ? ["pinned"] : active ? ["active"] : []), ...(deprecated === "" ? [] : ["deprecated"])];
  return marks.length === 0 ? "-" : marks.join(",");
}
