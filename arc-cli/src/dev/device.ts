//! Which device `arc dev` works with: one on this machine if it answers, else the current one.

import { type Device, openDevice, type Target } from "../client/channel.ts";
import { contextTarget } from "../client/session.ts";
import type { Context } from "../command.ts";
import { chooseContext, type Config, configDir, type DeviceContext, loadConfig } from "../config.ts";

export const SYSTEM_SOCKET = "/run/aria/api.sock";

export interface Place {
  /** Name of the context, or the socket's path. */
  readonly name: string;
  readonly address: string;
  readonly local: boolean;
  readonly target: Target;
}

/** Contexts that are on this machine: the current one first, then `dev`, then the others. */
export function localContexts({ current, contexts }: Config): string[] {
  const rank = (name: string): number => (name === current ? 0 : name === "dev" ? 1 : 2);
  return Object.entries(contexts)
    .filter(([, { address, socket }]) => (address === "" ? socket !== undefined : isLoopback(address)))
    .map(([name]) => name)
    .sort((a, b) => rank(a) - rank(b) || (a < b ? -1 : 1));
}

const isLoopback = (address: string): boolean => /^(127\.[0-9.]+|\[::1\]|localhost):[0-9]+$/.test(address);

/** Chooses and opens. Throws when the one that was named, or in the end the current one, does not answer. */
export async function openPlace(named: string | undefined, context: Context): Promise<{ place: Place; device: Device }> {
  const dir = configDir(context.env);
  const config = await loadConfig(dir);
  const open = async (place: Place): Promise<{ place: Place; device: Device }> => ({ place, device: await openDevice(place.target, context.signal, `reach ${place.name}`) });
  const wanted = named ?? context.env["ARC_CONTEXT"];
  if (wanted !== undefined && wanted !== "") return await open(await placeOf(chooseContext(config, dir, wanted)));
  for (const name of localContexts(config)) {
    const found = await placeOf(chooseContext(config, dir, name)).then(open).catch(() => undefined);
    if (found !== undefined) return found;
  }
  if (config.current === undefined) {
    const socket: Place = { name: SYSTEM_SOCKET, address: SYSTEM_SOCKET, local: true, target: { kind: "socket", path: SYSTEM_SOCKET } };
    const found = await open(socket).catch(() => undefined);
    if (found !== undefined) return found;
  }
  return await open(await placeOf(chooseContext(config, dir, undefined)));
}

async function placeOf(chosen: DeviceContext): Promise<Place> {
  const target = await contextTarget(chosen);
  const address = chosen.address === "" ? (chosen.socket ?? "") : chosen.address;
  return { name: chosen.name, address, local: target.kind === "socket" || isLoopback(chosen.address), target };
}
