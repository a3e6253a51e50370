//! What this arc is and which protocol it speaks.

import packageJson from "../package.json" with { type: "json" };

export const ARC_VERSION: string = packageJson.version;

/** Lowest and highest protocol number this arc speaks. */
export const PROTOCOL = { min: 1, max: 1 } as const;
