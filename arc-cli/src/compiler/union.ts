//! Joining shapes, and saying that their numbers are whole.

import { NO_DOCS, type Shape } from "./shape.ts";

/** Flattens, drops doubles, joins `true | false`; one member is no union. */
export function union(shapes: readonly Shape[]): Shape {
  const flat = shapes.flatMap((shape) => (shape.kind === "union" && Object.keys(shape.docs).length === 0 ? shape.members : [shape]));
  const isBoolean = (shape: Shape, value: boolean): boolean => shape.kind === "literal" && shape.value === value;
  const both = flat.some((shape) => isBoolean(shape, true)) && flat.some((shape) => isBoolean(shape, false));
  const joined: Shape[] = both ? [...flat.filter((shape) => !isBoolean(shape, true) && !isBoolean(shape, false)), { kind: "boolean" }] : flat;
  const members = [...new Map(joined.map((shape) => [JSON.stringify(shape), shape])).values()];
  const [only] = members;
  return members.length === 1 && only ? only : { kind: "union", members, docs: NO_DOCS };
}

/** The shape with `@integer` said of every number that it is or may be. */
export function integral(shape: Shape): Shape {
  if (shape.kind === "number") return { ...shape, docs: { ...shape.docs, integer: true } };
  return shape.kind === "union" ? { ...shape, members: shape.members.map(integral) } : shape;
}
