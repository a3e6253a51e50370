// case: C54-wait
// attack: a wait without end
// accepts: DEADLINE
// profiles: tool, tool-noexec
// cost: light
// control: supervisor
// limits: --timeout 2s
// within: 4s

Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0);
export {};
