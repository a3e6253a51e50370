// What the serial console says: readiness, the device's fingerprint, and whether the kernel broke before PID 1.

export interface Ready {
  node: string;
  /** Hex SHA-256 of the device's CA. */
  fingerprint: string;
  /** Seconds the guest counted until it was ready. */
  seconds: number;
}

/** The newest readiness in a console log; undefined until it is complete. */
export function readReady(log: string): Ready | undefined {
  const last = (pattern: RegExp): RegExpExecArray | undefined => [...log.matchAll(pattern)].at(-1) as RegExpExecArray | undefined;
  const ready = last(/^aria: ready after ([0-9.]+) s/gm);
  const node = last(/^aria: node (\S+)\r?$/gm);
  const fingerprint = last(/^aria: ca-fingerprint sha256:([0-9a-f]{64})\r?$/gm);
  if (!ready?.[1] || !node?.[1] || !fingerprint?.[1]) return undefined;
  return { node: node[1], fingerprint: fingerprint[1], seconds: Number(ready[1]) };
}

/** An emulator's kernel sometimes dies before the first of our programs runs; only that may be tried again. */
export function brokeBeforeInit(log: string): boolean {
  return !/^aria: /m.test(log) && /Oops|BUG: |Kernel panic|double fault|general protection fault|Unable to handle/.test(log);
}

export function tail(log: string, lines: number): string {
  return log.split("\n").slice(-lines).join("\n");
}
