//! `arc upload`: one bundle to a device.

import { resolve } from "node:path";
import { bundleJson } from "../client/bundle.ts";
import { deliver } from "../client/deliver.ts";
import { contextOption } from "../client/session.ts";
import { command, flag, option, positional } from "../command.ts";
import { DeviceError, Exit, UserError } from "../errors.ts";
import { escapeLine } from "../escape.ts";
import { sha256Digest } from "../values.ts";

export const upload = command({
  name: "upload",
  summary: "Send a bundle to a device",
  description:
    "The device takes it when a key it trusts signed it, its name is that publisher's, and its version is not older than one it had. A version that may touch more than the installed one is refused until its authority digest is accepted. Only what the device lacks is sent, and a broken upload goes on where it stopped. Sending the same bundle again changes nothing.",
  args: {
    file: positional({ value: "FILE", help: "A bundle made by `arc build`" }),
    dryRun: flag({ help: "Install nothing; say what the bundle may touch more or less than the installed version" }),
    acceptAuthority: option({ value: "SHA256", help: "Install it though it may touch more; the authority digest that `arc build` prints", parse: sha256Digest }),
    context: contextOption,
  },
  examples: ["arc upload weather-0.1.0.aria", "arc upload weather-0.2.0.aria --dry-run", "arc upload weather-0.2.0.aria --accept-authority sha256:3fb1…"],
  async run({ file, dryRun, acceptAuthority = "", context: name }, context) {
    const answer = await explained(file, () => deliver(resolve(context.cwd, file), name, context, { acceptAuthority, dryRun }));
    const { bundle, alreadyPresent, sentBytes, authority } = answer;
    const changes = (authority?.changes ?? []).map(({ tool, wider, touch }) => ({ tool, wider, touch }));
    const version = authority?.comparedVersion ?? "";
    const waits = (authority?.needsAcceptance ?? false) && acceptAuthority !== bundle?.authorityDigest;
    const data = { bundle: bundle === undefined ? null : bundleJson(bundle), alreadyPresent, sentBytes, authorityChanges: changes, comparedVersion: version || null };
    context.ui.done(dryRun ? { ...data, dryRun, needsAcceptance: waits } : data, () => {
      const title = escapeLine(`${bundle?.name ?? ""}@${bundle?.version ?? ""} ${bundle?.digest ?? ""}`);
      const there = alreadyPresent ? " (already present)" : dryRun ? " (not installed: dry run)" : "";
      const held = waits ? [`refused until accepted: arc upload ${escapeLine(file)} --accept-authority ${escapeLine(bundle?.authorityDigest ?? "")}`] : [];
      return [`${title}${there}`, ...authorityLines(changes, version), ...held].join("\n");
    });
    return waits ? Exit.approval : Exit.ok;
  },
});

function authorityLines(changes: readonly { tool: string; wider: boolean; touch: string }[], version: string): string[] {
  if (version === "") return [];
  if (changes.length === 0) return [`authority as ${escapeLine(version)}`];
  return [`authority against ${escapeLine(version)}:`, ...changes.map(({ tool, wider, touch }) => `  ${wider ? "+" : "-"} ${escapeLine(`${tool} ${touch}`)}`)];
}

/** A refusal for more authority, with the command that accepts exactly this one. */
async function explained<T>(path: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (!(error instanceof UserError) || error.code !== "AUTHORITY_WIDENED") throw error;
    const authority = (error.details as { metadata?: { authority?: string } } | undefined)?.metadata?.authority ?? "";
    const fix = /^sha256:[0-9a-f]{64}$/.test(authority) ? [`arc upload ${path} --dry-run`, `arc upload ${path} --accept-authority ${authority}`] : [`arc upload ${path} --dry-run`];
    throw new DeviceError(error.code, error.message, { exit: error.exit, details: error.details, cause: error, hint: "look at what it may touch more, and accept it if that is wanted; the installed version stays until then", fix });
  }
}
