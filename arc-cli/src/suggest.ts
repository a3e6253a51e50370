//! "Did you mean": the nearest known word, when it is near enough to be a slip of the fingers.

/** The candidate nearest to `word`, or undefined when none is within a third of its length (at least one slip, at most three). */
export function nearest(word: string, candidates: Iterable<string>): string | undefined {
  const bound = Math.min(3, Math.max(1, Math.floor(word.length / 3)));
  let best: string | undefined;
  let distance = bound + 1;
  for (const candidate of candidates) {
    // Lengths that differ by more than the bound cannot be within it, so long input costs nothing.
    if (Math.abs(candidate.length - word.length) > bound) continue;
    const found = editDistance(word, candidate);
    if (found < distance) [best, distance] = [candidate, found];
  }
  return best;
}

/** A ready hint, or undefined. */
export function didYouMean(word: string, candidates: Iterable<string>): string | undefined {
  const found = nearest(word, candidates);
  return found === undefined ? undefined : `did you mean \`${found}\`?`;
}

/** Optimal string alignment: insert, delete, replace, or swap neighbours, each costs one. */
export function editDistance(a: string, b: string): number {
  let before: number[] = [];
  let last = Array.from({ length: b.length + 1 }, (_, at) => at);
  for (let i = 1; i <= a.length; i++) {
    const row = [i];
    for (let j = 1; j <= b.length; j++) {
      const same = a[i - 1] === b[j - 1];
      let cost = Math.min((last[j] ?? 0) + 1, (row[j - 1] ?? 0) + 1, (last[j - 1] ?? 0) + (same ? 0 : 1));
      if (i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1]) cost = Math.min(cost, (before[j - 2] ?? 0) + 1);
      row.push(cost);
    }
    [before, last] = [last, row];
  }
  return last[b.length] ?? 0;
}
