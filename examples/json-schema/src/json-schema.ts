import { Ajv2020 } from "ajv/dist/2020.js";
import addFormats from "ajv-formats";
import { tool, type JsonObject, type JsonValue } from "@aria/sdk";

/** One thing that is wrong with the document. */
export interface Problem {
  /** JSON Pointer to the place in the document. */
  at: string;
  message: string;
  /** The keyword that failed. */
  keyword: string;
}

export type Verdict = { valid: true } | { valid: false; problems: Problem[] };

export interface Question {
  /** JSON Schema, draft 2020-12. */
  schema: JsonObject;
  document: JsonValue;
}

export class JsonSchema {
  /** Checks a document against a JSON Schema and lists every problem, not only the first. */
  @tool({ annotations: { readOnly: true, idempotent: true }, timeout: "60s" })
  validate(input: Question): Verdict {
    const ajv = new Ajv2020({ allErrors: true, strict: false });
    addFormats.default(ajv);
    const check = ajv.compile(input.schema);
    if (check(input.document)) return { valid: true };
    const problems = (check.errors ?? []).map((error) => ({ at: error.instancePath, message: error.message ?? "", keyword: error.keyword }));
    return { valid: false, problems };
  }
}
