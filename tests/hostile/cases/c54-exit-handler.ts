// case: C54-exit-handler
// attack: an endless loop in the exit handler
// accepts: DEADLINE
// profiles: tool, tool-noexec, tool-nojit
// cost: light
// control: seeded: the engine ends it, not a layer of the cage; the typed outcome is the proof
// limits: --timeout 2s
// within: 4s

process.on("exit", () => { for (;;) {} });
process.exit(0);
export {};
