/**
 * Bounded parallel work for the lab's many short processes. Must not know what they do.
 */
import { availableParallelism } from 'node:os';

/** `act` over `items`, at most `limit` at a time; results in order. The first failure rejects. */
export async function mapLimited<T, R>(
  items: readonly T[],
  limit: number,
  act: (item: T) => Promise<R>,
): Promise<R[]> {
  const results: R[] = Array.from({ length: items.length });
  let next = 0;
  const worker = async (): Promise<void> => {
    for (;;) {
      const index = next++;
      if (index >= items.length) return;
      results[index] = await act(items[index] as T);
    }
  };
  await Promise.all(Array.from({ length: Math.min(limit, items.length) }, worker));
  return results;
}

/** Processes that mostly compute: a few more than there are cores. */
export function busyLimit(): number {
  return availableParallelism() + 1;
}
