//! The long form of every error code, for `arc explain`. Codes: ARC1xxx compiler, ARC2xxx command line, ARC3xxx client, words in capitals: the device.

export interface Explanation {
  readonly code: string;
  readonly title: string;
  readonly text: string;
  /** Commands that can be pasted. */
  readonly fix: readonly string[];
}

export async function explanations(): Promise<ReadonlyMap<string, Explanation>> {
  const { own } = await import("./explanations/own.ts");
  return new Map(own.map((item) => [item.code, item]));
}
