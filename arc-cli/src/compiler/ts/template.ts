//! Template literal types to regular expressions: `${number}px` is `^…px$`.

import ts from "typescript";

const NUMBER = "-?(0|[1-9][0-9]*)(\\.[0-9]+)?([eE][+-]?[0-9]+)?";

/** The pattern of a template literal type; none when a part of it has no pattern. */
export function templatePattern(type: ts.Type): string | undefined {
  const body = partPattern(type);
  return body === undefined ? undefined : `^${body}$`;
}

function bodyOf(type: ts.TemplateLiteralType): string | undefined {
  const parts = type.types.map(partPattern);
  if (parts.some((part) => part === undefined)) return undefined;
  return type.texts.reduce((pattern, literal, i) => pattern + escape(literal) + (parts[i] ?? ""), "");
}

function partPattern(type: ts.Type): string | undefined {
  const F = ts.TypeFlags;
  if ((type.flags & F.StringLiteral) !== 0) return escape((type as ts.StringLiteralType).value);
  if ((type.flags & F.NumberLiteral) !== 0) return escape(String((type as ts.NumberLiteralType).value));
  if ((type.flags & F.TemplateLiteral) !== 0) return bodyOf(type as ts.TemplateLiteralType);
  if ((type.flags & (F.String | F.Any)) !== 0) return "[\\s\\S]*";
  if ((type.flags & F.Number) !== 0) return NUMBER;
  if ((type.flags & F.BigInt) !== 0) return "-?(0|[1-9][0-9]*)";
  if ((type.flags & F.Boolean) !== 0) return "(true|false)";
  if (!type.isUnion()) return undefined;
  const members = type.types.map(partPattern);
  return members.some((member) => member === undefined) ? undefined : `(${members.join("|")})`;
}

function escape(text: string): string {
  return text.replace(/[.*+?^${}()|[\]\\/]/g, "\\$&");
}
