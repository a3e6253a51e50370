import { blake3, createBLAKE3, createSHA256, createXXHash64, sha256, xxhash64 } from "hash-wasm";
import { files, tool } from "@aria/sdk";

/** Which function; the last is quick and no protection against anybody. */
export type Algorithm = "blake3" | "sha256" | "xxhash64";

export interface Checksum {
  algorithm: Algorithm;
  /** In hexadecimal. */
  sum: string;
  /** @integer */
  bytes: number;
}

const whole = { blake3, sha256, xxhash64 };
const streaming = { blake3: createBLAKE3, sha256: createSHA256, xxhash64: createXXHash64 };

export class Sums {
  /** The checksum of a text in UTF-8. */
  @tool({ annotations: { readOnly: true, idempotent: true } })
  async text(input: { /** @maxLength 1000000 */ text: string; /** @default "blake3" */ algorithm?: Algorithm }): Promise<Checksum> {
    const algorithm = input.algorithm ?? "blake3";
    const bytes = new TextEncoder().encode(input.text);
    return { algorithm, sum: await whole[algorithm](bytes), bytes: bytes.length };
  }

  /** The checksum of a file, read piece by piece. */
  @tool({ annotations: { readOnly: true, idempotent: true }, timeout: "60s" })
  async file(input: { /** Name of the file given with the call. @default "file" */ file?: string; /** @default "blake3" */ algorithm?: Algorithm }): Promise<Checksum> {
    const algorithm = input.algorithm ?? "blake3";
    const hash = await streaming[algorithm]();
    let bytes = 0;
    for await (const piece of files.get(input.file ?? "file").stream()) {
      hash.update(piece);
      bytes += piece.length;
    }
    return { algorithm, sum: hash.digest("hex"), bytes };
  }
}
