// Raw system calls from TypeScript, for probes.
import { dlopen, ptr } from "bun:ffi";

const word = "u64" as const;
const libc = dlopen("libc.so.6", {
  syscall: { args: ["i64", word, word, word, word, word, word], returns: "i64" },
  __errno_location: { args: [], returns: "ptr" },
});

import { read } from "bun:ffi";

/** The result, or minus errno. */
export function sys(number: number | bigint, ...args: (number | bigint | Uint8Array | string)[]): number {
  const keep: Uint8Array[] = [];
  const words = Array.from({ length: 6 }, (_, index) => {
    let value = args[index] ?? 0;
    if (typeof value === "string") value = new TextEncoder().encode(value + "\0");
    if (value instanceof Uint8Array) {
      keep.push(value);
      return BigInt(ptr(value));
    }
    return BigInt.asUintN(64, BigInt(value));
  }) as [bigint, bigint, bigint, bigint, bigint, bigint];
  const result = Number(libc.symbols.syscall(BigInt(number), ...words));
  const errno = read.i32(libc.symbols.__errno_location()!, 0);
  if (keep.length > 6) throw new Error("unreachable");
  return result === -1 ? -errno : result;
}

/** "ok", or the error's code. */
export function attempt(action: () => unknown): string {
  try {
    action();
    return "ok";
  } catch (error) {
    return (error as { code?: string }).code ?? String(error);
  }
}

export const EPERM = -1;
export const ENOSYS = -38;
