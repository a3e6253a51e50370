import { Database } from "bun:sqlite";
import { files, tool } from "@aria/sdk";

const ROWS_MAX = 1_000;

export type Cell = string | number | null;

export interface Query {
  /** One SELECT statement. */
  sql: string;
  /** Values for `?1`, `?2`, … */
  parameters?: Cell[];
  /**
   * Name of the file given with the call.
   * @default "data.db"
   */
  file?: string;
}

export interface Table {
  columns: string[];
  rows: Cell[][];
  /** Whether there were more rows than are shown. */
  truncated: boolean;
}

export class SqliteQuery {
  /** Runs one read-only query over an SQLite file. Shows at most 1,000 rows. */
  @tool({ annotations: { readOnly: true, idempotent: true }, limits: { memory: "512M" }, timeout: "60s" })
  query(input: Query): Table {
    const db = new Database(files.path(input.file ?? "data.db"), { readonly: true });
    try {
      const statement = db.query(input.sql);
      const rows = statement.values(...(input.parameters ?? [])) as unknown[][];
      return { columns: statement.columnNames, rows: rows.slice(0, ROWS_MAX).map((row) => row.map(cell)), truncated: rows.length > ROWS_MAX };
    } finally {
      db.close();
    }
  }

  /** Tables and views of an SQLite file, with their definitions. */
  @tool({ annotations: { readOnly: true, idempotent: true }, timeout: "60s" })
  schema(input: { file?: string }): { objects: { name: string; kind: string; sql: string }[] } {
    const table = this.query({ file: input.file ?? "data.db", sql: "select name, type, coalesce(sql, '') from sqlite_schema where name not like 'sqlite_%' order by name" });
    return { objects: table.rows.map(([name, kind, sql]) => ({ name: String(name), kind: String(kind), sql: String(sql) })) };
  }
}

function cell(value: unknown): Cell {
  if (value === null || typeof value === "string" || typeof value === "number") return value;
  if (value instanceof Uint8Array) return `<${value.length} bytes>`;
  return String(value);
}
