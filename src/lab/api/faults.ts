/**
 * Faults on demand: rules that spoil requests and watches, chosen by a seeded generator so that a
 * run can be repeated. Knows nothing of sockets; the server asks it before each request.
 */

export interface FaultMatch {
  /** Plural, `pods`; absent: every resource. */
  readonly resource?: string;
  readonly verb?: string;
  /** Name of the user of a token. */
  readonly user?: string;
}

export interface FaultEffect {
  /** Answer with this status instead: 401, 403, 410, 429, 500, 503, 504. */
  readonly code?: number;
  readonly retryAfterSeconds?: number;
  /** Wait before answering, in milliseconds. */
  readonly delayMs?: number;
  /** Cut the connection without an answer. */
  readonly reset?: boolean;
  /** Lists come in pages of at most this many. */
  readonly pageSize?: number;
  /** Replies leave in pieces of this many bytes, with pauses. */
  readonly splitBytes?: number;
  /** Replies end after this many bytes with a cut connection. */
  readonly cutBytes?: number;
  /** Watches end after this many milliseconds, in order or by a reset. */
  readonly watchForMs?: number;
  readonly watchEnd?: 'close' | 'reset' | 'expire' | 'stall';
  readonly noBookmarks?: boolean;
  readonly noWatchList?: boolean;
  readonly dropEndBookmark?: boolean;
  /** Every event of a watch is sent twice. */
  readonly duplicate?: boolean;
  /** Pods stay known this long after their network is gone and their address is free. Alone in a rule. */
  readonly lateDeleteMs?: number;
}

export interface FaultRule extends FaultMatch, FaultEffect {
  /** Names the rule for removal. */
  readonly id?: string;
  /** 0 to 1; default 1. */
  readonly probability?: number;
  /** How often it may strike; default without end. */
  readonly times?: number;
}

/** A rule in force; `left`: how often it may still strike. */
export type ListedFault = FaultRule & { readonly left?: number };

export interface RequestFacts {
  readonly resource: string;
  readonly verb: string;
  readonly user: string;
}

export interface Faults {
  add(rule: FaultRule): string;
  remove(id: string): boolean;
  clear(): void;
  list(): readonly ListedFault[];
  /** The effects that strike this request, later rules over earlier ones. */
  effectOn(request: RequestFacts): FaultEffect;
  /** Is this forbidden for good by a rule? Used for access reviews; never random. */
  forbids(request: RequestFacts): boolean;
  random(): number;
  /** How long the pod that has just ended stays known, in milliseconds; mostly 0. */
  lateDeleteMs(): number;
}

/** A small seeded generator (mulberry32). */
export function seededRandom(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296;
  };
}

const applies = (rule: FaultMatch, request: RequestFacts): boolean =>
  (rule.resource === undefined || rule.resource === request.resource) &&
  (rule.verb === undefined || rule.verb === request.verb) &&
  (rule.user === undefined || rule.user === request.user);

export function createFaults(seed = 1): Faults {
  const random = seededRandom(seed);
  const rules = new Map<string, { rule: FaultRule; left: number }>();
  let count = 0;
  /** Whether a rule that matches strikes now; counts when it does. */
  const strikes = (entry: { readonly rule: FaultRule; left: number }): boolean => {
    if (entry.left <= 0) return false;
    const { probability } = entry.rule;
    if (probability !== undefined && random() >= probability) return false;
    entry.left -= 1;
    return true;
  };
  return {
    random,
    add(rule) {
      count += 1;
      const id = rule.id ?? `fault-${count}`;
      rules.set(id, { rule: { ...rule, id }, left: rule.times ?? Number.POSITIVE_INFINITY });
      return id;
    },
    remove: (id) => rules.delete(id),
    clear() {
      rules.clear();
    },
    list: () =>
      [...rules.values()].map(({ rule, left }) =>
        rule.times === undefined ? rule : { ...rule, left },
      ),
    effectOn(request) {
      let effect: FaultEffect = {};
      for (const entry of rules.values()) {
        const { rule } = entry;
        if (rule.lateDeleteMs === undefined && applies(rule, request) && strikes(entry))
          effect = { ...effect, ...rule };
      }
      return effect;
    },
    lateDeleteMs() {
      let longest = 0;
      for (const entry of rules.values()) {
        const { lateDeleteMs } = entry.rule;
        if (lateDeleteMs !== undefined && strikes(entry)) longest = Math.max(longest, lateDeleteMs);
      }
      return longest;
    },
    forbids: (request) =>
      [...rules.values()].some(
        ({ rule, left }) => left > 0 && rule.code === 403 && applies(rule, request),
      ),
  };
}
