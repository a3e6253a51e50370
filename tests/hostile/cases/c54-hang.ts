// case: C54-hang
// attack: a promise that never settles
// accepts: DEADLINE
// profiles: tool, tool-noexec, tool-nojit
// cost: light
// control: seeded: the engine ends it, not a layer of the cage; the typed outcome is the proof
// limits: --timeout 2s
// within: 4s

await new Promise(() => setInterval(() => {}, 1 << 30));
export {};
