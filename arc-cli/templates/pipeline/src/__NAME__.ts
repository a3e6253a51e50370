import { defineTool, pipeline } from "@aria/sdk";

export interface Word {
  word: string;
  /** @integer */
  count: number;
}

/** Counts how often each word is in a text. */
export const words = defineTool({
  annotations: { readOnly: true, idempotent: true },
  timeout: "5s",
  run: (input: { /** The text. @maxLength 100000 */ text: string }): { words: Word[]; total: number } => {
    const counts = new Map<string, number>();
    for (const word of input.text.toLowerCase().match(/\p{L}+/gu) ?? []) counts.set(word, (counts.get(word) ?? 0) + 1);
    const sorted = [...counts].map(([word, count]) => ({ word, count })).sort((a, b) => b.count - a.count || (a.word < b.word ? -1 : 1));
    return { words: sorted, total: sorted.reduce((sum, { count }) => sum + count, 0) };
  },
});

/** The most frequent words as a table in Markdown. */
export const table = defineTool({
  annotations: { readOnly: true, idempotent: true },
  timeout: "5s",
  run: (input: { words: Word[]; /** Most rows. @integer @minimum 1 */ rows?: number }): { markdown: string } => {
    const rows = input.words.slice(0, input.rows ?? 10).map(({ word, count }) => `| ${word} | ${count} |`);
    return { markdown: ["| word | times |", "|---|---|", ...rows].join("\n") };
  },
});

/** What the pipeline takes. */
export interface Text {
  text: string;
  /** Most rows of the table. @integer @minimum 1 */
  rows?: number;
}

/** A text becomes a table of its most frequent words; a text without words gives none. */
@pipeline<Text>({
  steps: {
    count: { tool: "words", input: { text: "$input.text" }, retry: { attempts: 2 } },
    report: { tool: "table", input: { words: "$count.words", rows: "$input.rows" }, when: { value: "$count.total", above: 0 } },
  },
  output: { total: "$count.total", table: "$report.markdown" },
  timeout: "1m",
})
export class Summary {}
