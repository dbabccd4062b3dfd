/**
 * Where the parts of one object stand in its text, and how a field path finds its part. Offsets
 * only; must not know of YAML or JSON.
 */
import type { Position, SourceRange } from '../k8s/diagnostic.ts';

/** One value. Offsets are into the whole file, `end` exclusive. */
export interface PositionNode {
  readonly start: number;
  readonly end: number;
  /** Present on mappings and lists. */
  readonly children?: ReadonlyMap<string, PositionEntry> | readonly PositionEntry[];
}

export interface PositionEntry {
  /** The key of a mapping entry. */
  readonly key?: { readonly start: number; readonly end: number };
  readonly value: PositionNode;
}

/** Turns offsets into lines and columns; the index is built when first asked. */
export interface LineIndex {
  position(offset: number): Position;
  /** Offset of the end of the line that holds `offset`, without the line break. */
  lineEnd(offset: number): number;
}

export function lineIndex(text: string): LineIndex {
  let starts: number[] | undefined;
  const build = (): number[] => {
    const list = [0];
    for (let at = text.indexOf('\n'); at >= 0; at = text.indexOf('\n', at + 1)) list.push(at + 1);
    return list;
  };
  return {
    position(offset) {
      starts ??= build();
      let low = 0;
      let high = starts.length - 1;
      while (low < high) {
        const middle = (low + high + 1) >> 1;
        if ((starts[middle] as number) <= offset) low = middle;
        else high = middle - 1;
      }
      return { line: low + 1, column: offset - (starts[low] as number) + 1 };
    },
    lineEnd(offset) {
      const at = text.indexOf('\n', offset);
      if (at < 0) return text.length;
      return at > offset && text[at - 1] === '\r' ? at - 1 : at;
    },
  };
}

export function rangeOf(
  file: string,
  lines: LineIndex,
  start: number,
  end: number = start,
): SourceRange {
  return end > start
    ? { file, start: lines.position(start), end: lines.position(end) }
    : { file, start: lines.position(start) };
}

/**
 * Finds a field path of the API server's form (`spec.ingress[0].from`, `metadata.labels[a.b/c]`) or
 * its nearest existing ancestor. Keys that hold dots are found as well. A scalar's range covers key
 * and value, that of a mapping or list only its key, or its first line where there is none: enough
 * to point at, without underlining half a file.
 */
export function locateField(
  root: PositionNode,
  path: string,
  file: string,
  lines: LineIndex,
): SourceRange {
  let entry: PositionEntry = { value: root };
  let rest = path;
  while (rest !== '') {
    const step = childOf(entry.value, rest);
    if (step === undefined) break;
    entry = step.entry;
    rest = step.rest;
  }
  const { key, value } = entry;
  const start = key?.start ?? value.start;
  if (value.children === undefined) return rangeOf(file, lines, start, value.end);
  const end = key?.end ?? Math.min(value.end, lines.lineEnd(value.start));
  return rangeOf(file, lines, start, end);
}

function childOf(
  node: PositionNode,
  path: string,
): { entry: PositionEntry; rest: string } | undefined {
  const { children } = node;
  if (children === undefined) return undefined;
  if (path.startsWith('[')) {
    // A key may itself hold brackets; the first closing one that makes a known key counts.
    for (let close = path.indexOf(']'); close > 0; close = path.indexOf(']', close + 1)) {
      const entry = get(children, path.slice(1, close));
      if (entry !== undefined) return { entry, rest: withoutDot(path.slice(close + 1)) };
      if (Array.isArray(children)) return undefined;
    }
    return undefined;
  }
  // The longest key first: `a.b/c` is one key when the mapping has it.
  for (let end = path.length; end > 0; end = lastBoundary(path, end)) {
    const entry = get(children, path.slice(0, end));
    if (entry !== undefined) return { entry, rest: withoutDot(path.slice(end)) };
  }
  return undefined;
}

function lastBoundary(path: string, end: number): number {
  return Math.max(path.lastIndexOf('.', end - 1), path.lastIndexOf('[', end - 1));
}

function get(
  children: NonNullable<PositionNode['children']>,
  key: string,
): PositionEntry | undefined {
  if ('get' in children) return children.get(key);
  return /^[0-9]{1,9}$/.test(key) ? children[Number(key)] : undefined;
}

function withoutDot(path: string): string {
  return path.startsWith('.') ? path.slice(1) : path;
}
