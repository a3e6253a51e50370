// A very small x86-64 assembler: straight-line system calls, jumps and loops. What a forked child or a raw thread runs has to be
// machine code, because a JavaScript engine does not survive a fork without its other threads.

import { place } from "./_ffi.ts";

export type Operand = number | bigint | "result" | "saved" | "stack";

/** Load codes for rdi, rsi, rdx, r10, r8, r9: `mov reg, imm64`, `mov reg, rax` and `mov reg, r15`. */
const REGISTERS = [
  { imm: [0x48, 0xbf], result: [0x48, 0x89, 0xc7], saved: [0x4c, 0x89, 0xff], stack: [0x48, 0x89, 0xe7] },
  { imm: [0x48, 0xbe], result: [0x48, 0x89, 0xc6], saved: [0x4c, 0x89, 0xfe], stack: [0x48, 0x89, 0xe6] },
  { imm: [0x48, 0xba], result: [0x48, 0x89, 0xc2], saved: [0x4c, 0x89, 0xfa], stack: [0x48, 0x89, 0xe2] },
  { imm: [0x49, 0xba], result: [0x49, 0x89, 0xc2], saved: [0x4d, 0x89, 0xfa], stack: [0x49, 0x89, 0xe2] },
  { imm: [0x49, 0xb8], result: [0x49, 0x89, 0xc0], saved: [0x4d, 0x89, 0xf8], stack: [0x49, 0x89, 0xe0] },
  { imm: [0x49, 0xb9], result: [0x49, 0x89, 0xc1], saved: [0x4d, 0x89, 0xf9], stack: [0x49, 0x89, 0xe1] },
] as const;

export class Asm {
  readonly bytes: number[] = [];
  readonly #labels = new Map<string, number>();
  readonly #jumps: { at: number; to: string }[] = [];

  raw(...bytes: number[]): this {
    this.bytes.push(...bytes);
    return this;
  }

  /** `syscall` with these arguments; the answer is in rax ("result"). */
  sys(nr: number, ...args: Operand[]): this {
    args.forEach((arg, i) => {
      const register = REGISTERS[i]!;
      if (typeof arg === "string") this.raw(...register[arg]);
      else this.raw(...register.imm, ...imm64(arg));
    });
    return this.raw(0x48, 0xb8, ...imm64(nr), 0x0f, 0x05);
  }

  /** Keeps the last answer in r15 ("saved"). The code must begin with `enter`. */
  save(): this {
    return this.raw(0x49, 0x89, 0xc7);
  }

  enter(): this {
    return this.raw(0x41, 0x57);
  }

  /** Returns the last answer to TypeScript. */
  leave(): this {
    return this.raw(0x41, 0x5f, 0xc3);
  }

  label(name: string): this {
    this.#labels.set(name, this.bytes.length);
    return this;
  }

  jump(to: string): this {
    return this.#jump([0xe9], to);
  }

  /** If the last answer was zero. */
  jumpZero(to: string): this {
    return this.raw(0x48, 0x85, 0xc0).#jump([0x0f, 0x84], to);
  }

  /** If the last answer was an error. */
  jumpNegative(to: string): this {
    return this.raw(0x48, 0x85, 0xc0).#jump([0x0f, 0x88], to);
  }

  /** While the 32-bit word at this address is zero. */
  jumpWhileZero(address: number, to: string): this {
    return this.raw(0x48, 0xb8, ...imm64(address), 0x83, 0x38, 0x00).#jump([0x0f, 0x84], to);
  }

  #jump(opcode: number[], to: string): this {
    this.raw(...opcode);
    this.#jumps.push({ at: this.bytes.length, to });
    return this.raw(0, 0, 0, 0);
  }

  code(): Uint8Array {
    const out = Uint8Array.from(this.bytes);
    const view = new DataView(out.buffer);
    for (const { at, to } of this.#jumps) {
      const target = this.#labels.get(to);
      if (target === undefined) throw new Error(`no label ${to}`);
      view.setInt32(at, target - (at + 4), true);
    }
    return out;
  }

  place(low = false): () => number {
    const call = place(this.code(), low);
    return () => Number(call());
  }
}

function imm64(value: number | bigint): number[] {
  const out = new DataView(new ArrayBuffer(8));
  out.setBigInt64(0, BigInt.asIntN(64, BigInt(value)), true);
  return Array.from(new Uint8Array(out.buffer));
}

const CLONE = 56;
const EXIT = 60;
const EXIT_GROUP = 231;
const SIGCHLD = 17;

/** A child process made by `clone(flags|SIGCHLD)` that runs `body` and exits with its last answer negated (0-255). Gives its pid. */
export function fork(body: (asm: Asm) => void, flags: number | bigint = 0): number {
  const asm = new Asm().enter().sys(CLONE, BigInt(flags) | BigInt(SIGCHLD), 0, 0, 0, 0).jumpZero("child").leave().label("child");
  body(asm);
  // neg rax; mov rdi, rax
  asm.raw(0x48, 0xf7, 0xd8).sys(EXIT_GROUP, "result");
  return asm.place()();
}

/** A thread that runs `body` for ever, in this process, on a stack of its own. Gives its tid. */
export function thread(stackTop: number, body: (asm: Asm) => void): number {
  // VM | FS | FILES | SIGHAND | THREAD | SYSVSEM
  const asm = new Asm().enter().sys(CLONE, 0x50f00, stackTop, 0, 0, 0).jumpZero("thread").leave().label("thread");
  body(asm);
  asm.sys(EXIT, 0);
  return asm.place()();
}

/** A static ELF program with this code, runnable by any x86-64 Linux. */
export function elf(code: Uint8Array): Uint8Array {
  const base = 0x400000;
  const header = new Uint8Array(120);
  const view = new DataView(header.buffer);
  header.set([0x7f, 0x45, 0x4c, 0x46, 2, 1, 1, 0]);
  view.setUint16(16, 2, true);
  view.setUint16(18, 62, true);
  view.setUint32(20, 1, true);
  view.setBigUint64(24, BigInt(base + 120), true);
  view.setBigUint64(32, 64n, true);
  view.setUint16(52, 64, true);
  view.setUint16(54, 56, true);
  view.setUint16(56, 1, true);
  view.setUint32(64, 1, true);
  view.setUint32(68, 5, true);
  view.setBigUint64(80, BigInt(base), true);
  view.setBigUint64(88, BigInt(base), true);
  view.setBigUint64(96, BigInt(120 + code.length), true);
  view.setBigUint64(104, BigInt(120 + code.length), true);
  view.setBigUint64(112, 4096n, true);
  const out = new Uint8Array(120 + code.length);
  out.set(header);
  out.set(code, 120);
  return out;
}

const WAIT4 = 61;

/** Waits for one child; `code` or `signal` of its end, or null when there was none. */
export function reap(sys: (nr: number, ...args: (number | ArrayBufferView)[]) => number, pid: number): { code: number; signal: number } | null {
  const status = new Int32Array(1);
  if (sys(WAIT4, pid, status, 0, 0) !== pid) return null;
  const raw = status[0]!;
  return { code: (raw >> 8) & 0xff, signal: raw & 0x7f };
}
