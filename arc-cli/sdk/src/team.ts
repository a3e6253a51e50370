//! Declaring teams: agents with a division of work. `@team` on a class, or `defineTeam`.

import type { ClassMark, RunBudget, RunLimits } from "./agent.ts";

/**
 * How the members share the work: all at once, one after the other, a lead that plans and assigns (`hierarchical`), a lead that
 * hands on what it does not do itself (`delegation`), or chosen anew for each task (`adaptive`).
 */
export type TeamStrategy = "parallel" | "sequential" | "hierarchical" | "delegation" | "adaptive";

/** How several answers become one. */
export interface TeamRules {
  /** Default: `last` for `sequential`, `lead` where there is a lead, else `all`. */
  readonly consensus?: "first" | "last" | "majority" | "all" | "lead";
  /** Most rounds of the whole team, 1 to 100. Default 1. */
  readonly rounds?: number;
}

/** The options of a team. All are literals. */
export interface TeamOptions {
  /** Name within the bundle. Default: the class or constant in kebab-case. */
  readonly name?: string;
  readonly title?: string;
  /** What it is for. Default: the doc comment. */
  readonly description?: string;
  /** Agents: `"reviewer"` of this bundle, `"desk.reviewer"` of another. */
  readonly members: readonly string[];
  readonly strategy: TeamStrategy;
  /** The member that leads; needed by `hierarchical` and `delegation`, and by `consensus: "lead"`. */
  readonly lead?: string;
  readonly rules?: TeamRules;
  readonly limits?: RunLimits;
  readonly budget?: RunBudget;
}

/** What `defineTeam` returns: the same object. */
export type Team = TeamOptions;

/** Makes an exported class a team. */
export function team(_options: TeamOptions): ClassMark {
  return () => undefined;
}

/** Makes an exported constant a team. */
export function defineTeam(options: TeamOptions): Team {
  return options;
}
