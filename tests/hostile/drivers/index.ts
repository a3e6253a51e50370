// The drivers, in the order they run.

import { controls } from "./controls.ts";
import { cycles } from "./cycles.ts";
import { door } from "./door.ts";
import type { Driver } from "./driver.ts";
import { egress } from "./egress.ts";
import { entropy } from "./entropy.ts";
import { exits } from "./exits.ts";
import { hoard } from "./hoard.ts";
import { identity } from "./identity.ts";
import { neighbour } from "./neighbour.ts";
import { quota } from "./quota.ts";
import { residue } from "./residue.ts";
import { results } from "./results.ts";
import { starts } from "./starts.ts";
import { tenants } from "./tenants.ts";
import { workspace } from "./workspace.ts";

export const drivers: readonly Driver[] = [identity, exits, results, tenants, door, egress, workspace, starts, hoard, entropy, residue, cycles, quota, neighbour, controls];
