import { tool } from "@aria/sdk";

/** One day of a forecast. */
export interface Day {
  /** Days from today, 0 is today. @integer */
  day: number;
  sky: "clear" | "clouds" | "rain" | "snow";
  /** Highest temperature in degrees Celsius. */
  high: number;
  /** Lowest temperature in degrees Celsius. */
  low: number;
}

export class Weather {
  /**
   * The weather forecast for one city. It is made from the city's name alone, so it needs no network and the same
   * question always has the same answer.
   *
   * @returns one entry a day, beginning with today
   */
  @tool({ annotations: { readOnly: true, idempotent: true }, timeout: "5s" })
  forecast(input: Question): { city: string; days: Day[] } {
    const days = Array.from({ length: input.days ?? 3 }, (_, day) => weather(input.city, day));
    return { city: input.city, days };
  }
}

/** What to forecast. */
export interface Question {
  /**
   * Name of the city.
   * @minLength 1
   * @maxLength 100
   * @example "Oslo"
   */
  city: string;
  /**
   * How many days.
   * @integer
   * @minimum 1
   * @maximum 14
   * @default 3
   */
  days?: number;
}

const skies = ["clear", "clouds", "rain", "snow"] as const;

function weather(city: string, day: number): Day {
  const seed = hash(`${city.trim().toLowerCase()} ${day}`);
  const high = (seed % 30) - 4;
  const sky = skies[(seed >>> 8) % (high > 4 ? 3 : 4)] ?? "clear";
  return { day, sky, high, low: high - 3 - ((seed >>> 16) % 6) };
}

/** FNV-1a, 32 bit: small, and the same everywhere. */
function hash(text: string): number {
  let value = 0x811c9dc5;
  for (const byte of new TextEncoder().encode(text)) value = Math.imul(value ^ byte, 0x01000193) >>> 0;
  return value;
}
