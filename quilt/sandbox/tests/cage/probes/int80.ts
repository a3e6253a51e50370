// getpid through the i386 gate: mov eax, 20; int 0x80; ret, placed in executable memory of our own.
import { CFunction } from "bun:ffi";
import { openSync, writeFileSync } from "node:fs";
import { sys } from "./prelude.ts";

const code = new Uint8Array([0xb8, 20, 0, 0, 0, 0xcd, 0x80, 0xc3]);
const page = sys(9, 0, 4096, 7, 0x22, -1, 0);
if (page <= 0) throw new Error(`mmap ${page}`);
// The kernel copies the code in: read(2) from a file we wrote.
writeFileSync("/tmp/code", code);
if (sys(0, openSync("/tmp/code", "r"), page, code.length) !== code.length) throw new Error("copy");
const gate = new CFunction({ ptr: page as never, args: [], returns: "i32" });
console.log("before");
console.log("survived", gate());
