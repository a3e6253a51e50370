// getpid by its x32 number.
import { sys } from "./prelude.ts";

console.log("before");
sys(0x40000000 + 39);
console.log("survived");
