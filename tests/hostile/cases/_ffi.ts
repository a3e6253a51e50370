// Raw system calls from TypeScript, the way a hostile tool gets them: machine code placed in memory and called through bun:ffi.
// Every call returns what the kernel returned: a value, or minus the error number. Only x86-64 numbers are known here.

import { CFunction, dlopen, ptr, toArrayBuffer, type Pointer } from "bun:ffi";

export type Arg = number | bigint | ArrayBufferView | string | null;

// Opened when it is first needed: where nothing may be made executable, a case without raw calls still runs.
const openLibc = () => dlopen("libc.so.6", { mmap: { args: ["u64", "u64", "i32", "i32", "i32", "i64"], returns: "ptr" } });
let libc: ReturnType<typeof openLibc> | undefined;

const PROT_READ_WRITE_EXEC = 7;
const MAP_PRIVATE_ANONYMOUS = 0x22;
const MAP_32BIT = 0x40;

/** Keeps buffers handed to the kernel alive for the whole run. */
const kept: unknown[] = [];

/** A fresh anonymous mapping that may be written and executed, below 2 GiB when `low`. */
export function pages(bytes: number, low = false): { address: number; view: Uint8Array } {
  libc ??= openLibc();
  const address = libc.symbols.mmap(0, bytes, PROT_READ_WRITE_EXEC, MAP_PRIVATE_ANONYMOUS | (low ? MAP_32BIT : 0), -1, 0);
  if (address === null || Number(address) < 4096) throw new Error("mmap of executable memory refused");
  return { address: Number(address), view: new Uint8Array(toArrayBuffer(address, 0, bytes)) };
}

/** Places machine code and returns it as a function of up to seven integers. */
export function place(code: ArrayLike<number>, low = false): (...args: (number | bigint)[]) => bigint {
  const area = pages(Math.max(4096, (code.length + 4095) & ~4095), low);
  area.view.set(code as ArrayLike<number>);
  const call = CFunction({
    ptr: area.address as Pointer,
    args: ["i64", "i64", "i64", "i64", "i64", "i64", "i64"],
    returns: "i64",
  });
  kept.push(call, area);
  return (...args) => {
    const full = Array.from({ length: 7 }, (_, i) => BigInt.asIntN(64, BigInt(args[i] ?? 0)));
    return call(...full) as bigint;
  };
}

// mov rax,rdi; mov rdi,rsi; mov rsi,rdx; mov rdx,rcx; mov r10,r8; mov r8,r9; mov r9,[rsp+8]; syscall; ret
const SYSCALL = [
  0x48, 0x89, 0xf8, 0x48, 0x89, 0xf7, 0x48, 0x89, 0xd6, 0x48, 0x89, 0xca, 0x4d, 0x89, 0xc2, 0x4d, 0x89, 0xc8, 0x4c, 0x8b, 0x4c, 0x24, 0x08,
  0x0f, 0x05, 0xc3,
];
let raw: ReturnType<typeof place> | undefined;

/** A NUL-terminated string the kernel can read. */
export function cstr(text: string): Uint8Array {
  return new TextEncoder().encode(text + "\0");
}

export function addressOf(view: ArrayBufferView): number {
  kept.push(view);
  if (kept.length > 20_000) kept.splice(16, 10_000);
  return Number(ptr(view as Uint8Array));
}

function toInteger(arg: Arg): number | bigint {
  if (arg === null) return 0;
  if (typeof arg === "number" || typeof arg === "bigint") return arg;
  return addressOf(typeof arg === "string" ? cstr(arg) : arg);
}

/** The system call with this number. Result: value or -errno. */
export function sys(nr: number | bigint, ...args: Arg[]): number {
  raw ??= place(SYSCALL);
  return Number(raw(nr, ...args.map(toInteger)));
}

/** Pointers as eight little-endian bytes each. */
export function words(...values: (number | bigint)[]): Uint8Array {
  return new Uint8Array(BigInt64Array.from(values.map((v) => BigInt.asIntN(64, BigInt(v)))).buffer);
}

export const AT_FDCWD = -100;
export const O = {
  RDONLY: 0, WRONLY: 1, RDWR: 2, CREAT: 0o100, EXCL: 0o200, TRUNC: 0o1000, APPEND: 0o2000, DIRECTORY: 0o200000,
  NOFOLLOW: 0o400000, CLOEXEC: 0o2000000, PATH: 0o10000000, TMPFILE: 0o20200000, NONBLOCK: 0o4000,
} as const;

export const E = {
  PERM: 1, NOENT: 2, SRCH: 3, IO: 5, NXIO: 6, BADF: 9, CHILD: 10, AGAIN: 11, NOMEM: 12, ACCES: 13, FAULT: 14, BUSY: 16, EXIST: 17,
  XDEV: 18, NODEV: 19, NOTDIR: 20, ISDIR: 21, INVAL: 22, NFILE: 23, MFILE: 24, NOTTY: 25, TXTBSY: 26, FBIG: 27, NOSPC: 28, ROFS: 30,
  NOSYS: 38, LOOP: 40, OPNOTSUPP: 95, AFNOSUPPORT: 97, CONNREFUSED: 111, DQUOT: 122,
} as const;

const names = new Map<number, string>(Object.entries(E).map(([name, value]) => [value, `E${name}`]));

/** "EPERM" for -1, "5" for 5. */
export function show(result: number): string {
  return result < 0 ? (names.get(-result) ?? `errno ${-result}`) : String(result);
}
