import { agent, tool } from "@aria/sdk";

/** One book of the library. */
export interface Book {
  title: string;
  author: string;
  /** What it is about. */
  topics: string[];
}

const library: readonly Book[] = [
  { title: "Flour, Water, Salt", author: "A. Baker", topics: ["bread", "ovens"] },
  { title: "The Patient Gardener", author: "L. Green", topics: ["gardens", "seeds"] },
  { title: "Rivers and Mills", author: "J. Stone", topics: ["history", "bread"] },
];

/** Answers questions about the books of a small library. */
@agent({
  model: "openai:gpt-5",
  fallback: ["local:small"],
  prompt: "You are a librarian. Answer from the books that `find` gives you, name their titles, and say so when there is none.",
  limits: { turns: 8, toolCalls: 16, timeout: "2m" },
  memory: { scope: "session", entries: 50 },
  budget: { modelTokens: 50_000 },
})
export class Librarian {
  /**
   * Books about a topic.
   *
   * @returns the books, none when the library has nothing about it
   */
  @tool({ annotations: { readOnly: true, idempotent: true }, timeout: "5s" })
  find(input: Question): { books: Book[] } {
    const about = input.about.trim().toLowerCase();
    return { books: library.filter(({ topics }) => topics.includes(about)) };
  }
}

/** What to look for. */
export interface Question {
  /**
   * The topic, one word.
   * @minLength 1
   * @maxLength 100
   * @example "bread"
   */
  about: string;
}
