// The drivers, in the order they run.

import { controls } from "./controls.ts";
import type { Driver } from "./driver.ts";
import { exits } from "./exits.ts";
import { identity } from "./identity.ts";
import { neighbour } from "./neighbour.ts";
import { residue } from "./residue.ts";
import { results } from "./results.ts";
import { starts } from "./starts.ts";

export const drivers: readonly Driver[] = [identity, exits, results, starts, residue, neighbour, controls];
