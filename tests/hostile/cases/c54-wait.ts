// case: C54-wait
// attack: a wait without end
// accepts: DEADLINE
// profiles: tool, tool-noexec, tool-nojit
// cost: light
// control: seeded: the engine ends it, not a layer of the cage; the typed outcome is the proof
// limits: --timeout 2s
// within: 4s

Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0);
export {};
