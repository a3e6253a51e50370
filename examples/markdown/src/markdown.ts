import { marked } from "marked";
import sanitizeHtml from "sanitize-html";
import { tool } from "@aria/sdk";

/** A text to render. */
export interface Source {
  /**
   * Markdown, GitHub flavour.
   * @maxLength 200000
   */
  markdown: string;
  /** Keep images; by default they are dropped, since they can call home. */
  images?: boolean;
}

export interface Page {
  /** HTML without scripts, styles, event handlers or foreign frames. */
  html: string;
  /** The text of the first heading, if there is one. */
  title?: string;
  /** Links in the order they appear. */
  links: string[];
}

const TAGS = ["h1", "h2", "h3", "h4", "h5", "h6", "p", "a", "ul", "ol", "li", "b", "strong", "i", "em", "del", "code", "pre", "hr", "br", "blockquote", "table", "thead", "tbody", "tr", "th", "td"];

export class Markdown {
  /** Turns Markdown, with whatever HTML is in it, into HTML that is safe to show. */
  @tool({ title: "Render Markdown", annotations: { readOnly: true, idempotent: true }, timeout: "60s" })
  async render(input: Source): Promise<Page> {
    const raw = await marked.parse(input.markdown, { gfm: true });
    const links: string[] = [];
    const html = sanitizeHtml(raw, {
      allowedTags: input.images === true ? [...TAGS, "img"] : TAGS,
      allowedAttributes: { a: ["href", "title"], img: ["src", "alt", "title"], th: ["align"], td: ["align"], code: ["class"] },
      allowedSchemes: ["http", "https", "mailto"],
      transformTags: {
        a: (tagName, attribs) => {
          if (attribs.href !== undefined && /^(https?|mailto):/i.test(attribs.href)) links.push(attribs.href);
          return { tagName, attribs };
        },
      },
    });
    const heading = /<h1[^>]*>(.*?)<\/h1>/s.exec(html)?.[1];
    const title = heading === undefined ? undefined : sanitizeHtml(heading, { allowedTags: [], allowedAttributes: {} });
    return title === undefined ? { html, links } : { html, title, links };
  }

  /** The headings of a Markdown text, as an outline. */
  @tool({ annotations: { readOnly: true, idempotent: true }, timeout: "60s" })
  outline(input: { markdown: string }): { headings: Heading[] } {
    const headings = marked.lexer(input.markdown).flatMap((token) => (token.type === "heading" ? [{ level: token.depth as number, text: String(token.text) }] : []));
    return { headings };
  }
}

export interface Heading {
  /** @integer */
  level: number;
  text: string;
}
