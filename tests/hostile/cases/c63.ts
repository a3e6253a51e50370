// case: C63
// attack: ignore, block or handle every signal, and keep running
// accepts: DEADLINE
// profiles: tool, tool-noexec
// cost: light
// control: seeded: the engine ends it, not a layer of the cage; the typed outcome is the proof
// limits: --timeout 2s
// within: 5s

import { sys, words } from "./_ffi.ts";
import { NR } from "./_nr.ts";

const SIG_IGN = 1;
for (let signal = 1; signal <= 64; signal++) sys(NR.rt_sigaction, signal, words(SIG_IGN, 0, 0, 0), 0, 8);
// And blocked on top.
sys(NR.rt_sigprocmask, 0, words(-1), 0, 8);
for (const signal of ["SIGTERM", "SIGINT", "SIGHUP", "SIGUSR1", "SIGUSR2"] as const) process.on(signal, () => {});
for (;;) {
  const end = performance.now() + 1000;
  while (performance.now() < end);
}
