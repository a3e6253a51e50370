import { unzip, zip, type AsyncZippable, type Unzipped } from "fflate";
import { defineTool, out } from "@aria/sdk";

/** Archives that unpack to more are refused. */
const BYTES_MAX = 64 * 1024 * 1024;

export interface Entry {
  /** Path in the archive. */
  path: string;
  /** @integer */
  bytes: number;
}

/** Packs texts into a zip file that comes back. Large ones are compressed in a worker each. */
export const pack = defineTool({
  annotations: { idempotent: true },
  timeout: "60s",
  limits: { memory: "512M" },
  run: async (input: {
    /** Text by path. */
    files: { [path: string]: string };
    /** Repeats every text so often, to try large ones. @integer @minimum 1 @maximum 100000 */
    repeat?: number;
  }): Promise<{ file: string; bytes: number; entries: Entry[]; sameBack: boolean }> => {
    const texts = Object.entries(input.files).map(([path, text]) => [path, new TextEncoder().encode(text.repeat(input.repeat ?? 1))] as const);
    if (texts.reduce((sum, [, bytes]) => sum + bytes.length, 0) > BYTES_MAX) throw new Error(`more than ${BYTES_MAX} bytes`);
    // A fixed time, so that the same texts give the same archive.
    const packed = await packAll(Object.fromEntries(texts.map(([path, bytes]) => [path, [bytes, { mtime: "2000-01-01T00:00:00" }]])));
    const back = await unpackAll(packed);
    await Bun.write(out("archive.zip"), packed);
    const sameBack = texts.every(([path, bytes]) => Buffer.compare(bytes, back[path] ?? new Uint8Array()) === 0);
    return { file: "archive.zip", bytes: packed.length, entries: texts.map(([path, bytes]) => ({ path, bytes: bytes.length })), sameBack };
  },
});

/** Lists a zip archive, given as bytes. */
export const list = defineTool({
  annotations: { readOnly: true, idempotent: true },
  timeout: "60s",
  run: async (input: { archive: Uint8Array }): Promise<{ entries: Entry[] }> => {
    const entries = await unpackAll(input.archive);
    return { entries: Object.entries(entries).map(([path, bytes]) => ({ path, bytes: bytes.length })).sort((a, b) => (a.path < b.path ? -1 : 1)) };
  },
});

function packAll(files: AsyncZippable): Promise<Uint8Array> {
  return new Promise((resolve, reject) => zip(files, { level: 6 }, (error, bytes) => (error ? reject(error) : resolve(bytes))));
}

function unpackAll(bytes: Uint8Array): Promise<Unzipped> {
  let size = 0;
  const filter = ({ originalSize }: { originalSize: number }): boolean => (size += originalSize) <= BYTES_MAX;
  return new Promise((resolve, reject) =>
    unzip(bytes, { filter }, (error, files) => (error ? reject(error) : size > BYTES_MAX ? reject(new Error(`the archive unpacks to more than ${BYTES_MAX} bytes`)) : resolve(files))),
  );
}
