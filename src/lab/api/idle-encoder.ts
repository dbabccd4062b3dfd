/**
 * Serialises objects while nobody asks, a little at a time, so that the first list of many is as quick
 * as the next. Must not know who lists.
 */
import { itemBytes } from './encode.ts';
import type { ApiObject } from './object.ts';
import type { Store } from './store.ts';

/** What changed within this time will probably change again: a pod is written three times at once. */
const restMs = 250;
/** Working time of a turn, and the pause after it: requests must not notice. */
const turnMs = 4;
const pauseMs = 12;

const eventBucket = '/events';

export function startIdleEncoder(store: Store): { stop(): void } {
  /** In the order of their last change. */
  const waiting = new Map<string, { readonly object: ApiObject; readonly since: number }>();
  let timer: NodeJS.Timeout | undefined;

  const later = (ms: number): void => {
    timer ??= setTimeout(work, ms).unref();
  };
  const work = (): void => {
    timer = undefined;
    const started = performance.now();
    for (const [key, { object, since }] of waiting) {
      const now = performance.now();
      if (now - since < restMs) return later(restMs - (now - since));
      if (now - started > turnMs) return later(pauseMs);
      waiting.delete(key);
      itemBytes(object);
    }
  };
  const end = store.listen(undefined, ({ bucket, key, type, object }) => {
    // Many, short-lived and seldom listed as they are.
    if (bucket === eventBucket) return;
    const place = `${bucket} ${key}`;
    waiting.delete(place);
    if (type === 'DELETED') return;
    waiting.set(place, { object, since: performance.now() });
    later(restMs);
  });
  return {
    stop() {
      end();
      clearTimeout(timer);
      waiting.clear();
    },
  };
}
