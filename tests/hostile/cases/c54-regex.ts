// case: C54-regex
// attack: a regular expression that backtracks for ever
// accepts: DEADLINE
// profiles: tool, tool-noexec, tool-nojit
// cost: light
// control: seeded: the engine ends it, not a layer of the cage; the typed outcome is the proof
// limits: --timeout 2s
// within: 4s

/^(([a-z])+.)+[A-Z]([a-z])+$/.test("a".repeat(200));
for (;;) {}
export {};
