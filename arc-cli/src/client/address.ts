//! Where a device is and how its authority is recognised, as people write it.

import { isIP } from "node:net";
import { UserError } from "../errors.ts";

/** `host:port`, `[v6]:port`. */
export function splitAddress(address: string): { host: string; port: number } {
  const match = /^(?:\[([0-9a-fA-F:.]+)\]|([^\s:/[\]@]+)):([0-9]{1,5})$/.exec(address);
  const host = match?.[1] ?? match?.[2] ?? "";
  const port = Number(match?.[3] ?? 0);
  const valid = host !== "" && port >= 1 && port <= 65_535 && (match?.[1] === undefined || isIP(host) === 6);
  if (!valid) throw new UserError("ARC2038", `\`${address}\` is no address`, { hint: "write HOST:PORT, for example 192.168.1.20:7600 or [fd00::20]:7600" });
  return { host, port };
}

/** `sha256:` and colons are allowed, as openssl prints them. */
export function fingerprint(text: string): string {
  const hex = text.replace(/^sha-?256[:=]/i, "").replaceAll(":", "").toLowerCase();
  if (!/^[0-9a-f]{64}$/.test(hex)) throw new Error("must be a SHA-256 in hex (64 digits)");
  return hex;
}
