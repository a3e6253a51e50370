//! `arc inspect`: what a bundle file says about itself, after every check a device makes on it. Needs no device.

import { existsSync, readFileSync, statSync } from "node:fs";
import { resolve } from "node:path";

import { authorityDigest, interfaceDigest } from "../bundle/digest.ts";
import { BundleError } from "../bundle/error.ts";
import { openBundle, type Bundle } from "../bundle/layout.ts";
import { limits } from "../bundle/limits.ts";
import type { AgentManifest, PipelineManifest, TeamManifest } from "../bundle/composites.ts";
import type { Manifest, ToolManifest } from "../bundle/manifest.ts";
import { holds } from "../bundle/signature.ts";
import { command, positional } from "../command.ts";
import { configDir } from "../config.ts";
import { escapeLine } from "../escape.ts";
import { Exit, UserError } from "../errors.ts";
import { bytesText } from "../table.ts";
import { listKeys } from "../trust/keys.ts";

export const inspect = command({
  name: "inspect",
  summary: "Show and verify a bundle file",
  description: "Applies every rule of the bundle format, as a device does. Exit code 2 when the file breaks one.",
  args: { file: positional({ value: "FILE", help: "A bundle made by `arc build`" }) },
  examples: ["arc inspect weather-0.1.0.aria", "arc inspect weather-0.1.0.aria --json"],
  async run({ file }, { ui, cwd, env }) {
    const bundle = readBundle(resolve(cwd, file), file).bundle;
    const signatures = await judged(bundle, configDir(env));
    const digests = { digest: bundle.digest, interfaceDigest: interfaceDigest(bundle.manifest), authorityDigest: authorityDigest(bundle.manifest) };
    ui.done({ ...digests, sizeBytes: bundle.sizeBytes, signatures, manifest: bundle.manifest }, () => describe(bundle, digests, signatures));
  },
});

interface Judged {
  readonly keyId: string;
  /** The key's name here, when it is one of this user's. */
  readonly name: string | null;
  /** Whether it holds; null when the key is not here to check with. */
  readonly holds: boolean | null;
}

/** Each signature, checked with the keys on this machine; a device checks with the keys it trusts. */
async function judged({ envelope }: Bundle, dir: string): Promise<Judged[]> {
  if (envelope === undefined) return [];
  const keys = await listKeys(dir);
  return envelope.signatures.map(({ keyId }) => {
    const key = keys.find((one) => one.keyId === keyId);
    return { keyId, name: key?.name ?? null, holds: key === undefined ? null : holds(envelope, key.publicKey) };
  });
}

/** Reads and checks a bundle file. */
export function readBundle(path: string, shown: string): { bundle: Bundle; bytes: Uint8Array } {
  if (!existsSync(path)) throw new UserError("ARC1103", `${shown} does not exist`, { exit: Exit.notFound });
  const { size } = statSync(path);
  if (!statSync(path).isFile()) throw new UserError("ARC1103", `${shown} is not a file`, { exit: Exit.usage });
  try {
    if (size > limits.fileBytes) throw new BundleError("BUNDLE_TOO_LARGE", `the file is ${size} bytes, limit is ${limits.fileBytes}`);
    const bytes = new Uint8Array(readFileSync(path));
    return { bundle: openBundle(bytes), bytes };
  } catch (cause) {
    if (!(cause instanceof BundleError)) throw cause;
    throw new UserError("ARC1104", `${shown}: ${cause.message} (${cause.reason})`, { exit: Exit.usage, hint: "build it again, or ask its author for the original", details: { reason: cause.reason }, cause });
  }
}

function describe({ manifest, files, sizeBytes }: Bundle, digests: { digest: string; interfaceDigest: string; authorityDigest: string }, signatures: readonly Judged[]): string {
  const facts: readonly (readonly [string, string])[] = [
    ["description", manifest.description],
    ["license", manifest.license],
    ["authors", manifest.authors.join(", ")],
    ["size", `${bytesText(sizeBytes)}, ${files.length} files`],
    ["built by", `${manifest.builder.name} ${manifest.builder.version}`],
    ["digest", digests.digest],
    ["interface", digests.interfaceDigest],
    ["authority", digests.authorityDigest],
    ["signed by", signatures.length === 0 ? "nobody" : signatures.map(shownSignature).join(", ")],
    ...(manifest.program ? ([["program", manifest.program.entry]] as const) : []),
  ];
  const lines = facts.filter(([, value]) => value !== "").map(([label, value]) => `  ${label.padEnd(11)}  ${escapeLine(value)}`);
  return [`${manifest.name}@${manifest.version}`, ...lines, ...manifest.tools.flatMap((tool) => describeTool(manifest.name, tool)), ...describeRest(manifest)].join("\n");
}

function describeRest({ name, agents, teams, pipelines, dependencies }: Manifest): string[] {
  const block = (kind: string, { name: own, title, description }: AgentManifest | TeamManifest | PipelineManifest, facts: readonly (readonly [string, string])[]): string[] => [
    "",
    `${name}.${own}  (${kind})${title === "" ? "" : `  ${escapeLine(title)}`}`,
    ...(description === "" ? [] : [`  ${escapeLine(description.split("\n")[0] ?? "")}`]),
    ...facts.map(([label, value]) => `  ${label.padEnd(9)}  ${escapeLine(value === "" ? "none" : value)}`),
  ];
  return [
    ...agents.flatMap((agent) => block("agent", agent, [["model", [agent.model, ...agent.fallback].join(", then ")], ["tools", agent.tools.join(", ")], ["authority", agent.tokens.join(", ")]])),
    ...teams.flatMap((team) => block("team", team, [["strategy", team.strategy], ["members", team.members.join(", ")], ...(team.lead === undefined ? [] : [["lead", team.lead] as const])])),
    ...pipelines.flatMap((pipeline) => block("pipeline", pipeline, [["steps", pipeline.steps.map(({ id, uses, after }) => `${id} = ${uses}${after.length === 0 ? "" : ` after ${after.join(", ")}`}`).join("; ")]])),
    ...(dependencies.length === 0 ? [] : ["", ...dependencies.map((one) => `needs ${one.name} ${one.version}`)]),
  ];
}

function shownSignature({ keyId, name, holds }: Judged): string {
  if (holds === null) return `${keyId} (a key that is not here)`;
  return holds ? `${keyId} (${name})` : `${keyId} (${name}): THE SIGNATURE DOES NOT HOLD`;
}

function describeTool(bundle: string, tool: ToolManifest): string[] {
  const asked = [...tool.tokens, ...tool.egress.map((host) => `egress ${host}`), ...tool.secrets.map((name) => `secret ${name}`), ...(tool.spawn ? ["spawn"] : []), ...(tool.jit === false ? ["no jit"] : [])];
  const inputs = tool.input["properties"];
  const names = typeof inputs === "object" && inputs !== null ? Object.keys(inputs) : [];
  return [
    "",
    `${bundle}.${tool.name}${tool.title === "" ? "" : `  ${escapeLine(tool.title)}`}`,
    ...(tool.description === "" ? [] : [`  ${escapeLine(tool.description.split("\n")[0] ?? "")}`]),
    `  input      ${names.length === 0 ? "none" : escapeLine(names.join(", "))}`,
    `  authority  ${asked.length === 0 ? "none" : escapeLine(asked.join(", "))}`,
    `  timeout    ${tool.timeoutMs} ms`,
  ];
}
