//! The types of plain JSON.

/** Any JSON value. In a tool's input or output it accepts everything JSON can carry, without a closer check. */
export type JsonValue = null | boolean | number | string | JsonValue[] | { [key: string]: JsonValue };

/** Any JSON object. */
export type JsonObject = { [key: string]: JsonValue };
