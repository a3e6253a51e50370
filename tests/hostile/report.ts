// The hostile run as a page: what was attacked, in which profile, and which steps of the cage hold it.

export interface Row {
  name: string;
  profile: string;
  pass: boolean;
  detail: string;
  ms: number;
  attack: string;
  control: readonly string[];
}

export function report(rows: readonly Row[], device: string): string {
  const cell = (text: string): string => text.replaceAll("|", "\\|").replaceAll("\n", " ").slice(0, 240);
  const lines = rows.map((row) => `| ${row.name} | ${row.profile} | ${row.pass ? "held" : "FAILED"} | ${cell(row.attack)} | ${row.control.join(", ")} | ${cell(row.detail)} |`);
  return ["# Hostile run", "", `Device: ${device}. ${rows.filter((row) => row.pass).length} held, ${rows.filter((row) => !row.pass).length} failed.`, "",
    "| case | profile | result | attack | held by | detail |", "|---|---|---|---|---|---|", ...lines, ""].join("\n");
}
