// Rows of the bench, the bars they must keep, and the rule that a noisy run judges nothing.

import { mkdirSync, writeFileSync } from "node:fs";
import { dirname } from "node:path";

/** All rounds of one row of the clock, microseconds. */
export interface Samples {
  wall_us: number[];
  cpu_us: number[];
}

export interface Row {
  goal: string;
  metric: string;
  unit: string;
  value: number;
  reference: string;
  reference_value: number;
  ratio: number;
  /** Where the ratio must stay, at most or at least. */
  bar?: { max: number } | { min: number };
  /** Absent: there is no bar, or the run was too noisy to judge. */
  held?: boolean;
  /** Where it was measured, when not on this machine itself. */
  where?: "vm";
}

/** Above this p90/p50 of the floor a run says nothing. */
const NOISE_MAX = 1.5;

export function quantile(samples: readonly number[], q: number): number {
  const sorted = [...samples].sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * q))] ?? Number.NaN;
}

export function say(text: string): void {
  console.error(`bench: ${text}`);
}

/** What a section's floors say about the machine while it ran. */
export class Noise {
  readonly quiet: boolean;

  constructor(floors: Readonly<Record<string, readonly number[] | undefined>>) {
    const spreads = Object.entries(floors).map(([name, samples = []]) => ({ name, spread: quantile(samples, 0.9) / quantile(samples, 0.5) }));
    this.quiet = spreads.every(({ spread }) => spread <= NOISE_MAX);
    const said = spreads.map(({ name, spread }) => `${name} p90/p50 ${spread.toFixed(2)}`).join(", ");
    say(this.quiet ? said : `too noisy: ${said}, limit ${NOISE_MAX}; these ratios are printed and judge nothing`);
  }
}

export class Table {
  readonly rows: Row[] = [];
  readonly #judges: boolean;
  readonly #where: Row["where"];

  /** `judges` false: too few rounds for a verdict. */
  constructor(options: { judges: boolean; where?: "vm" }) {
    this.#judges = options.judges;
    this.#where = options.where;
  }

  row(noise: Noise | undefined, goal: string, metric: string, unit: string, value: number, reference: string, referenceValue: number, bar?: Row["bar"]): void {
    const round = (n: number): number => Number(n.toPrecision(4));
    const ratio = value / referenceValue;
    const row: Row = { goal, metric, unit, value: round(value), reference, reference_value: round(referenceValue), ratio: round(ratio) };
    if (this.#where !== undefined) row.where = this.#where;
    if (bar !== undefined) {
      row.bar = bar;
      if (this.#judges && noise?.quiet !== false) row.held = "max" in bar ? ratio <= bar.max : ratio >= bar.min;
    }
    this.rows.push(row);
  }

  add(other: Table): void {
    this.rows.push(...other.rows);
  }

  print(): void {
    const head = ["goal", "metric", "value", "reference", "its value", "ratio", "bar", ""];
    const table = this.rows.map((r) => [
      r.goal, r.where === undefined ? r.metric : `${r.where}: ${r.metric}`, `${r.value} ${r.unit}`, r.reference, `${r.reference_value} ${r.unit}`, String(r.ratio),
      r.bar === undefined ? "" : "max" in r.bar ? `<= ${Number(r.bar.max.toPrecision(3))}` : `>= ${r.bar.min}`,
      r.bar === undefined ? "" : r.held === undefined ? "not judged" : r.held ? "held" : "MISSED",
    ]);
    const widths = head.map((title, column) => Math.max(title.length, ...table.map((cells) => cells[column]?.length ?? 0)));
    for (const cells of [head, ...table]) console.log(cells.map((cell, column) => cell.padEnd(widths[column] ?? 0)).join("  ").trimEnd());
  }

  write(path: string): void {
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(path, `${JSON.stringify(this.rows, null, 1)}\n`);
  }

  /** Whether no bar was missed; what could not be judged was not missed. */
  get held(): boolean {
    return this.rows.every((row) => row.held !== false);
  }
}
