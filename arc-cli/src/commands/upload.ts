//! `arc upload`: one bundle to a device.

import { basename } from "node:path";
import { chunksOf, type HashedFile, openHashed } from "../client/blobs.ts";
import type { Device } from "../client/channel.ts";
import { contextOption, withDevice } from "../client/session.ts";
import { type Context, command, positional } from "../command.ts";
import { escapeLine } from "../escape.ts";
import type { UploadBundleResponse } from "../gen/aria/v1/bundles_pb.ts";
import { bytesText } from "../table.ts";
import { bundleJson } from "../client/bundle.ts";

export const upload = command({
  name: "upload",
  summary: "Send a bundle to a device",
  description: "Sending the same bundle again changes nothing.",
  args: { file: positional({ value: "FILE", help: "A bundle made by `arc build`" }), context: contextOption },
  examples: ["arc upload weather-0.1.0.aria"],
  async run({ file: path, context: name }, context) {
    const file = await openHashed(path, "bundle");
    try {
      const answer = await withDevice(name, context, `upload ${basename(path)}`, (device) => send(device, file, context));
      const { bundle, alreadyPresent } = answer;
      context.ui.done({ bundle: bundle === undefined ? null : bundleJson(bundle), alreadyPresent }, () => {
        const title = `${bundle?.name ?? ""}@${bundle?.version ?? ""}`;
        return `${escapeLine(title)} ${escapeLine(bundle?.digest ?? "")}${alreadyPresent ? " (already present)" : ""}`;
      });
    } finally {
      await file.handle.close();
    }
  },
});

async function send(device: Device, file: HashedFile, { ui, signal }: Context): Promise<UploadBundleResponse> {
  const bar = ui.progress(basename(file.path), Number(file.sizeBytes), bytesText);
  async function* parts() {
    yield { part: { case: "start" as const, value: { file: { sha256: file.sha256, sizeBytes: file.sizeBytes } } } };
    for await (const chunk of chunksOf(file.handle)) {
      yield { part: { case: "chunk" as const, value: chunk } };
      bar.advance(chunk.byteLength);
    }
  }
  try {
    return await device.bundles.uploadBundle(parts(), { signal });
  } finally {
    bar.end();
  }
}
