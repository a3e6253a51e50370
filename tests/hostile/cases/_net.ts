// Guard of the network cases: they send nothing unless this network namespace is empty. A process that sees an interface other than
// loopback has already left its cage, and says so without trying anything.

import { type Case, interfaces } from "./_case.ts";

export function emptyNetwork(c: Case): void {
  const seen = interfaces();
  c.able("read its own interface list", seen !== null);
  const other = (seen ?? []).filter((name) => name !== "lo");
  c.held("no interface but loopback", other.length === 0, other.join(" "));
  if (other.length > 0) c.done("network reachable; nothing was sent");
}

/** A sockaddr_in or sockaddr_in6. */
export function address(family: 4 | 6, bytes: readonly number[], port: number): Uint8Array {
  const out = new Uint8Array(family === 4 ? 16 : 28);
  const view = new DataView(out.buffer);
  view.setUint16(0, family === 4 ? 2 : 10, true);
  view.setUint16(2, port, false);
  out.set(bytes, family === 4 ? 4 : 8);
  return out;
}

/** A sockaddr_un; a name beginning with NUL is abstract. */
export function unixAddress(name: string): Uint8Array {
  const bytes = new TextEncoder().encode(name);
  const abstract = name.startsWith("\0");
  const out = new Uint8Array(2 + bytes.length + (abstract ? 0 : 1));
  out[0] = 1;
  out.set(bytes, 2);
  return out;
}
