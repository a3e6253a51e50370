// case: C54-regex
// attack: a regular expression that backtracks for ever
// accepts: DEADLINE
// profiles: tool, tool-noexec
// cost: light
// control: supervisor
// limits: --timeout 2s
// within: 4s

/^(([a-z])+.)+[A-Z]([a-z])+$/.test("a".repeat(200));
for (;;) {}
export {};
