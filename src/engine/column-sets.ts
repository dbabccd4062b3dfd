/**
 * Sets of columns (peers as policy sees them), each distinct set kept once: small ones as sorted
 * lists, large ones as bits. Must not know what a column stands for.
 */

/** The number of a set in one table. */
export type SetId = number;

export const EMPTY: SetId = 0;
/** Every column there is, also those added later. */
export const EVERY: SetId = 1;

/** Up to this size a set is a list, and results are kept column by column. */
export const SPARSE_LIMIT = 48;

export interface ColumnSets {
  /** The set of sorted columns without repeats. */
  intern(columns: readonly number[]): SetId;
  has(id: SetId, column: number): boolean;
  isSparse(id: SetId): boolean;
  /** Sorted; not for {@link EVERY}. */
  columnsOf(id: SetId): Int32Array;
  union(ids: readonly SetId[]): SetId;
  intersect(a: SetId, b: SetId): SetId;
  /** Adds `copy` to every set that has `original`; for splitting a column in two. */
  addLike(original: number, copy: number): void;
  readonly count: number;
}

interface Stored {
  columns: Int32Array;
  bits: Uint32Array | undefined;
}

export function createColumnSets(): ColumnSets {
  const stored: Stored[] = [];
  let byHash = new Map<number, SetId[]>();

  const add = (columns: Int32Array): SetId => {
    const id = stored.length;
    stored.push({ columns, bits: columns.length > SPARSE_LIMIT ? bitsOf(columns) : undefined });
    return id;
  };
  add(new Int32Array(0));
  add(new Int32Array(0));
  byHash.set(hashOf(stored[EMPTY]?.columns ?? new Int32Array(0)), [EMPTY]);

  const intern = (columns: readonly number[] | Int32Array): SetId => {
    const hash = hashOf(columns);
    const same = byHash.get(hash);
    if (same !== undefined)
      for (const id of same) if (equal((stored[id] as Stored).columns, columns)) return id;
    const id = add(Int32Array.from(columns));
    if (same === undefined) byHash.set(hash, [id]);
    else same.push(id);
    return id;
  };

  const has = (id: SetId, column: number): boolean => {
    if (id === EVERY) return true;
    const set = stored[id] as Stored;
    if (set.bits !== undefined) {
      const word = set.bits[column >>> 5];
      return word !== undefined && ((word >>> (column & 31)) & 1) === 1;
    }
    return indexIn(set.columns, column) >= 0;
  };

  return {
    intern,
    has,
    isSparse: (id) => id !== EVERY && (stored[id] as Stored).bits === undefined,
    columnsOf: (id) => (stored[id] as Stored).columns,
    union(ids) {
      const first = ids[0];
      if (first === undefined) return EMPTY;
      if (ids.every((id) => id === first)) return first;
      if (ids.includes(EVERY)) return EVERY;
      const all = new Set<number>();
      for (const id of ids) for (const column of (stored[id] as Stored).columns) all.add(column);
      return intern(Int32Array.from(all).sort());
    },
    intersect(a, b) {
      if (a === EVERY || a === b) return b;
      if (b === EVERY) return a;
      const [small, large] =
        (stored[a] as Stored).columns.length < (stored[b] as Stored).columns.length
          ? [a, b]
          : [b, a];
      return intern((stored[small] as Stored).columns.filter((column) => has(large, column)));
    },
    addLike(original, copy) {
      for (let id = 2; id < stored.length; id++) {
        if (!has(id, original)) continue;
        const set = stored[id] as Stored;
        // A copy is the newest column, so the list stays sorted.
        const columns = new Int32Array(set.columns.length + 1);
        columns.set(set.columns);
        columns[set.columns.length] = copy;
        set.columns = columns;
        if (set.bits !== undefined) set.bits = withBit(set.bits, copy);
      }
      byHash = new Map();
      for (let id = 0; id < stored.length; id++) {
        if (id === EVERY) continue;
        const hash = hashOf((stored[id] as Stored).columns);
        const same = byHash.get(hash);
        if (same === undefined) byHash.set(hash, [id]);
        else same.push(id);
      }
    },
    get count() {
      return stored.length;
    },
  };
}

/** Position of a value in a sorted list; negative when it is not there. */
export function indexIn(sorted: Int32Array, value: number): number {
  let low = 0;
  let high = sorted.length - 1;
  while (low <= high) {
    const middle = (low + high) >>> 1;
    const found = sorted[middle] as number;
    if (found === value) return middle;
    if (found < value) low = middle + 1;
    else high = middle - 1;
  }
  return -1;
}

function bitsOf(columns: Int32Array): Uint32Array {
  const last = columns[columns.length - 1] ?? 0;
  const bits = new Uint32Array((last >>> 5) + 1);
  for (const column of columns)
    bits[column >>> 5] = (bits[column >>> 5] as number) | (1 << (column & 31));
  return bits;
}

function withBit(bits: Uint32Array, column: number): Uint32Array {
  const word = column >>> 5;
  let result = bits;
  if (word >= bits.length) {
    result = new Uint32Array(Math.max(word + 1, bits.length + (bits.length >>> 3)));
    result.set(bits);
  }
  result[word] = (result[word] as number) | (1 << (column & 31));
  return result;
}

function hashOf(columns: readonly number[] | Int32Array): number {
  let hash = columns.length;
  for (let i = 0; i < columns.length; i++)
    hash = (Math.imul(hash, 0x01000193) ^ (columns[i] as number)) | 0;
  return hash;
}

function equal(a: Int32Array, b: readonly number[] | Int32Array): boolean {
  if (a.length !== b.length) return false;
  for (let i = 0; i < a.length; i++) if (a[i] !== b[i]) return false;
  return true;
}
