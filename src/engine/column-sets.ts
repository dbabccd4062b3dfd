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
  /** Adds to every set the copies of its members; copies are the newest columns. For splitting columns. */
  addLike(copies: ReadonlyMap<number, readonly number[]>): void;
  readonly count: number;
}

interface Stored {
  columns: Int32Array;
  bits: Uint32Array | undefined;
}

export function createColumnSets(): ColumnSets {
  const stored: Stored[] = [];
  const byHash = new Map<number, SetId[]>();

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
    addLike(copies) {
      const originals = [...copies.keys()];
      const isCopied = flagsOf(originals);
      for (let id = 2; id < stored.length; id++) {
        const set = stored[id] as Stored;
        const added: number[] = [];
        if (set.bits === undefined)
          for (const column of set.columns) {
            if (isCopied[column] === 1) added.push(...(copies.get(column) ?? []));
          }
        else
          for (const column of originals)
            if (has(id, column)) added.push(...(copies.get(column) ?? []));
        if (added.length === 0) continue;
        const hash = hashOf(set.columns);
        const same = byHash.get(hash);
        same?.splice(same.indexOf(id), 1);
        set.columns = appended(set.columns, added);
        if (set.bits !== undefined) set.bits = withBits(set.bits, added);
        const now = hashOf(set.columns);
        const list = byHash.get(now);
        if (list === undefined) byHash.set(now, [id]);
        else list.push(id);
      }
    },
    get count() {
      return stored.length;
    },
  };
}

/** 1 at each of the columns: quicker to ask than a map where thousands of lists are walked. */
export function flagsOf(columns: readonly number[]): Uint8Array {
  const flags = new Uint8Array(columns.reduce((most, column) => Math.max(most, column), -1) + 1);
  for (const column of columns) flags[column] = 1;
  return flags;
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

/** The list with newer columns, which are larger than all in it. */
export function appended(columns: Int32Array, added: readonly number[]): Int32Array {
  const result = new Int32Array(columns.length + added.length);
  result.set(columns);
  result.set(
    [...added].sort((a, b) => a - b),
    columns.length,
  );
  return result;
}

function withBits(bits: Uint32Array, added: readonly number[]): Uint32Array {
  let last = 0;
  for (const column of added) if (column > last) last = column;
  let result = bits;
  if (last >>> 5 >= bits.length) {
    result = new Uint32Array((last >>> 5) + 1 + (bits.length >>> 3));
    result.set(bits);
  }
  for (const column of added)
    result[column >>> 5] = (result[column >>> 5] as number) | (1 << (column & 31));
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
