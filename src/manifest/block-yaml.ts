/**
 * Reads the plain block YAML that nearly all manifests are written in, many times faster than a
 * full parser: mappings, lists, one-line scalars, literal blocks and one-line flow collections. On
 * anything else, faults included, it gives up, and the full parser has the word. It must never read
 * a text in another way than the full parser does; `block-yaml.property.test.ts` compares them.
 */
import { MAX_DEPTH } from './depth.ts';
import { resolvePlainScalar } from './plain-scalar.ts';
import type { PositionEntry, PositionNode } from './positions.ts';

export interface BlockYamlResult {
  readonly value: unknown;
  /** First character of the value. */
  readonly start: number;
  readonly end: number;
  /**
   * For a mapping with a top-level `items` list: where each element starts and ends. Lets a List of
   * a hundred thousand objects be positioned one by one.
   */
  readonly items?: readonly { readonly start: number; readonly end: number }[];
}

/** Thrown and caught in this module only: the quickest way out of a recursive descent. */
const GIVE_UP = Symbol('give up');

interface Reader {
  readonly text: string;
  readonly limit: number;
  /** Start of the content that comes next, and its column; -1 at the end of the document. */
  at: number;
  column: number;
  /** End of the last content that was read. */
  contentEnd: number;
  readonly record: boolean;
  /** Position of the value read last, when recording. */
  node: PositionNode | undefined;
  /** Set while the value of the top-level key `items` is about to be read. */
  collecting: boolean;
  items: { start: number; end: number }[] | undefined;
}

/** Reads one document in `text` from `start` to `end`. Undefined: not in the subset. */
export function readBlockYaml(
  text: string,
  start: number,
  end: number,
): BlockYamlResult | undefined {
  return guarded(() => {
    const reader = open(text, start, end, false);
    if (reader === undefined) return undefined;
    const from = reader.at;
    const value = readBlock(reader, reader.column, 0);
    if (reader.at >= 0) return undefined;
    const { items } = reader;
    const result = { value, start: from, end: reader.contentEnd };
    return items === undefined ? result : { ...result, items };
  });
}

/** Whether a document holds nothing but space and comments. False also when that is hard to say. */
export function isEmptyYaml(text: string, start: number, end: number): boolean {
  return guarded(() => open(text, start, end, false) === undefined) ?? false;
}

/** Positions of a document, or of one list element, that {@link readBlockYaml} could read. */
export function locateBlockYaml(
  text: string,
  start: number,
  end: number,
): PositionNode | undefined {
  return guarded(() => {
    const reader = open(text, start, end, true);
    if (reader === undefined) return undefined;
    readBlock(reader, reader.column, 0);
    return reader.node;
  });
}

function open(text: string, start: number, end: number, record: boolean): Reader | undefined {
  const reader: Reader = {
    text,
    limit: end,
    at: start,
    column: 0,
    contentEnd: start,
    record,
    node: undefined,
    collecting: false,
    items: undefined,
  };
  if (text.startsWith('---', start)) {
    endOfLine(reader, start + 3);
  } else {
    // A list element starts in the middle of a line: its column counts from there.
    const lineStart = start === 0 ? 0 : text.lastIndexOf('\n', start - 1) + 1;
    if (lineStart === start) nextContent(reader, start);
    else reader.column = start - lineStart;
  }
  return reader.at < 0 ? undefined : reader;
}

function guarded<T>(read: () => T): T | undefined {
  try {
    return read();
  } catch (error) {
    if (error === GIVE_UP) return undefined;
    throw error;
  }
}

function giveUp(): never {
  throw GIVE_UP;
}

/** Moves to the first content at or after a line's start, past blank and comment lines. */
function nextContent(reader: Reader, lineStart: number): void {
  const { text, limit } = reader;
  let line = lineStart;
  while (line < limit) {
    let i = line;
    while (i < limit && text.charCodeAt(i) === 32) i++;
    const code = i < limit ? text.charCodeAt(i) : 10;
    if (code === 35 /* # */) {
      const next = text.indexOf('\n', i);
      line = next < 0 || next >= limit ? limit : next + 1;
    } else if (code === 10) {
      line = i + 1;
    } else if (code === 13) {
      if (text.charCodeAt(i + 1) !== 10) giveUp();
      line = i + 2;
    } else {
      if (
        i === line &&
        (code === 37 /* % */ || text.startsWith('...', i) || text.startsWith('---', i))
      )
        giveUp();
      reader.at = i;
      reader.column = i - line;
      return;
    }
  }
  reader.at = -1;
  reader.column = -1;
}

/** Demands that nothing but a comment follows on the line, then moves to the next content. */
function endOfLine(reader: Reader, from: number): void {
  const { text, limit } = reader;
  let i = from;
  while (i < limit && text.charCodeAt(i) === 32) i++;
  if (i >= limit) {
    nextContent(reader, limit);
    return;
  }
  const code = text.charCodeAt(i);
  if (code === 10) nextContent(reader, i + 1);
  else if (code === 13 && text.charCodeAt(i + 1) === 10) nextContent(reader, i + 2);
  else if (code === 35 && i > from) {
    const next = text.indexOf('\n', i);
    nextContent(reader, next < 0 ? limit : next + 1);
  } else giveUp();
}

/** True when only spaces and perhaps a comment follow on the line. */
function atLineEnd(reader: Reader, from: number): boolean {
  const { text, limit } = reader;
  let i = from;
  while (i < limit && text.charCodeAt(i) === 32) i++;
  if (i >= limit) return true;
  const code = text.charCodeAt(i);
  return code === 10 || (code === 13 && text.charCodeAt(i + 1) === 10) || (code === 35 && i > from);
}

/** Reads the mapping, list or scalar that starts at the current content. */
function readBlock(reader: Reader, column: number, depth: number): unknown {
  if (depth > MAX_DEPTH) giveUp();
  if (isDash(reader, reader.at)) return readList(reader, column, depth);
  const keyEnd = endOfKey(reader, reader.at);
  if (keyEnd >= 0) return readMapping(reader, column, depth, keyEnd);
  if (depth === 0) giveUp();
  return readScalar(reader, column - 1, depth);
}

function isDash(reader: Reader, at: number): boolean {
  if (at < 0 || reader.text.charCodeAt(at) !== 45 /* - */) return false;
  const code = at + 1 < reader.limit ? reader.text.charCodeAt(at + 1) : 10;
  return code === 32 || code === 10 || code === 13;
}

function readList(reader: Reader, column: number, depth: number): unknown[] {
  const list: unknown[] = [];
  const start = reader.at;
  const entries: PositionEntry[] | undefined = reader.record ? [] : undefined;
  const items: { start: number; end: number }[] | undefined =
    reader.collecting && depth === 1 && !reader.record ? [] : undefined;
  if (items !== undefined) reader.items = items;
  reader.collecting = false;
  while (reader.column === column && isDash(reader, reader.at)) {
    const dash = reader.at;
    reader.contentEnd = dash + 1;
    if (atLineEnd(reader, dash + 1)) {
      endOfLine(reader, dash + 1);
      if (reader.column > column) {
        const from = reader.at;
        list.push(readBlock(reader, reader.column, depth + 1));
        items?.push({ start: from, end: reader.contentEnd });
      } else {
        list.push(null);
        if (reader.record) reader.node = { start: dash, end: dash + 1 };
        items?.push({ start: dash, end: dash + 1 });
      }
    } else {
      let i = dash + 1;
      while (reader.text.charCodeAt(i) === 32) i++;
      reader.at = i;
      reader.column = column + (i - dash);
      list.push(readBlock(reader, reader.column, depth + 1));
      items?.push({ start: i, end: reader.contentEnd });
    }
    if (entries !== undefined) entries.push({ value: reader.node as PositionNode });
  }
  // Content that is deeper than this list but belongs to nothing in it is a fault.
  if (reader.column > column) giveUp();
  if (entries !== undefined) reader.node = { start, end: reader.contentEnd, children: entries };
  return list;
}

function readMapping(
  reader: Reader,
  column: number,
  depth: number,
  firstKeyEnd: number,
): Record<string, unknown> {
  const object: Record<string, unknown> = {};
  const start = reader.at;
  const children: Map<string, PositionEntry> | undefined = reader.record ? new Map() : undefined;
  let keyEnd = firstKeyEnd;
  for (;;) {
    const keyStart = reader.at;
    const key = keyText(reader, keyStart, keyEnd);
    // A repeated key is a fault, and an inherited one (`__proto__`) needs care: both are rare.
    if (key in object) giveUp();
    reader.contentEnd = keyEnd + 1;
    reader.collecting = depth === 0 && key === 'items';
    object[key] = readMappingValue(reader, column, depth, keyEnd + 1);
    if (children !== undefined)
      children.set(key, {
        key: { start: keyStart, end: keyEnd },
        value: reader.node as PositionNode,
      });
    if (reader.column !== column) {
      if (reader.column > column) giveUp();
      break;
    }
    if (isDash(reader, reader.at)) {
      // A list of the mapping's own column belongs to a mapping further out, or to nobody.
      if (depth === 0) giveUp();
      break;
    }
    keyEnd = endOfKey(reader, reader.at);
    if (keyEnd < 0) giveUp();
  }
  if (children !== undefined) reader.node = { start, end: reader.contentEnd, children };
  return object;
}

/** Reads what follows the colon of a key; `after` is the offset behind the colon. */
function readMappingValue(reader: Reader, column: number, depth: number, after: number): unknown {
  if (atLineEnd(reader, after)) {
    endOfLine(reader, after);
    if (reader.column > column) return readBlock(reader, reader.column, depth + 1);
    // A list may stand at its key's own column.
    if (reader.column === column && isDash(reader, reader.at))
      return readList(reader, column, depth + 1);
    if (reader.record) reader.node = { start: after, end: after };
    return null;
  }
  let i = after;
  while (reader.text.charCodeAt(i) === 32) i++;
  reader.at = i;
  return readScalar(reader, column, depth + 1);
}

/** Offset of the colon that ends a key which starts at `at`, or -1 when there is no simple key. */
function endOfKey(reader: Reader, at: number): number {
  const { text, limit } = reader;
  const first = text.charCodeAt(at);
  let i = at;
  if (first === 34 || first === 39) {
    const close = text.indexOf(first === 34 ? '"' : "'", at + 1);
    if (close < 0 || close >= limit || close - at > 1000) return -1;
    for (let j = at + 1; j < close; j++) {
      const code = text.charCodeAt(j);
      if (code === 92 || code < 32) return -1;
    }
    i = close + 1;
  } else {
    while (i < limit && isKeyCharacter(text.charCodeAt(i))) i++;
    if (i === at || i - at > 1000) return -1;
  }
  if (text.charCodeAt(i) !== 58 /* : */) return -1;
  const next = i + 1 < limit ? text.charCodeAt(i + 1) : 10;
  return next === 32 || next === 10 || next === 13 ? i : -1;
}

/** Letters, digits, `_`, `-`, `.`, `/`: what keys of Kubernetes objects are made of. */
function isKeyCharacter(code: number): boolean {
  return (
    (code >= 97 && code <= 122) ||
    (code >= 65 && code <= 90) ||
    (code >= 45 && code <= 57) ||
    code === 95
  );
}

function keyText(reader: Reader, start: number, end: number): string {
  const { text } = reader;
  const first = text.charCodeAt(start);
  if (first === 34 || first === 39) return text.slice(start + 1, end - 1);
  const key = text.slice(start, end);
  // `yes:` or `8080:` are not string keys in YAML; how they become JSON keys is the full parser's business.
  if (typeof resolvePlainScalar(key) !== 'string') giveUp();
  return key;
}

/** Reads a scalar or a flow collection. `parent` is the column that continuation lines must pass. */
function readScalar(reader: Reader, parent: number, depth: number): unknown {
  const { text } = reader;
  const start = reader.at;
  const code = text.charCodeAt(start);
  let value: unknown;
  if (code === 124 /* | */) {
    value = readLiteral(reader, parent);
    if (reader.record) reader.node = { start, end: reader.contentEnd };
    return value;
  }
  if (code === 91 || code === 123) {
    const flow = { at: start, node: undefined as PositionNode | undefined };
    value = readFlow(reader, flow, depth);
    reader.contentEnd = flow.at;
    endOfLine(reader, flow.at);
    if (reader.record) reader.node = flow.node;
  } else if (code === 34 || code === 39) {
    const end = endOfQuoted(reader, start);
    value = unquote(text, start, end);
    reader.contentEnd = end;
    endOfLine(reader, end);
    if (reader.record) reader.node = { start, end };
  } else {
    const end = endOfPlain(reader, start);
    value = resolvePlainScalar(text.slice(start, end));
    reader.contentEnd = end;
    endOfLine(reader, end);
    if (reader.record) reader.node = { start, end };
  }
  // A deeper line continues the scalar or is a fault.
  if (reader.column > parent) giveUp();
  return value;
}

/** End of a one-line plain scalar, without trailing spaces. */
function endOfPlain(reader: Reader, start: number): number {
  const { text, limit } = reader;
  if (!mayStartPlain(text, start)) giveUp();
  let end = start;
  for (let i = start; i < limit; i++) {
    const code = text.charCodeAt(i);
    if (code === 10) break;
    if (code === 13 && text.charCodeAt(i + 1) === 10) break;
    if (code < 32) giveUp();
    if (code === 32) continue;
    if (code === 35 && text.charCodeAt(i - 1) === 32) break;
    if (code === 58) {
      const next = i + 1 < limit ? text.charCodeAt(i + 1) : 10;
      if (next === 32 || next < 32) giveUp();
    }
    end = i + 1;
  }
  return end;
}

function mayStartPlain(text: string, at: number): boolean {
  const code = text.charCodeAt(at);
  switch (code) {
    case 45: // -
    case 63: // ?
    case 58: {
      // :
      const next = text.charCodeAt(at + 1);
      return next > 32;
    }
    case 33: // !
    case 35: // #
    case 37: // %
    case 38: // &
    case 42: // *
    case 44: // ,
    case 62: // >
    case 64: // @
    case 93: // ]
    case 96: // `
    case 125: // }
      return false;
    default:
      return code > 32;
  }
}

/** End of a quoted scalar on one line, behind the closing quote. */
function endOfQuoted(reader: Reader, start: number): number {
  const { text, limit } = reader;
  const quote = text.charCodeAt(start);
  for (let i = start + 1; i < limit; i++) {
    const code = text.charCodeAt(i);
    if (code < 32) giveUp();
    if (quote === 34 && code === 92) {
      // Only escapes that JSON has too, and which JSON.parse will read below.
      const next = text[i + 1] ?? '';
      if (!'"\\/bfnrtu'.includes(next)) giveUp();
      i++;
    } else if (code === quote) {
      if (quote === 39 && text.charCodeAt(i + 1) === 39) i++;
      else return i + 1;
    }
  }
  return giveUp();
}

function unquote(text: string, start: number, end: number): string {
  const inner = text.slice(start + 1, end - 1);
  if (text.charCodeAt(start) === 39)
    return inner.includes("''") ? inner.replaceAll("''", "'") : inner;
  if (!inner.includes('\\')) return inner;
  try {
    return String(JSON.parse(text.slice(start, end)));
  } catch {
    return giveUp();
  }
}

/** Reads `[…]` or `{…}` on one line: plain words and quoted strings only. */
function readFlow(
  reader: Reader,
  flow: { at: number; node: PositionNode | undefined },
  depth: number,
): unknown {
  if (depth > MAX_DEPTH) giveUp();
  const { text, limit, record } = reader;
  const start = flow.at;
  const space = (): void => {
    while (flow.at < limit && text.charCodeAt(flow.at) === 32) flow.at++;
  };
  const code = text.charCodeAt(start);
  if (code === 34 || code === 39) {
    flow.at = endOfQuoted(reader, start);
    if (record) flow.node = { start, end: flow.at };
    return unquote(text, start, flow.at);
  }
  if (code !== 91 && code !== 123) {
    while (flow.at < limit && isFlowWordCharacter(text.charCodeAt(flow.at))) flow.at++;
    if (flow.at === start || !mayStartPlain(text, start)) giveUp();
    // A word must end where the item ends; `- ` and the like never get here as a space ends the word.
    if (text.charCodeAt(start) === 45 && flow.at === start + 1) giveUp();
    if (record) flow.node = { start, end: flow.at };
    return resolvePlainScalar(text.slice(start, flow.at));
  }
  const list: unknown[] | undefined = code === 91 ? [] : undefined;
  const object: Record<string, unknown> = {};
  const entries: PositionEntry[] = [];
  const children = new Map<string, PositionEntry>();
  const close = code === 91 ? 93 : 125;
  flow.at++;
  space();
  while (text.charCodeAt(flow.at) !== close) {
    if (flow.at >= limit) giveUp();
    if (list !== undefined) {
      list.push(readFlow(reader, flow, depth + 1));
      if (record) entries.push({ value: flow.node as PositionNode });
    } else {
      const keyStart = flow.at;
      const keyCode = text.charCodeAt(keyStart);
      if (keyCode === 91 || keyCode === 123) giveUp();
      const key = readFlow(reader, flow, depth + 1);
      if (typeof key !== 'string' || key in object) giveUp();
      const keyEnd = flow.at;
      if (text.charCodeAt(flow.at) !== 58 || text.charCodeAt(flow.at + 1) !== 32) giveUp();
      flow.at++;
      space();
      object[key] = readFlow(reader, flow, depth + 1);
      if (record)
        children.set(key, {
          key: { start: keyStart, end: keyEnd },
          value: flow.node as PositionNode,
        });
    }
    space();
    if (text.charCodeAt(flow.at) === 44) {
      flow.at++;
      space();
    } else if (text.charCodeAt(flow.at) !== close) giveUp();
  }
  flow.at++;
  if (record)
    flow.node = { start, end: flow.at, children: list === undefined ? children : entries };
  return list ?? object;
}

/** As {@link isKeyCharacter}: no `:`, so that a key's colon ends the word, and no space. */
function isFlowWordCharacter(code: number): boolean {
  return isKeyCharacter(code);
}

/** Reads `|`, `|-` or `|+`. */
function readLiteral(reader: Reader, parent: number): string {
  const { text, limit } = reader;
  let i = reader.at + 1;
  let chomp = '';
  const mark = text[i];
  if (mark === '-' || mark === '+') {
    chomp = mark;
    i++;
  }
  if (!atLineEnd(reader, i)) giveUp();
  let line = text.indexOf('\n', i) + 1;
  if (line === 0 || line >= limit) giveUp();

  let indent = -1;
  let blank = 0;
  const parts: string[] = [];
  while (line < limit) {
    const newline = text.indexOf('\n', line);
    // Without a last line break the value depends on subtleties.
    if (newline < 0 || newline >= limit) giveUp();
    let content = line;
    while (text.charCodeAt(content) === 32) content++;
    const code = text.charCodeAt(content);
    if (code === 13) giveUp();
    if (code === 10) {
      // Spaces past the indentation would be content, or a fault before the first line.
      if (content - line > (indent < 0 ? 0 : indent)) giveUp();
      blank++;
    } else {
      const column = content - line;
      if (indent < 0) {
        if (column <= parent || code === 9) giveUp();
        indent = column;
      } else if (column < indent) {
        if (column > parent) giveUp();
        break;
      }
      for (; blank > 0; blank--) parts.push('');
      if (text.charCodeAt(newline - 1) === 13) giveUp();
      parts.push(text.slice(line + indent, newline));
      // Ranges end at the last character that is seen, as those of the full parser do.
      let seen = newline;
      while (text.charCodeAt(seen - 1) === 32) seen--;
      reader.contentEnd = seen;
    }
    line = newline + 1;
  }
  if (indent < 0) giveUp();
  nextContent(reader, line);
  if (reader.column > parent) giveUp();
  const body = parts.join('\n');
  if (chomp === '-') return body;
  return chomp === '+' ? `${body}\n${'\n'.repeat(blank)}` : `${body}\n`;
}
