//! Explanations of the codes the command line itself gives.

import type { Explanation } from "../explanations.ts";

export const own: readonly Explanation[] = [
  { code: "ARC2000", title: "unknown command", text: "The first word after `arc` names a command. This one does not exist.", fix: ["arc --help"] },
];
