import { RRule, rrulestr } from "rrule";
import { out, tool } from "@aria/sdk";

const COUNT_MAX = 1_000;
const DAY_MS = 86_400_000;

export interface Rule {
  /**
   * First occurrence.
   * @example "2026-01-05T09:00:00Z"
   */
  start: Date;
  /**
   * Recurrence rule of RFC 5545 without DTSTART.
   * @example "FREQ=WEEKLY;BYDAY=MO,WE;COUNT=4"
   * @maxLength 1000
   */
  rule: string;
  /** Occurrences left out. */
  except?: Date[];
  /**
   * At most this many.
   * @integer
   * @minimum 1
   * @maximum 1000
   * @default 100
   */
  limit?: number;
}

export interface Event extends Rule {
  /** @maxLength 500 */
  title: string;
  /**
   * Length in minutes.
   * @integer
   * @minimum 1
   * @default 60
   */
  minutes?: number;
  place?: string;
}

export class Calendar {
  /** Every occurrence of a recurrence rule, in UTC. */
  @tool({ annotations: { readOnly: true, idempotent: true }, timeout: "60s" })
  expand(input: Rule): { occurrences: Date[]; more: boolean; text: string } {
    const limit = Math.min(input.limit ?? 100, COUNT_MAX);
    const rule = rrulestr(input.rule, { dtstart: input.start });
    const except = new Set((input.except ?? []).map((date) => date.getTime()));
    const occurrences: Date[] = [];
    let more = false;
    rule.all((date) => {
      if (except.has(date.getTime())) return true;
      more = occurrences.length === limit;
      if (!more) occurrences.push(date);
      return !more;
    });
    return { occurrences, more, text: rule instanceof RRule ? rule.toText() : "" };
  }

  /** Writes a recurring event as an iCalendar file, which comes back with the answer. */
  @tool({ annotations: { idempotent: true }, timeout: "60s" })
  async event(input: Event): Promise<{ file: string; first: Date; last?: Date; days: number }> {
    const { occurrences, more } = this.expand(input);
    const [first] = occurrences;
    if (first === undefined) throw new Error("the rule has no occurrence");
    const last = more ? undefined : occurrences.at(-1);
    const ends = new Date(input.start.getTime() + (input.minutes ?? 60) * 60_000);
    const lines = [
      "BEGIN:VCALENDAR", "VERSION:2.0", "PRODID:-//Aria examples//calendar//EN", "BEGIN:VEVENT",
      `UID:${stamp(input.start)}-${Bun.hash.crc32(input.title + input.rule).toString(16)}@aria.example`, `DTSTAMP:${stamp(input.start)}`,
      `DTSTART:${stamp(input.start)}`, `DTEND:${stamp(ends)}`, `RRULE:${input.rule.replace(/^RRULE:/, "")}`,
      ...(input.except ?? []).map((date) => `EXDATE:${stamp(date)}`),
      `SUMMARY:${escape(input.title)}`, ...(input.place === undefined ? [] : [`LOCATION:${escape(input.place)}`]),
      "END:VEVENT", "END:VCALENDAR",
    ];
    await Bun.write(out("event.ics"), lines.map(fold).join("\r\n") + "\r\n");
    const days = last === undefined ? 0 : Math.round((last.getTime() - first.getTime()) / DAY_MS);
    return last === undefined ? { file: "event.ics", first, days } : { file: "event.ics", first, last, days };
  }
}

function stamp(date: Date): string {
  return date.toISOString().replace(/[-:]|\.\d{3}/g, "");
}

function escape(text: string): string {
  return text.replace(/[\\;,]/g, "\\$&").replace(/\r?\n/g, "\\n");
}

/** Lines are at most 75 bytes; the rest goes on lines that begin with a blank. */
function fold(line: string): string {
  const parts: string[] = [];
  let part = "";
  for (const char of line) {
    if (Buffer.byteLength(part + char) > 74) {
      parts.push(part);
      part = "";
    }
    part += char;
  }
  return [...parts, part].join("\r\n ");
}
