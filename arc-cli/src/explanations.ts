//! The long form of every error code, for `arc explain`. Codes: ARC1xxx compiler, ARC2xxx command line, ARC3xxx client,
//! words in capitals: reasons and outcomes a device gives.

export interface Explanation {
  readonly code: string;
  readonly title: string;
  readonly text: string;
  /** Commands that can be pasted. */
  readonly fix: readonly string[];
}

export async function explanations(): Promise<ReadonlyMap<string, Explanation>> {
  return new Map((await allExplanations()).map((item) => [item.code, item]));
}

/** Every page, as written. */
export async function allExplanations(): Promise<Explanation[]> {
  const [{ own }, { device }, { tokens }, { trust }, compiler] = await Promise.all([import("./explanations/own.ts"), import("./explanations/device.ts"), import("./explanations/tokens.ts"), import("./explanations/trust.ts"), import("./compiler/diagnostics.ts")]);
  return [...compiler.explanations, ...own, ...device, ...tokens, ...trust];
}
