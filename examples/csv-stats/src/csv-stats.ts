import Papa from "papaparse";
import { mean, quantileSorted, standardDeviation } from "simple-statistics";
import { defineTool, files, progress } from "@aria/sdk";

/** What to compute. */
export interface Request {
  /**
   * Name of the file given with the call.
   * @default "data.csv"
   */
  file?: string;
  /** Only these columns; absent: every column that holds numbers. */
  columns?: string[];
}

/** One column in numbers. */
export interface Column {
  /** Values that are numbers. @integer */
  count: number;
  /** Values that are empty or no number. @integer */
  skipped: number;
  min: number;
  max: number;
  mean: number;
  median: number;
  p90: number;
  /** Standard deviation of the whole column. */
  deviation: number;
}

export interface Summary {
  /** @integer */
  rows: number;
  columns: Record<string, Column>;
}

/** Minimum, maximum, mean, median, 90th percentile and deviation of the numeric columns of a CSV file with a header line. */
export const describe = defineTool({
  title: "Describe a CSV file",
  annotations: { readOnly: true, idempotent: true },
  limits: { memory: "512M" },
  timeout: "60s",
  run: async (input: Request): Promise<Summary> => {
    const text = await files.get(input.file ?? "data.csv").text();
    const parsed = Papa.parse<string[]>(text.trimEnd(), { header: false });
    const [header, ...rows] = parsed.data;
    if (header === undefined || header.length === 0) throw new Error("the file has no header line");
    for (const name of input.columns ?? []) if (!header.includes(name)) throw new Error(`the file has no column ${JSON.stringify(name)}; it has ${header.join(", ")}`);
    const columns: Record<string, Column> = {};
    for (const [index, name] of header.entries()) {
      progress(index / header.length, name);
      if (input.columns !== undefined && !input.columns.includes(name)) continue;
      const column = summarise(rows, index);
      if (column !== undefined) columns[name] = column;
    }
    return { rows: rows.length, columns };
  },
});

function summarise(rows: string[][], index: number): Column | undefined {
  const values = new Float64Array(rows.length);
  let count = 0;
  for (const row of rows) {
    const cell = row[index] ?? "";
    const value = cell.trim() === "" ? Number.NaN : Number(cell);
    if (Number.isFinite(value)) values[count++] = value;
  }
  if (count === 0) return undefined;
  const sorted = Array.from(values.subarray(0, count).sort());
  const round = (value: number): number => Number(value.toPrecision(12));
  return {
    count,
    skipped: rows.length - count,
    min: sorted[0] ?? 0,
    max: sorted.at(-1) ?? 0,
    mean: round(mean(sorted)),
    median: quantileSorted(sorted, 0.5),
    p90: quantileSorted(sorted, 0.9),
    deviation: round(standardDeviation(sorted)),
  };
}
