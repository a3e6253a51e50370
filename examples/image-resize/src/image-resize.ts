import { decode as decodePng, encode as encodePng } from "fast-png";
import jpeg from "jpeg-js";
import { files, out, tool } from "@aria/sdk";
import { resize, type Pixels } from "./pixels.ts";

const SIDE_MAX = 8_192;
const PIXELS_MAX = 40_000_000;

export interface Request {
  /**
   * Name of the file given with the call, PNG or JPEG.
   * @default "image"
   */
  file?: string;
  /**
   * Width in pixels; absent: in proportion to the height.
   * @integer
   * @minimum 1
   * @maximum 8192
   */
  width?: number;
  /**
   * Height in pixels; absent: in proportion to the width.
   * @integer
   * @minimum 1
   * @maximum 8192
   */
  height?: number;
  /** Format of the answer; absent: that of the file. */
  format?: "png" | "jpeg";
}

export interface Resized {
  /** Name of the file that comes back with the answer. */
  file: string;
  /** @integer */
  width: number;
  /** @integer */
  height: number;
  /** @integer */
  bytes: number;
  from: { format: "png" | "jpeg"; width: number; height: number };
}

export class ImageResize {
  /** Resizes a PNG or JPEG image; the new image comes back as a file. */
  @tool({ title: "Resize an image", limits: { memory: "512M" }, timeout: "60s", annotations: { idempotent: true } })
  async resize(input: Request): Promise<Resized> {
    const bytes = await files.get(input.file ?? "image").bytes();
    const kind = format(bytes);
    const source = kind === "png" ? fromPng(bytes) : fromJpeg(bytes);
    const { width, height } = size(source, input);
    const target = resize(source, width, height);
    const wanted = input.format ?? kind;
    const encoded = wanted === "png" ? encodePng({ ...target, channels: 4, depth: 8 }) : jpeg.encode(target, 90).data;
    const file = `resized.${wanted === "png" ? "png" : "jpg"}`;
    await Bun.write(out(file), encoded);
    return { file, width, height, bytes: encoded.length, from: { format: kind, width: source.width, height: source.height } };
  }
}

function format(bytes: Uint8Array): "png" | "jpeg" {
  if (bytes[0] === 0x89 && bytes[1] === 0x50) return "png";
  if (bytes[0] === 0xff && bytes[1] === 0xd8) return "jpeg";
  throw new Error("the file is neither PNG nor JPEG");
}

function fromPng(bytes: Uint8Array): Pixels {
  const image = decodePng(bytes, { checkCrc: true });
  if (image.width * image.height > PIXELS_MAX) throw new Error(`the image has more than ${PIXELS_MAX} pixels`);
  const shift = image.depth === 16 ? 8 : 0;
  if (image.depth < 8 || image.palette !== undefined) throw new Error("this PNG has a palette or less than 8 bits a channel, which is not supported");
  const data = new Uint8Array(image.width * image.height * 4);
  const { channels } = image;
  for (let pixel = 0; pixel < image.width * image.height; pixel++) {
    const at = (channel: number): number => (image.data[pixel * channels + channel] ?? 0) >> shift;
    const grey = channels < 3;
    data.set([at(0), grey ? at(0) : at(1), grey ? at(0) : at(2), channels === 4 ? at(3) : channels === 2 ? at(1) : 255], pixel * 4);
  }
  return { width: image.width, height: image.height, data };
}

function fromJpeg(bytes: Uint8Array): Pixels {
  const image = jpeg.decode(bytes, { useTArray: true, formatAsRGBA: true, maxResolutionInMP: PIXELS_MAX / 1e6, maxMemoryUsageInMB: 384 });
  return { width: image.width, height: image.height, data: image.data };
}

function size(source: Pixels, { width, height }: Request): { width: number; height: number } {
  if (width === undefined && height === undefined) throw new Error("give a width, a height or both");
  const wide = width ?? Math.max(1, Math.round((source.width * (height ?? 1)) / source.height));
  const high = height ?? Math.max(1, Math.round((source.height * (width ?? 1)) / source.width));
  if (wide > SIDE_MAX || high > SIDE_MAX) throw new Error(`no side may be longer than ${SIDE_MAX} pixels`);
  return { width: wide, height: high };
}
