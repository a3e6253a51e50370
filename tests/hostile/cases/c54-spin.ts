// case: C54-spin
// attack: an endless loop
// accepts: DEADLINE
// profiles: tool, tool-noexec, tool-nojit
// cost: light
// control: seeded: the engine ends it, not a layer of the cage; the typed outcome is the proof
// limits: --timeout 2s
// within: 4s

for (;;) {}
export {};
