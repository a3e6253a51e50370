//! A bundle's interface → the text of a typed client, one file without dependencies. Pure.

import type { Manifest, ToolManifest } from "../bundle/manifest.ts";
import { comment, pascal, typeOf } from "./types.ts";

/** Names the fixed part and the class itself use. */
const TAKEN = new Set(["constructor", "checked"]);

export function clientSource(manifest: Manifest, interfaceDigest: string, transport: string): string {
  const tools = [...manifest.tools].sort((a, b) => (a.name < b.name ? -1 : 1));
  const types = tools.flatMap((tool) => [named(`${pascal(tool.name)}Input`, tool.input), named(`${pascal(tool.name)}Output`, tool.output)]);
  return [
    `// Client of the bundle ${manifest.name}, written by \`arc gen client\` from version ${manifest.version}. Write it again instead of editing it.`,
    transport.trimEnd(),
    "",
    "/** What this client was written for; a device with another interface is refused before the first call. */",
    `export const interfaceDigest = ${JSON.stringify(interfaceDigest)};`,
    "",
    ...types,
    classSource(manifest, tools),
  ].join("\n");
}

function named(name: string, schema: unknown): string {
  const { type, declarations } = typeOf(schema, name);
  return `${declarations}export type ${name} = ${type};\n`;
}

function classSource({ name, description }: Manifest, tools: readonly ToolManifest[]): string {
  return `${comment({ description })}${description === "" ? "" : "\n"}export class ${pascal(name)} {
  readonly #transport: Transport;
  #checked: Promise<void> | undefined;

  constructor(transport: Transport = arcTransport()) {
    this.#transport = transport;
  }

  /** Asks the device once whether its interface is the one this client knows; rejects with \`InterfaceChanged\`. */
  checked(): Promise<void> {
    this.#checked ??= this.#check().catch((error: unknown) => {
      // A device that did not answer may answer the next time.
      this.#checked = undefined;
      throw error;
    });
    return this.#checked;
  }

  async #check(): Promise<void> {
    const found = await this.#transport.interfaceDigest(${JSON.stringify(name)});
    if (found !== interfaceDigest) throw new InterfaceChanged(${JSON.stringify(name)}, interfaceDigest, found);
  }

  async #call<T>(tool: string, input: unknown, signal: AbortSignal | undefined): Promise<T> {
    await this.checked();
    return JSON.parse(await this.#transport.invoke(tool, JSON.stringify(input), signal)) as T;
  }
${tools.map((tool) => method(name, tool)).join("")}}
`;
}

function method(bundle: string, tool: ToolManifest): string {
  const type = pascal(tool.name);
  const camel = type.charAt(0).toLowerCase() + type.slice(1);
  const name = TAKEN.has(camel) ? `${camel}_` : camel;
  const required = Array.isArray(tool.input["required"]) && tool.input["required"].length > 0;
  const doc = comment({ description: tool.description });
  return `
${doc === "" ? "" : `  ${doc.trimEnd()}\n`}  ${name}(input: ${type}Input${required || !isObject(tool) ? "" : " = {}"}, options: { readonly signal?: AbortSignal } = {}): Promise<${type}Output> {
    return this.#call(${JSON.stringify(`${bundle}.${tool.name}`)}, input, options.signal);
  }
`;
}

/** A union of objects has members that must be there, whatever its top says. */
const isObject = ({ input }: ToolManifest): boolean => !["anyOf", "oneOf", "allOf", "$ref"].some((key) => key in input);
