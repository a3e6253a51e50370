// The three doors to another system call table, as code that runs in this process.

import { Asm } from "./_asm.ts";
import { pages, place } from "./_ffi.ts";

const X32_BIT = 0x40000000;

/** `syscall` with an x32 number: the filter must kill, whatever the number. */
export function x32(nr: number): () => number {
  return new Asm().enter().sys(X32_BIT | nr, 0, 0, 0, 0, 0, 0).leave().place();
}

/** `int 0x80` with this i386 number and one pointer or integer argument below 4 GiB. */
export function i386(nr: number, argument = 0): () => number {
  const imm32 = (value: number): number[] => [value & 255, (value >> 8) & 255, (value >> 16) & 255, (value >> 24) & 255];
  // push rbx; mov eax, nr; mov ebx, argument; xor ecx, ecx; xor edx, edx; int 0x80; pop rbx; movsxd rax, eax; ret
  const call = place([0x53, 0xb8, ...imm32(nr), 0xbb, ...imm32(argument), 0x31, 0xc9, 0x31, 0xd2, 0xcd, 0x80, 0x5b, 0x48, 0x63, 0xc0, 0xc3], true);
  return () => Number(call());
}

/** Far return into a 32-bit code segment, where `int 0x80` and `sysenter` are at home, and `getpid` there. */
export function compat(instruction: readonly number[]): () => number {
  const low = pages(4096, true);
  const stack = low.address + 4000;
  const back = low.address + 64;
  const imm32 = (value: number): number[] => [value & 255, (value >> 8) & 255, (value >> 16) & 255, (value >> 24) & 255];
  // At 0, in 32-bit mode: mov eax, 20; <instruction>; push 0x33; push back; retf
  low.view.set([0xb8, ...imm32(20), ...instruction, 0x6a, 0x33, 0x68, ...imm32(back), 0xcb], 0);
  // At 64, in 64-bit mode again: mov rsp, r14; pop r14; pop rbx; pop rbp; movsxd rax, eax; ret
  low.view.set([0x4c, 0x89, 0xf4, 0x41, 0x5e, 0x5b, 0x5d, 0x48, 0x63, 0xc0, 0xc3], 64);
  // push rbp; push rbx; push r14; mov r14, rsp; mov esp, stack; push 0x23; push entry; retfq
  const call = place([0x55, 0x53, 0x41, 0x56, 0x49, 0x89, 0xe6, 0xbc, ...imm32(stack), 0x6a, 0x23, 0x68, ...imm32(low.address), 0x48, 0xcb], true);
  return () => Number(call());
}
