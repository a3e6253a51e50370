import qrcode from "qrcode-generator";
import { defineTool, out } from "@aria/sdk";

/** How much of the code may be dirty or torn: 7, 15, 25 or 30 percent. */
export type Robustness = "low" | "medium" | "quartile" | "high";

export interface Request {
  /**
   * What the code says.
   * @minLength 1
   * @maxLength 2000
   */
  text: string;
  /** @default "medium" */
  robustness?: Robustness;
  /**
   * Pixels a module.
   * @integer
   * @minimum 1
   * @maximum 64
   * @default 8
   */
  scale?: number;
}

export interface Code {
  svg: string;
  /** Modules a side, without the quiet zone. @integer */
  modules: number;
  /** The code's pixels as bytes, one a module, 1 is dark; row by row. */
  matrix: Uint8Array;
}

const LEVELS = { low: "L", medium: "M", quartile: "Q", high: "H" } as const;
/** The standard asks for four modules of white around. */
const QUIET = 4;

/** A QR code as SVG, also left as code.svg. */
export const encode = defineTool({
  title: "Make a QR code",
  annotations: { idempotent: true },
  timeout: "60s",
  run: async (input: Request): Promise<Code> => {
    const code = qrcode(0, LEVELS[input.robustness ?? "medium"]);
    qrcode.stringToBytes = (text: string) => Array.from(new TextEncoder().encode(text));
    code.addData(input.text, "Byte");
    code.make();
    const modules = code.getModuleCount();
    const matrix = new Uint8Array(modules * modules);
    for (let row = 0; row < modules; row++) for (let column = 0; column < modules; column++) matrix[row * modules + column] = code.isDark(row, column) ? 1 : 0;
    const svg = draw(matrix, modules, input.scale ?? 8);
    await Bun.write(out("code.svg"), svg);
    return { svg, modules, matrix };
  },
});

/** One path of horizontal runs, so the file stays small. */
function draw(matrix: Uint8Array, modules: number, scale: number): string {
  const side = (modules + 2 * QUIET) * scale;
  const runs: string[] = [];
  for (let row = 0; row < modules; row++) {
    for (let column = 0; column < modules; ) {
      let length = 0;
      while (column + length < modules && matrix[row * modules + column + length] === 1) length += 1;
      if (length > 0) runs.push(`M${(column + QUIET) * scale} ${(row + QUIET) * scale}h${length * scale}v${scale}h-${length * scale}z`);
      column += Math.max(1, length);
    }
  }
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${side} ${side}" width="${side}" height="${side}"><path fill="#fff" d="M0 0h${side}v${side}H0z"/><path d="${runs.join("")}"/></svg>\n`;
}
