// QEMU's control socket: one command at a time, answers in order.

import { connect, type Socket } from "node:net";

export class Qmp {
  #socket: Socket;
  #rest = "";
  #waiting: ((answer: Record<string, unknown>) => void)[] = [];

  private constructor(socket: Socket) {
    this.#socket = socket;
    socket.on("data", (chunk) => this.#take(chunk.toString("utf8")));
    socket.on("error", () => {});
  }

  static async open(path: string): Promise<Qmp> {
    const socket = connect(path);
    await new Promise<void>((resolve, reject) => socket.once("connect", resolve).once("error", reject));
    const qmp = new Qmp(socket);
    await qmp.send("qmp_capabilities");
    return qmp;
  }

  #take(text: string): void {
    const lines = (this.#rest + text).split("\n");
    this.#rest = lines.pop() ?? "";
    for (const line of lines) {
      const message = JSON.parse(line) as Record<string, unknown>;
      if ("return" in message || "error" in message) this.#waiting.shift()?.(message);
    }
  }

  async send(execute: string): Promise<void> {
    const answer = await new Promise<Record<string, unknown>>((resolve, reject) => {
      this.#waiting.push(resolve);
      this.#socket.once("close", () => reject(new Error(`QEMU closed its control socket before answering ${execute}`)));
      this.#socket.write(`${JSON.stringify({ execute })}\n`);
    });
    if ("error" in answer) throw new Error(`${execute}: ${JSON.stringify(answer.error)}`);
  }

  close(): void {
    this.#socket.destroy();
  }
}
