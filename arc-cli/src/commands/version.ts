//! `arc version`: client, and device when one is configured.

import { command } from "../command.ts";
import { ARC_VERSION, PROTOCOL } from "../version.ts";

export const version = command({
  name: "version",
  summary: "Versions of arc and of the device",
  args: {},
  async run(_args, { ui }) {
    const client = { version: ARC_VERSION, bun: Bun.version, protocol: PROTOCOL };
    ui.done({ client }, () => `arc ${ARC_VERSION} (bun ${Bun.version}, protocol ${PROTOCOL.min}-${PROTOCOL.max})`);
  },
});
