import { AriaError, kv, tool } from "@aria/sdk";

/** A type and not an interface, because the values of a table are plain JSON. */
export type Order = {
  id: string;
  item: string;
  /** How many were ordered. */
  quantity: number;
  /** How many were delivered. */
  filled: number;
};

export interface NewOrder {
  /**
   * Unique; placing the same order twice is placing it once.
   * @pattern ^[A-Z]-[0-9]{1,6}$
   */
  id: string;
  /** @minLength 1 */
  item: string;
  /** @minimum 1 */
  quantity: number;
}

const orders = kv<Order>("orders");

export class OrderBook {
  /** Places an order. */
  @tool({ tokens: ["kv:orders:rw"], annotations: { idempotent: true } })
  async place(input: NewOrder): Promise<Order> {
    const order = { ...input, filled: 0 };
    const { swapped } = await orders.cas(order.id, 0, order);
    if (swapped) return order;
    const there = await orders.get(order.id);
    if (there?.item !== order.item || there.quantity !== order.quantity) throw new Error(`order ${order.id} is another one`);
    return there;
  }

  /** Delivers a part of an order. */
  @tool({ tokens: ["kv:orders:rw"] })
  async fill(input: { id: string; /** @minimum 1 */ quantity: number }): Promise<Order> {
    const entry = await orders.entry(input.id);
    if (entry === undefined) throw new Error(`there is no order ${input.id}`);
    const filled = entry.value.filled + input.quantity;
    if (filled > entry.value.quantity) throw new Error(`order ${input.id} has only ${entry.value.quantity - entry.value.filled} left`);
    const { swapped } = await orders.cas(input.id, entry.version, { ...entry.value, filled });
    if (!swapped) throw new Error(`order ${input.id} changed meanwhile`);
    return { ...entry.value, filled };
  }

  /** Takes an order out of the book; whether it was there. */
  @tool({ tokens: ["kv:orders:rw"], annotations: { destructive: true, idempotent: true } })
  async cancel(input: { id: string }): Promise<boolean> {
    return orders.delete(input.id);
  }

  /** Orders that are not delivered, by their ids. */
  @tool({ tokens: ["kv:orders:ro"], annotations: { readOnly: true, idempotent: true } })
  async open(input: { /** Ids begin with this. */ prefix?: string }): Promise<Order[]> {
    const found = await orders.list(input.prefix);
    return found.map((entry) => entry.value).filter((order) => order.filled < order.quantity);
  }

  /** What the device says to a tool that writes with a token for reading. Which table is only known when it runs, so arc can no more than warn. */
  @tool({ tokens: ["kv:orders:ro"] })
  async peek(input: { id: string; table: string }): Promise<string> {
    try {
      await kv(input.table).delete(input.id);
      return "deleted";
    } catch (error) {
      if (error instanceof AriaError) return error.reason;
      throw error;
    }
  }
}
