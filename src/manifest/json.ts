/**
 * Reads JSON text: one value or several in a row, with exact places of faults and of values. The
 * values come from JSON.parse; this scanner only walks the text, and only when asked. Must not know
 * of Kubernetes objects.
 */
import type { PositionEntry, PositionNode } from './positions.ts';

export interface JsonFault {
  readonly message: string;
  readonly offset: number;
}

const SPACE = /[ \t\r\n]*/y;
// eslint-disable-next-line no-control-regex -- JSON forbids exactly these inside strings
const STRING = /"(?:[^"\\\u0000-\u001f]|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}))*"/y;
const NUMBER = /-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?/y;
const WORD = /true|false|null/y;

function skip(pattern: RegExp, text: string, at: number): number {
  pattern.lastIndex = at;
  return pattern.test(text) ? pattern.lastIndex : -1;
}

export function skipJsonSpace(text: string, at: number): number {
  return skip(SPACE, text, at);
}

/** End of a string literal that starts at `at`, or -1. Not one regular expression: those overflow on long literals. */
function endOfString(text: string, at: number): number {
  if (text[at] !== '"') return -1;
  let i = at + 1;
  for (;;) {
    const quote = text.indexOf('"', i);
    if (quote < 0) return -1;
    let backslashes = 0;
    while (text[quote - 1 - backslashes] === '\\') backslashes++;
    if (backslashes % 2 === 0) {
      // Short literals, nearly all there are, are checked exactly; JSON.parse has the last word on long ones.
      if (quote - at < 4096) return skip(STRING, text, at) === quote + 1 ? quote + 1 : -1;
      return quote + 1;
    }
    i = quote + 1;
  }
}

/**
 * End of the value that starts at `at` in text known to be well formed: brackets are counted, nothing
 * is checked.
 */
export function endOfJsonValue(text: string, at: number): number {
  const first = text[at];
  if (first === '"') return endOfString(text, at);
  if (first !== '{' && first !== '[')
    return Math.max(skip(NUMBER, text, at), skip(WORD, text, at), at);
  let depth = 0;
  for (let i = at; i < text.length; i++) {
    switch (text.charCodeAt(i)) {
      case 0x22: {
        i = closingQuote(text, i);
        if (i < 0) return text.length;
        break;
      }
      case 0x7b:
      case 0x5b:
        depth++;
        break;
      case 0x7d:
      case 0x5d:
        depth--;
        if (depth === 0) return i + 1;
        break;
    }
  }
  return text.length;
}

function closingQuote(text: string, at: number): number {
  for (let i = at + 1; i < text.length; i++) {
    const code = text.charCodeAt(i);
    if (code === 0x5c) i++;
    else if (code === 0x22) return i;
  }
  return -1;
}

/** Number of colons outside strings: the number of key–value pairs as written, repeated keys included. */
export function countJsonPairs(text: string, start: number, end: number): number {
  let count = 0;
  for (let i = start; i < end; i++) {
    const code = text.charCodeAt(i);
    if (code === 0x3a) count++;
    else if (code === 0x22) {
      i = closingQuote(text, i);
      if (i < 0) return count;
    }
  }
  return count;
}

/** Start offsets of the elements of the list at `path` below the object at `at`, for well-formed text. */
export function jsonElements(text: string, at: number): number[] {
  const starts: number[] = [];
  let i = skipJsonSpace(text, at + 1);
  while (i < text.length && text[i] !== ']') {
    starts.push(i);
    i = skipJsonSpace(text, endOfJsonValue(text, i));
    if (text[i] !== ',') break;
    i = skipJsonSpace(text, i + 1);
  }
  return starts;
}

/** Offset of the value of the last `key` directly inside the object at `at`, or -1. */
export function jsonMember(text: string, at: number, key: string): number {
  let found = -1;
  let i = skipJsonSpace(text, at + 1);
  while (text[i] === '"') {
    const keyEnd = closingQuote(text, i) + 1;
    const value = skipJsonSpace(text, skipJsonSpace(text, keyEnd) + 1);
    if (unquote(text.slice(i, keyEnd)) === key) found = value;
    i = skipJsonSpace(text, endOfJsonValue(text, value));
    if (text[i] !== ',') break;
    i = skipJsonSpace(text, i + 1);
  }
  return found;
}

function unquote(literal: string): string {
  try {
    return String(JSON.parse(literal));
  } catch {
    return literal.slice(1, -1);
  }
}

export interface JsonScan {
  readonly root?: PositionNode;
  /** Offset after the value. */
  readonly end: number;
  /** The first syntax fault; the scan ends there. */
  readonly fault?: JsonFault;
  readonly duplicates: readonly {
    readonly key: string;
    readonly offset: number;
    readonly first: number;
  }[];
}

/** Walks one JSON value exactly, without recursion, and notes where everything stands. */
export function scanJson(text: string, at: number): JsonScan {
  interface Frame {
    readonly start: number;
    readonly map?: Map<string, PositionEntry>;
    readonly list?: PositionEntry[];
    key?: { start: number; end: number; name: string };
  }
  const stack: Frame[] = [];
  const duplicates: { key: string; offset: number; first: number }[] = [];
  let i = skipJsonSpace(text, at);
  const failed = (message: string, offset: number): JsonScan => ({
    end: offset,
    duplicates,
    fault: { message, offset },
  });

  const readKey = (frame: Frame): string | undefined => {
    const end = endOfString(text, i);
    if (end < 0) return text[i] === '"' ? 'a broken string' : 'expected a key in double quotes';
    const name = unquote(text.slice(i, end));
    const earlier = frame.map?.get(name);
    if (earlier?.key !== undefined)
      duplicates.push({ key: name, offset: i, first: earlier.key.start });
    frame.key = { start: i, end, name };
    i = skipJsonSpace(text, end);
    if (text[i] !== ':') return 'expected a colon after the key';
    i = skipJsonSpace(text, i + 1);
    return undefined;
  };

  for (;;) {
    const start = i;
    let value: PositionNode | undefined;
    const first = text[i];
    if (first === '{' || first === '[') {
      i = skipJsonSpace(text, i + 1);
      if (text[i] === (first === '{' ? '}' : ']')) {
        i++;
        value = { start, end: i, children: first === '{' ? new Map() : [] };
      } else {
        const frame: Frame = first === '{' ? { start, map: new Map() } : { start, list: [] };
        stack.push(frame);
        if (frame.map !== undefined) {
          const fault = readKey(frame);
          if (fault !== undefined) return failed(fault, i);
        }
        continue;
      }
    } else {
      const end =
        first === '"' ? endOfString(text, i) : Math.max(skip(NUMBER, text, i), skip(WORD, text, i));
      if (end < 0) {
        if (i >= text.length) return failed('the text ends in the middle of a value', i);
        return failed(first === '"' ? 'a broken string' : 'expected a value', i);
      }
      value = { start, end };
      i = end;
    }
    // The value is complete: give it to its parent, which may be complete then, and so on.
    for (;;) {
      const frame = stack.at(-1);
      if (frame === undefined) return { root: value, end: i, duplicates };
      if (frame.map !== undefined && frame.key !== undefined)
        frame.map.set(frame.key.name, {
          key: { start: frame.key.start, end: frame.key.end },
          value,
        });
      else frame.list?.push({ value });
      i = skipJsonSpace(text, i);
      const close = frame.map === undefined ? ']' : '}';
      if (text[i] === ',') {
        i = skipJsonSpace(text, i + 1);
        if (frame.map !== undefined) {
          const fault = readKey(frame);
          if (fault !== undefined) return failed(fault, i);
        }
        break;
      }
      if (text[i] !== close) {
        return failed(
          i >= text.length
            ? 'the text ends in the middle of a value'
            : `expected "," or "${close}"`,
          i,
        );
      }
      i++;
      stack.pop();
      value = { start: frame.start, end: i, children: frame.map ?? frame.list ?? [] };
    }
  }
}
