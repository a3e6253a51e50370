//! Changes of a project's files, gathered: many events of one save become one step.

import { watch } from "node:fs";

/** Editors write a file in several steps; this long after the last one it is quiet. */
const QUIET_MS = 25;
const IGNORED = /(^|\/)(\.arc|\.git|node_modules|dist|out)(\/|$)|\.aria$|(^|\/)\.?[^/]*(~|\.swp|\.swx|\.tmp)$|(^|\/)4913$/;

export interface Changes {
  /** Resolves at the next quiet moment after a change, at once when one was not taken yet; false when it was closed. */
  next(): Promise<boolean>;
  close(): void;
}

export function watchProject(root: string): Changes {
  let changed = false;
  let closed = false;
  let wake = (): void => undefined;
  let timer: ReturnType<typeof setTimeout> | undefined;
  const settle = (): void => {
    changed = true;
    wake();
  };
  const watcher = watch(root, { recursive: true }, (_event, name) => {
    if (name !== null && IGNORED.test(name)) return;
    clearTimeout(timer);
    timer = setTimeout(settle, QUIET_MS);
  });
  // A directory that disappears under the watcher is seen by the next build, with a better message.
  watcher.on("error", () => settle());
  return {
    async next() {
      if (!changed && !closed) await new Promise<void>((resolve) => (wake = resolve));
      changed = false;
      return !closed;
    },
    close() {
      closed = true;
      clearTimeout(timer);
      watcher.close();
      wake();
    },
  };
}
