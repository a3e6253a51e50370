//! From a context's name to an open connection, and back to one clear error.

import { readFile } from "node:fs/promises";
import { type Context, option } from "../command.ts";
import { chooseContext, configDir, type DeviceContext, loadConfig } from "../config.ts";
import { Exit, UserError } from "../errors.ts";
import { splitAddress } from "./address.ts";
import type { Device, Target } from "./channel.ts";

/** `--context`, the same in every command that talks to a device. */
export const contextOption = option({ value: "NAME", help: "Device to talk to; absent: the current one", env: "ARC_CONTEXT" });

/** Default time for one unary call that does no work. */
export const CALL_TIMEOUT_MS = 10_000;

/** Opens the chosen device, runs `use`, closes it. Whatever fails is explained as a failure of `doing`. */
export async function withDevice<T>(name: string | undefined, context: Context, doing: string, use: (device: Device, chosen: DeviceContext) => Promise<T>): Promise<T> {
  const dir = configDir(context.env);
  const chosen = chooseContext(await loadConfig(dir), dir, name);
  const target = await contextTarget(chosen);
  context.ui.detail(`device ${chosen.name} at ${target.kind === "tls" ? chosen.address : target.path}`);
  return await withTarget(target, context.signal, doing, (device) => use(device, chosen));
}

export async function withTarget<T>(target: Target, signal: AbortSignal, doing: string, use: (device: Device) => Promise<T>): Promise<T> {
  // The wire is the largest part of arc; who asks for help or for a version does not wait for it.
  const { openDevice } = await import("./channel.ts");
  const device = await openDevice(target, signal, doing);
  try {
    return await use(device);
  } catch (error) {
    if (error instanceof UserError || !isCallFailure(error)) throw error;
    throw await device.explain(error, doing);
  } finally {
    device.close();
  }
}

/** A failure of a call has a numeric gRPC code or a system code; anything else is a bug of ours and keeps its stack. */
function isCallFailure(error: unknown): boolean {
  return error !== null && typeof error === "object" && "name" in error && (error.name === "ConnectError" || error.name === "AbortError");
}

/** Reads the credentials of a context. */
export async function contextTarget(chosen: DeviceContext): Promise<Target> {
  if (chosen.address === "") {
    if (chosen.socket !== undefined) return { kind: "socket", path: chosen.socket };
    throw new UserError("ARC2036", `context ${chosen.name} has no address`, { exit: Exit.notFound, fix: ["arc device init"] });
  }
  const [ca, certificate, key] = await Promise.all([credential(chosen.ca, chosen), credential(chosen.certificate, chosen), credential(chosen.key, chosen)]);
  return { kind: "tls", ...splitAddress(chosen.address), ca, certificate, key, serverName: chosen.node };
}

async function credential(path: string, chosen: DeviceContext): Promise<string> {
  try {
    return await readFile(path, "utf8");
  } catch (error) {
    const denied = (error as NodeJS.ErrnoException).code === "EACCES";
    throw new UserError("ARC2037", `read the credentials of ${chosen.name}: ${(error as Error).message}`, {
      exit: denied ? Exit.denied : Exit.notFound,
      cause: error,
      hint: denied ? "they belong to another user" : "enrol again",
      fix: denied ? [] : ["arc device init"],
    });
  }
}
