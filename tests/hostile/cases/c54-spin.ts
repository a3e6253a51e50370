// case: C54-spin
// attack: an endless loop
// accepts: DEADLINE
// profiles: tool, tool-noexec
// cost: light
// control: supervisor
// limits: --timeout 2s
// within: 4s

for (;;) {}
export {};
