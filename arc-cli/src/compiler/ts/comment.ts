//! Doc comments as TypeScript keeps them, and where it does not.

import ts from "typescript";

import type { Docs } from "../shape.ts";

/** A doc comment: its text, and its tags in order. */
export interface Comment {
  readonly text: string;
  readonly tags: readonly { readonly name: string; readonly text: string }[];
}

/** The doc comment of a symbol, cleaned. */
export function commentOf(checker: ts.TypeChecker, symbol: ts.Symbol): Comment {
  const text = clean(ts.displayPartsToString(symbol.getDocumentationComment(checker)));
  const tags = symbol.getJsDocTags(checker).map((tag) => ({ name: tag.name, text: clean(ts.displayPartsToString(tag.text)) }));
  if (text !== "" || tags.length > 0) return { text, tags };
  return symbol.declarations?.map(besideOf).find((comment) => comment !== undefined) ?? { text, tags };
}

/**
 * A doc comment on the line of the brace or semicolon before it, as in `{ /** City *\/ city: string }`. TypeScript counts
 * it as trailing what stands before and attaches it to nothing; people mean the member that follows.
 */
function besideOf(declaration: ts.Node): Comment | undefined {
  const source = declaration.getSourceFile().text;
  const range = ts.getTrailingCommentRanges(source, declaration.pos)?.at(-1);
  const comment = range && source.slice(range.pos, range.end);
  if (!comment?.startsWith("/**")) return undefined;
  const parsed = ts.createSourceFile("comment.ts", `${comment}\nlet it;`, ts.ScriptTarget.ESNext, true).statements[0];
  if (!parsed) return undefined;
  const tags = ts.getJSDocTags(parsed).map((tag) => ({ name: tag.tagName.text, text: clean(tagText(tag)) }));
  const [doc] = ts.getJSDocCommentsAndTags(parsed).filter((node) => ts.isJSDoc(node));
  return { text: clean(ts.getTextOfJSDocComment(doc?.comment) ?? ""), tags };
}

function tagText(tag: ts.JSDocTag): string {
  return ts.getTextOfJSDocComment(tag.comment) ?? "";
}

/** The prose of a symbol's doc comment, without the tags that say something about values. */
export function proseOf(checker: ts.TypeChecker, symbol: ts.Symbol | undefined): Docs {
  return symbol ? prose(commentOf(checker, symbol)) : {};
}

/** What a comment says to people. */
export function prose(comment: Comment): Docs {
  const title = comment.tags.find((tag) => tag.name === "title")?.text ?? "";
  return {
    ...(title === "" ? {} : { title }),
    ...(comment.text === "" ? {} : { description: comment.text }),
    ...(comment.tags.some((tag) => tag.name === "deprecated") ? { deprecated: true } : {}),
  };
}

/** What `@returns` says. */
export function returnsOf(checker: ts.TypeChecker, symbol: ts.Symbol | undefined): string {
  const tags = symbol ? commentOf(checker, symbol).tags : [];
  return tags.find(({ name }) => name === "returns" || name === "return")?.text ?? "";
}

function clean(text: string): string {
  return text.replaceAll("\r\n", "\n").trim().toWellFormed();
}
