//! `arc version`: this arc, the device it talks to, and whether the two fit.

import { contextOption, withDevice } from "../client/session.ts";
import { type Context, command, flag } from "../command.ts";
import { configDir, loadConfig } from "../config.ts";
import { skew } from "../doctor.ts";
import { errorJson, UserError } from "../errors.ts";
import { escapeLine } from "../escape.ts";
import { ARC_VERSION, PROTOCOL } from "../version.ts";

/** A version is asked for when something is wrong, so a device that hangs must not hang this. */
const DEVICE_TIMEOUT_MS = 3000;

export const version = command({
  name: "version",
  summary: "Versions of arc and of the device",
  description: "Device and arc work together when their protocol ranges overlap.",
  args: { client: flag({ help: "Do not ask the device" }), context: contextOption },
  async run({ client: clientOnly, context: name }, context) {
    const { ui } = context;
    const client = { version: ARC_VERSION, bun: Bun.version, protocol: PROTOCOL };
    const device = clientOnly ? null : await deviceVersion(name, context);
    const lines = [`arc ${ARC_VERSION} (bun ${Bun.version}, protocol ${PROTOCOL.min}-${PROTOCOL.max})`];
    if (device !== null) lines.push(deviceText(device));
    ui.done({ client, device }, () => lines.join("\n"));
  },
});

type DeviceVersion = { readonly context: string } & ({ readonly node: string; readonly version: string; readonly protocol: { readonly min: number; readonly max: number }; readonly compatible: boolean; readonly skew: string } | { readonly error: ReturnType<typeof errorJson> });

async function deviceVersion(name: string | undefined, context: Context): Promise<DeviceVersion | null> {
  const config = await loadConfig(configDir(context.env));
  const chosen = name ?? config.current;
  if (chosen === undefined) return null;
  try {
    return await withDevice(chosen, { ...context, signal: AbortSignal.any([context.signal, AbortSignal.timeout(DEVICE_TIMEOUT_MS)]) }, "ask the device", async ({ node }) => {
      const { nodeId, version, protocolMin: min, protocolMax: max } = await node.getNode({}, { timeoutMs: DEVICE_TIMEOUT_MS, signal: context.signal });
      const finding = skew(chosen, { protocolMin: min, protocolMax: max });
      return { context: chosen, node: nodeId, version, protocol: { min, max }, compatible: finding.level === "ok", skew: finding.text };
    });
  } catch (error) {
    if (!(error instanceof UserError) || context.signal.aborted || (name !== undefined && error.code === "ARC2032")) throw error;
    return { context: chosen, error: errorJson(error) };
  }
}

function deviceText(device: DeviceVersion): string {
  if ("error" in device) return `${device.context}: ${escapeLine(device.error.message)}`;
  return `${device.context}: ${escapeLine(device.node)} ${escapeLine(device.version)} (protocol ${device.protocol.min}-${device.protocol.max}${device.compatible ? "" : `; ${device.skew}`})`;
}
