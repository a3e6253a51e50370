// A driver watches the device from outside while a case runs inside: what a case cannot see of itself.

import type { Device } from "../device.ts";
import type { Verdict } from "../verdict.ts";

export interface Driver {
  name: string;
  attack: string;
  /** The layers or the part of a daemon that hold it, for the report. */
  holds: string;
  /** `host`: needs to see the machine the cages run on. */
  where: "host" | "any";
  heavy: boolean;
  run(device: Device, options: Size): Promise<Verdict>;
}

/** How much of it: `light` in `make test`, `full` with FULL=1. */
export interface Size {
  light: boolean;
  full: boolean;
}

/** Collects what did not hold. */
export class Findings {
  readonly #failures: string[] = [];
  #checks = 0;

  check(what: string, holds: boolean, seen: string | number = ""): void {
    this.#checks += 1;
    if (!holds) this.#failures.push(seen === "" ? what : `${what}: ${seen}`);
  }

  verdict(note = ""): Verdict {
    if (this.#checks === 0) return { pass: false, detail: "nothing was checked" };
    const summary = this.#failures.length === 0 ? `${this.#checks} checks held` : `${this.#failures.length} of ${this.#checks} not held: ${this.#failures.slice(0, 12).join("; ")}`;
    return { pass: this.#failures.length === 0, detail: note === "" ? summary : `${summary}. ${note}` };
  }
}
