/**
 * Reads any YAML with the `yaml` package, collects every fault with its place, and turns the result
 * into plain JSON values within bounds on depth and on what aliases may expand to. Must not know of
 * Kubernetes objects.
 */
import { MAX_DEPTH } from './depth.ts';
import { Composer, isAlias, isCollection, isMap, isScalar, isSeq, Lexer, Parser } from 'yaml';
import type { Document, Node, Pair, YAMLMap } from 'yaml';
import { resolvePlainScalar } from './plain-scalar.ts';
import type { PositionEntry, PositionNode } from './positions.ts';

export interface YamlFault {
  readonly code: string;
  readonly severity: 'error' | 'warning';
  readonly message: string;
  readonly hint?: string;
  readonly start: number;
  readonly end: number;
}

export interface YamlDocument {
  /** Undefined when the document has syntax faults or is empty. */
  readonly value: unknown;
  readonly empty: boolean;
  readonly positions: PositionNode;
  readonly faults: readonly YamlFault[];
}

/** Values that aliases may add to one document. A generous page of anchors needs some hundreds. */
const MAX_ALIAS_VALUES = 100_000;

const MAX_FAULTS = 50;

/**
 * Reads all documents of `text`. Offsets in the result count from `base`. Never throws.
 */
export function readFullYaml(text: string, base: number): YamlDocument[] {
  const documents: YamlDocument[] = [];
  const parser = new Parser();
  let deepAt = -1;
  let errors = 0;
  const tokens = function* (): Generator<
    ReturnType<Parser['next']> extends Generator<infer T> ? T : never
  > {
    for (const lexeme of new Lexer().lex(text)) {
      // The composer recurses, so depth is bounded before it sees the tokens.
      if (parser.stack.length > MAX_DEPTH + 2) {
        deepAt = parser.offset;
        return;
      }
      for (const token of parser.next(lexeme)) {
        // Past so many faults the rest is not worth the time; the document is refused anyway.
        if (token.type === 'error' && ++errors > MAX_FAULTS) return;
        yield token;
      }
    }
    yield* parser.end();
  };
  // `failsafe` leaves every scalar a string: what plain ones mean is resolvePlainScalar's business.
  // Unique keys are checked below, because the package compares each key with every other.
  const composer = new Composer({
    version: '1.1',
    schema: 'failsafe',
    uniqueKeys: false,
    logLevel: 'silent',
  });
  try {
    for (const document of composer.compose(tokens(), false, text.length))
      if (deepAt < 0) documents.push(convert(document, text, base));
  } catch (error) {
    if (deepAt < 0)
      documents.push(
        broken(base, base, {
          code: error instanceof RangeError ? 'too-deep' : 'yaml-syntax',
          message:
            error instanceof RangeError
              ? 'the document is nested too deeply'
              : `this YAML cannot be read: ${error instanceof Error ? error.message : String(error)}`,
        }),
      );
  }
  if (deepAt >= 0)
    documents.push(
      broken(base + deepAt, base + deepAt, {
        code: 'too-deep',
        message: `the document is nested more than ${MAX_DEPTH} levels deep`,
      }),
    );
  return documents;
}

function broken(
  start: number,
  end: number,
  fault: { code: string; message: string; hint?: string },
): YamlDocument {
  return {
    value: undefined,
    empty: false,
    positions: { start, end },
    faults: [{ severity: 'error', start, end, ...fault }],
  };
}

interface Conversion {
  readonly text: string;
  readonly base: number;
  readonly faults: YamlFault[];
  readonly anchors: Map<string, Node>;
  /** Nodes being converted: an alias to one of them would never end. */
  readonly open: Set<Node>;
  aliasDepth: number;
  aliasValues: number;
  stopped: boolean;
}

function convert(document: Document.Parsed, text: string, base: number): YamlDocument {
  const conversion: Conversion = {
    text,
    base,
    faults: [],
    anchors: new Map(),
    open: new Set(),
    aliasDepth: 0,
    aliasValues: 0,
    stopped: false,
  };
  for (const error of document.errors.slice(0, MAX_FAULTS)) {
    const [start, end] = error.pos;
    conversion.faults.push({
      ...explain(error.code, oneLine(error.message)),
      severity: 'error',
      start: base + start,
      end: base + end,
    });
  }
  for (const warning of document.warnings.slice(0, MAX_FAULTS)) {
    if (warning.message.includes('tag:yaml.org,2002:')) continue;
    conversion.faults.push({
      code: 'yaml-warning',
      severity: 'warning',
      message: oneLine(warning.message),
      start: base + warning.pos[0],
      end: base + warning.pos[1],
    });
  }
  const [start, end] = document.range;
  const contents: Node | null = document.contents;
  // The package makes an empty scalar of an empty document.
  const empty =
    contents === null ||
    (isScalar(contents) && contents.source === '' && contents.type === 'PLAIN');
  const whole = { start: base + start, end: base + end };
  if (document.errors.length > 0)
    return { value: undefined, empty: false, positions: whole, faults: conversion.faults };
  if (empty) return { value: undefined, empty: true, positions: whole, faults: conversion.faults };
  const { value, positions } = convertNode(conversion, contents, 0);
  return {
    value: conversion.stopped ? undefined : value,
    empty: false,
    positions,
    faults: conversion.faults,
  };
}

interface Converted {
  readonly value: unknown;
  readonly positions: PositionNode;
}

function convertNode(conversion: Conversion, node: Node | null, depth: number): Converted {
  const [start, end] = spanOf(conversion, node);
  const nothing: Converted = { value: null, positions: { start, end } };
  if (node === null || conversion.stopped) return nothing;
  if (conversion.aliasDepth > 0 && ++conversion.aliasValues > MAX_ALIAS_VALUES) {
    stop(conversion, start, end, `aliases expand to more than ${MAX_ALIAS_VALUES} values`);
    return nothing;
  }
  if (depth > MAX_DEPTH) {
    addFault(
      conversion,
      start,
      end,
      'too-deep',
      `the document is nested more than ${MAX_DEPTH} levels deep`,
    );
    conversion.stopped = true;
    return nothing;
  }
  if (isAlias(node)) {
    const target = conversion.anchors.get(node.source);
    if (target === undefined) {
      addFault(
        conversion,
        start,
        end,
        'yaml-syntax',
        `the alias *${node.source} has no anchor before it`,
      );
      return nothing;
    }
    if (conversion.open.has(target)) {
      stop(conversion, start, end, `the alias *${node.source} stands inside its own anchor`);
      return nothing;
    }
    conversion.aliasDepth++;
    const { value } = convertNode(conversion, target, depth);
    conversion.aliasDepth--;
    return { value, positions: { start, end } };
  }
  // While an alias is expanded its anchors are old news; later ones of the same name must stay.
  if (node.anchor !== undefined && conversion.aliasDepth === 0)
    conversion.anchors.set(node.anchor, node);
  if (isScalar(node))
    return {
      value: scalarValue(node),
      positions: { start, end: endOfText(conversion, start, end) },
    };
  conversion.open.add(node);
  const converted = isMap(node)
    ? convertMapping(conversion, node, depth, start, end)
    : isSeq(node)
      ? convertList(
          conversion,
          node.items as (Node | Pair<Node, Node | null> | null)[],
          depth,
          start,
          end,
        )
      : nothing;
  conversion.open.delete(node);
  return isCollection(node) && node.flow !== true ? withoutTail(converted) : converted;
}

/** The package counts the line break after a block scalar as part of it. */
function endOfText(conversion: Conversion, start: number, end: number): number {
  const { text, base } = conversion;
  let last = end;
  while (last > start && ' \r\n'.includes(text[last - base - 1] ?? '')) last--;
  return last;
}

/** The package counts the comments after a block mapping or list as part of it: end at the last entry. */
function withoutTail({ value, positions }: Converted): Converted {
  const { start, children } = positions;
  if (children === undefined) return { value, positions };
  const last = 'get' in children ? [...children.values()].at(-1) : children.at(-1);
  const end = last === undefined ? positions.end : Math.max(last.value.end, last.key?.end ?? start);
  return { value, positions: { start, end, children } };
}

function spanOf(conversion: Conversion, node: Node | null): [number, number] {
  const range = node?.range;
  if (range === undefined || range === null) return [conversion.base, conversion.base];
  return [conversion.base + range[0], conversion.base + range[1]];
}

function scalarValue(node: {
  value: unknown;
  source?: string;
  type?: string;
  tag?: string;
}): unknown {
  const source = node.source ?? (typeof node.value === 'string' ? node.value : '');
  const tag = node.tag ?? '';
  if (tag.startsWith('tag:yaml.org,2002:')) {
    const name = tag.slice('tag:yaml.org,2002:'.length);
    return name === 'int' || name === 'float' || name === 'bool' || name === 'null'
      ? resolvePlainScalar(source)
      : source;
  }
  return node.type === 'PLAIN' && tag === '' ? resolvePlainScalar(source) : source;
}

function convertList(
  conversion: Conversion,
  items: readonly (Node | Pair<Node, Node | null> | null)[],
  depth: number,
  start: number,
  end: number,
): Converted {
  const list: unknown[] = [];
  const entries: PositionEntry[] = [];
  for (const item of items) {
    if (conversion.stopped) break;
    // In a flow list `[a: b]` is a mapping of one entry, which the package keeps as a pair.
    const converted =
      item !== null && 'key' in item && 'value' in item && !('range' in item)
        ? convertPairs(conversion, [item], depth + 1, start, end)
        : convertNode(conversion, item as Node | null, depth + 1);
    list.push(converted.value);
    entries.push({ value: converted.positions });
  }
  return { value: list, positions: { start, end, children: entries } };
}

function convertMapping(
  conversion: Conversion,
  map: YAMLMap,
  depth: number,
  start: number,
  end: number,
): Converted {
  return convertPairs(conversion, map.items as Pair<Node, Node | null>[], depth, start, end);
}

function convertPairs(
  conversion: Conversion,
  pairs: readonly Pair<Node, Node | null>[],
  depth: number,
  start: number,
  end: number,
): Converted {
  const object: Record<string, unknown> = {};
  const children = new Map<string, PositionEntry>();
  const merges: { value: unknown; entry: PositionEntry }[] = [];
  for (const pair of pairs) {
    if (conversion.stopped) break;
    const key = convertNode(conversion, pair.key, depth + 1);
    const { start: keyStart, end: keyEnd } = key.positions;
    if (key.value === null || typeof key.value === 'object') {
      addFault(
        conversion,
        keyStart,
        keyEnd,
        'yaml-syntax',
        key.value === null
          ? 'a key must not be null'
          : 'a key must be a string, not a mapping or list',
      );
      continue;
    }
    const converted = convertNode(conversion, pair.value ?? null, depth + 1);
    // Numbers and booleans become the text that JSON has for them.
    // oxlint-disable-next-line typescript/no-unnecessary-type-assertion -- no object, which String would not name
    const name = String(key.value as string | number | bigint | boolean);
    const entry: PositionEntry = {
      key: { start: keyStart, end: keyEnd },
      value:
        pair.value === null || pair.value === undefined
          ? { start: keyEnd, end: keyEnd }
          : converted.positions,
    };
    if (name === '<<' && isScalar(pair.key) && pair.key.type === 'PLAIN') {
      merges.push({ value: converted.value, entry });
      continue;
    }
    if (children.has(name)) {
      addFault(
        conversion,
        keyStart,
        keyEnd,
        'duplicate-key',
        `the key ${JSON.stringify(name)} occurs twice in one mapping`,
        'keep one of the two; the last one would win',
      );
    }
    setOwn(object, name, converted.value);
    children.set(name, entry);
  }
  for (const { value, entry } of merges) {
    const sources: unknown[] = Array.isArray(value) ? value : [value];
    for (const source of sources) {
      if (typeof source !== 'object' || source === null || Array.isArray(source)) {
        addFault(
          conversion,
          entry.key?.start ?? start,
          entry.value.end,
          'yaml-syntax',
          'a merge key (<<) needs a mapping or a list of mappings',
        );
        continue;
      }
      for (const [name, merged] of Object.entries(source)) {
        if (Object.hasOwn(object, name)) continue;
        setOwn(object, name, merged);
        children.set(name, entry);
      }
    }
  }
  return { value: object, positions: { start, end, children } };
}

/** As JSON.parse does: `__proto__` becomes an own key and changes no prototype. */
function setOwn(object: Record<string, unknown>, key: string, value: unknown): void {
  if (key === '__proto__')
    Object.defineProperty(object, key, {
      value,
      enumerable: true,
      configurable: true,
      writable: true,
    });
  else object[key] = value;
}

function stop(conversion: Conversion, start: number, end: number, message: string): void {
  addFault(
    conversion,
    start,
    end,
    'alias-bomb',
    message,
    'write the values out, or use fewer aliases',
  );
  conversion.stopped = true;
}

function addFault(
  conversion: Conversion,
  start: number,
  end: number,
  code: string,
  message: string,
  hint?: string,
): void {
  if (conversion.faults.length >= MAX_FAULTS) return;
  conversion.faults.push({
    code,
    severity: 'error',
    message,
    start,
    end,
    ...(hint === undefined ? {} : { hint }),
  });
}

/** The package quotes the text at fault, line breaks and all. */
function oneLine(message: string): string {
  return message.replaceAll(/\s+/g, ' ').trim();
}

function explain(code: string, message: string): { code: string; message: string; hint?: string } {
  switch (code) {
    case 'TAB_AS_INDENT':
      return {
        code: 'tab-indentation',
        message: 'a tab is used for indentation, which YAML forbids',
        hint: 'indent with spaces',
      };
    case 'BAD_INDENT':
    case 'BLOCK_AS_IMPLICIT_KEY':
      return {
        code: 'yaml-syntax',
        message,
        hint: 'check the indentation of this line and of the one before',
      };
    case 'MISSING_CHAR':
    case 'BAD_DQ_ESCAPE':
    case 'BAD_SCALAR_START':
      return { code: 'yaml-syntax', message, hint: 'quote the text, or close what was opened' };
    default:
      return { code: 'yaml-syntax', message };
  }
}
