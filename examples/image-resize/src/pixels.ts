/** An image in memory: four bytes a pixel, red, green, blue, alpha. */
export interface Pixels {
  width: number;
  height: number;
  data: Uint8Array;
}

/** Scales by averaging the area each target pixel covers; colours are weighted by their alpha, so edges do not darken. */
export function resize(source: Pixels, width: number, height: number): Pixels {
  const data = new Uint8Array(width * height * 4);
  for (let y = 0; y < height; y++) {
    const rows = spans(y, height, source.height);
    for (let x = 0; x < width; x++) data.set(average(source, spans(x, width, source.width), rows), (y * width + x) * 4);
  }
  return { width, height, data };
}

/** A source line or column and how much of it counts. */
type Span = readonly [index: number, weight: number];

function spans(target: number, targetSize: number, sourceSize: number): Span[] {
  const from = (target * sourceSize) / targetSize;
  const to = ((target + 1) * sourceSize) / targetSize;
  const found: Span[] = [];
  for (let index = Math.floor(from); index < Math.min(Math.ceil(to), sourceSize); index++) {
    const weight = Math.min(index + 1, to) - Math.max(index, from);
    if (weight > 1e-9) found.push([index, weight]);
  }
  return found;
}

function average(source: Pixels, columns: readonly Span[], rows: readonly Span[]): number[] {
  let [red, green, blue, alpha, total] = [0, 0, 0, 0, 0];
  for (const [y, high] of rows) {
    for (const [x, wide] of columns) {
      const at = (y * source.width + x) * 4;
      const weight = high * wide;
      const opaque = weight * (source.data[at + 3] ?? 0);
      red += opaque * (source.data[at] ?? 0);
      green += opaque * (source.data[at + 1] ?? 0);
      blue += opaque * (source.data[at + 2] ?? 0);
      alpha += opaque;
      total += weight;
    }
  }
  if (alpha === 0) return [0, 0, 0, 0];
  return [red / alpha, green / alpha, blue / alpha, alpha / total].map(Math.round);
}
