import { defineAgent, defineTeam, defineTool } from "@aria/sdk";

/** Measures a text, so that nobody has to guess. */
export const measure = defineTool({
  annotations: { readOnly: true, idempotent: true },
  timeout: "5s",
  run: (input: { /** The text. @maxLength 100000 */ text: string }): Measured => {
    const words = input.text.split(/\s+/).filter((word) => word !== "");
    const sentences = input.text.split(/[.!?]+(?:\s|$)/).filter((sentence) => sentence.trim() !== "");
    return { words: words.length, sentences: sentences.length, longestWord: words.reduce((longest, word) => (word.length > longest.length ? word : longest), "") };
  },
});

export interface Measured {
  /** @integer */
  words: number;
  /** @integer */
  sentences: number;
  longestWord: string;
}

const model = "openai:gpt-5";

/** Writes a short text about what is asked. */
export const writer = defineAgent({ model, prompt: "You write short, plain texts of at most 120 words.", tools: ["measure"], limits: { turns: 4 } });

/** Reviews a text and says what to change. */
export const reviewer = defineAgent({ model, prompt: "You review texts: at most 120 words, no jargon. Use `measure` for numbers. Say what to change, or that it is good.", tools: ["measure"], limits: { turns: 4 } });

/** A writer and a reviewer; the reviewer leads and decides when the text is good. */
export const desk = defineTeam({
  members: ["writer", "reviewer"],
  strategy: "hierarchical",
  lead: "reviewer",
  rules: { rounds: 3 },
  limits: { timeout: "10m" },
  budget: { modelTokens: 100_000 },
});
