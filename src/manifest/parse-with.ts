/**
 * Manifests in YAML or JSON to Kubernetes objects that know where each of their fields stands. Faults
 * are collected, never thrown. Must not know of file systems, of any kind's fields, or of the full
 * YAML parser: that one is given, for loading it takes longer than reading most manifests.
 */
import type { Diagnostic, Severity, SourceRange } from '../k8s/diagnostic.ts';
import type { KubeObject } from '../k8s/types.ts';
import { isEmptyYaml, locateBlockYaml, readBlockYaml } from './block-yaml.ts';
import { decodeText } from './decode.ts';
import { MAX_DEPTH } from './depth.ts';
import type { readFullYaml } from './full-yaml.ts';
import {
  countJsonPairs,
  endOfJsonValue,
  jsonElements,
  jsonMember,
  scanJson,
  skipJsonSpace,
} from './json.ts';
import { lineIndex, locateField, rangeOf } from './positions.ts';
import type { LineIndex, PositionNode } from './positions.ts';

export interface ManifestInput {
  /** Name for messages: a path as the user gave it, or `<stdin>`. */
  readonly file: string;
  readonly text: string | Uint8Array;
}

export interface ParseOptions {
  /** Largest input in bytes (characters, when `text` is a string); default 64 MiB. */
  readonly maxBytes?: number;
}

export interface ManifestObject {
  /** Plain JSON values. Own keys only; `__proto__` can be one of them. */
  readonly object: KubeObject;
  /** From the first to the last character of the object. */
  readonly source: SourceRange;
  /**
   * Range of a field such as `spec.ingress[0].from[1].ipBlock.cidr` or
   * `metadata.labels[example.com/app]`; of its nearest existing ancestor, when it is absent.
   */
  locate(fieldPath: string): SourceRange;
}

export interface ManifestResult {
  readonly objects: readonly ManifestObject[];
  readonly diagnostics: readonly Diagnostic[];
  /** Documents, not empty, that gave no object. */
  readonly skippedDocuments: number;
}

export const defaultMaxBytes: number = 64 * 1024 * 1024;

/** A document that needs the full YAML parser, which takes some hundred bytes of memory per byte. */
const MAX_FULL_YAML = 4 * 1024 * 1024;

/** Lists of lists end somewhere. */
const MAX_LIST_DEPTH = 8;

const MAX_DIAGNOSTICS = 200;

/** What reads YAML that goes beyond what Kubernetes tools write: anchors, flow style, faults. */
export type FullReader = typeof readFullYaml;

/**
 * Parses every document of one input. Lists (`v1 List`, `PodList`, …) are replaced by their items.
 * Undefined when a document needs the full reader and none is given.
 */
export function parseManifestsWith(
  readFull: FullReader,
  input: ManifestInput,
  options?: ParseOptions,
): ManifestResult;
export function parseManifestsWith(
  readFull: FullReader | undefined,
  input: ManifestInput,
  options?: ParseOptions,
): ManifestResult | undefined;
export function parseManifestsWith(
  readFull: FullReader | undefined,
  input: ManifestInput,
  options: ParseOptions = {},
): ManifestResult | undefined {
  const { file, text: raw } = input;
  const maxBytes = options.maxBytes ?? defaultMaxBytes;
  if (raw.length > maxBytes)
    return failed({
      ...tooLarge(raw.length, maxBytes),
      range: { file, start: { line: 1, column: 1 } },
    });
  const decoded = decodeText(raw);
  if (!decoded.ok) {
    const { code, message, hint, before } = decoded;
    const range = rangeOf(file, lineIndex(before), before.length);
    return failed({ code, severity: 'error', message, hint, range });
  }
  const context = contextFor(file, decoded.text, readFull);
  const start = skipJsonSpace(decoded.text, 0);
  const first = decoded.text[start];
  if (!((first === '{' || first === '[') && parseJson(context, start))) parseYaml(context);
  if (context.gaveUp) return undefined;
  return {
    objects: context.objects,
    diagnostics: context.diagnostics,
    skippedDocuments: context.skipped,
  };
}

/** The diagnostic for an input above the limit; also for callers that know a size before reading. */
export function tooLarge(
  size: number,
  limit: number,
): { code: string; severity: Severity; message: string; hint: string } {
  return {
    code: 'too-large',
    severity: 'error',
    message: `the input has ${mebibytes(size)}, more than the limit of ${mebibytes(limit)}`,
    hint: 'split it, or give only the objects that matter (namespaces, pods, workloads, services, policies)',
  };
}

function mebibytes(size: number): string {
  return size < 1024 * 1024 ? `${size} bytes` : `${(size / 1024 / 1024).toFixed(1)} MiB`;
}

function failed(diagnostic: Diagnostic): ManifestResult {
  return { objects: [], diagnostics: [diagnostic], skippedDocuments: 1 };
}

interface Context {
  readonly file: string;
  readonly text: string;
  readonly lines: LineIndex;
  readonly objects: ManifestObject[];
  readonly diagnostics: Diagnostic[];
  readonly readFull: FullReader | undefined;
  skipped: number;
  sawTemplate: boolean;
  /** The full reader was needed and not there. */
  gaveUp: boolean;
}

function contextFor(file: string, text: string, readFull: FullReader | undefined): Context {
  return {
    file,
    text,
    lines: lineIndex(text),
    objects: [],
    diagnostics: [],
    readFull,
    skipped: 0,
    sawTemplate: false,
    gaveUp: false,
  };
}

interface Fault {
  readonly code: string;
  readonly severity?: Severity;
  readonly message: string;
  readonly hint?: string;
  readonly fieldPath?: string;
  readonly start: number;
  readonly end?: number;
}

function report(context: Context, fault: Fault): void {
  const { diagnostics, file, lines } = context;
  if (diagnostics.length > MAX_DIAGNOSTICS) return;
  const range = rangeOf(file, lines, fault.start, fault.end);
  if (diagnostics.length === MAX_DIAGNOSTICS) {
    diagnostics.push({
      code: 'too-many-faults',
      severity: 'error',
      message: `more than ${MAX_DIAGNOSTICS} faults; the rest is not shown`,
      range,
    });
    return;
  }
  diagnostics.push({
    code: fault.code,
    severity: fault.severity ?? 'error',
    message: fault.message,
    ...(fault.hint === undefined ? {} : { hint: fault.hint }),
    range,
    ...(fault.fieldPath === undefined ? {} : { fieldPath: fault.fieldPath }),
  });
}

/** One value of the input, with what is needed to find its parts later. */
interface Located {
  readonly value: unknown;
  readonly start: number;
  readonly end: number;
  positions(): PositionNode;
  /** The elements of the top-level `items` list, in order. */
  items(): readonly Located[];
}

// --- JSON ---------------------------------------------------------------------------------------

/** Returns false when the text is rather YAML in flow style: then nothing was reported. */
function parseJson(context: Context, start: number): boolean {
  const { text } = context;
  let at = start;
  const values: Located[] = [];
  const faults: Fault[] = [];
  while (at < text.length) {
    // Nearly always one value fills the text; JSON.parse both reads and checks it.
    const end = at === start ? text.length : endOfJsonValue(text, at);
    let piece = tryJson(text.slice(at, end));
    let pieceEnd = end;
    if (piece === undefined && at === start) {
      pieceEnd = endOfJsonValue(text, at);
      piece = tryJson(text.slice(at, pieceEnd));
    }
    if (piece === undefined) {
      const scan = scanJson(text, at);
      if (scan.fault === undefined) {
        // Well formed to the scanner; what follows it is then not.
        faults.push(jsonFault('this JSON cannot be read', at));
      } else {
        faults.push(jsonFault(scan.fault.message, scan.fault.offset));
      }
      break;
    }
    const value = piece.value;
    const counted = countKeys(value);
    if (counted.tooDeep) {
      faults.push({
        code: 'too-deep',
        message: `the document is nested more than ${MAX_DEPTH} levels deep`,
        start: at,
      });
    } else {
      if (counted.keys !== countJsonPairs(text, at, pieceEnd)) {
        for (const { key, offset } of scanJson(text, at).duplicates.slice(0, MAX_DIAGNOSTICS))
          faults.push(duplicateKey(key, offset));
      }
      values.push(jsonValue(text, value, at, pieceEnd));
    }
    at = skipJsonSpace(text, pieceEnd);
  }
  const syntax = faults.some(({ code }) => code === 'json-syntax');
  if (syntax && looksLikeYaml(text, start)) return false;
  for (const fault of faults) report(context, fault);
  if (syntax) context.skipped++;
  for (const value of values) addDocument(context, value);
  return true;
}

function jsonFault(message: string, start: number): Fault {
  return {
    code: 'json-syntax',
    message: `this is not valid JSON: ${message}`,
    start,
  };
}

function duplicateKey(key: string, start: number): Fault {
  return {
    code: 'duplicate-key',
    message: `the key ${JSON.stringify(key)} occurs twice in one mapping`,
    hint: 'keep one of the two; the last one would win',
    start,
    end: start + key.length + 2,
  };
}

/** Flow-style YAML and templates begin like JSON, but their first key is not in double quotes. */
function looksLikeYaml(text: string, start: number): boolean {
  if (text.startsWith('{{', start)) return true;
  const next = text[skipJsonSpace(text, start + 1)];
  return text[start] === '{' && next !== '"' && next !== '}' && next !== undefined;
}

function tryJson(text: string): { value: unknown } | undefined {
  try {
    return { value: JSON.parse(text) };
  } catch {
    return undefined;
  }
}

function jsonValue(text: string, value: unknown, start: number, end: number): Located {
  return {
    value,
    start,
    end,
    positions: () => scanJson(text, start).root ?? { start, end },
    items() {
      const list = jsonMember(text, start, 'items');
      const values = itemsOf(value);
      if (list < 0 || values.length === 0) return [];
      return jsonElements(text, list).map((from, index) =>
        jsonValue(text, values[index], from, endOfJsonValue(text, from)),
      );
    },
  };
}

/** Number of keys in a value, and whether it is deeper than consumers can bear. No recursion. */
function countKeys(root: unknown): { keys: number; tooDeep: boolean } {
  let keys = 0;
  let level: unknown[] = [root];
  for (let depth = 0; level.length > 0; depth++) {
    if (depth > MAX_DEPTH) return { keys, tooDeep: true };
    const next: unknown[] = [];
    for (const value of level) {
      if (typeof value !== 'object' || value === null) continue;
      if (Array.isArray(value)) {
        for (const element of value) if (typeof element === 'object') next.push(element);
        continue;
      }
      for (const member of Object.values(value)) {
        keys++;
        if (typeof member === 'object') next.push(member);
      }
    }
    level = next;
  }
  return { keys, tooDeep: false };
}

// --- YAML ---------------------------------------------------------------------------------------

function parseYaml(context: Context): void {
  const { text } = context;
  for (const { start, end } of documentsOf(text)) {
    if (context.gaveUp) return;
    if (isEmptyYaml(text, start, end)) continue;
    const quick = readBlockYaml(text, start, end);
    if (quick === undefined) parseFullYaml(context, start, end);
    else
      addDocument(context, {
        ...quick,
        positions: () => locateBlockYaml(text, start, end) ?? quick,
        items: () => blockItems(text, quick.value, quick.items ?? []),
      });
  }
}

function blockItems(
  text: string,
  list: unknown,
  spans: readonly { start: number; end: number }[],
): Located[] {
  const values = itemsOf(list);
  return spans.map((span, index) => {
    const value = values[index];
    return {
      ...span,
      value,
      positions: () => locateBlockYaml(text, span.start, span.end) ?? span,
      items: () => {
        // A list inside a list is rare; the full walk serves.
        const inner = readBlockYaml(text, span.start, span.end);
        return blockItems(text, value, inner?.items ?? []);
      },
    };
  });
}

/**
 * Splits at document markers, which no YAML construct may hold at the start of a line. A piece that
 * holds only directives and comments goes with the one after it.
 */
function documentsOf(text: string): { start: number; end: number }[] {
  const pieces: { start: number; end: number }[] = [];
  let start = 0;
  let at = text.startsWith('---') ? 3 : 0;
  // Directives (`%YAML 1.1`) at the end of a piece belong to the document that follows.
  let directive = text.startsWith('%') ? 0 : directiveAfter(text, 0);
  for (;;) {
    const marker = text.indexOf('\n---', at);
    if (marker < 0) break;
    at = marker + 4;
    const code = text.charCodeAt(at);
    if (at < text.length && code !== 32 && code !== 9 && code !== 10 && code !== 13) continue;
    if (directive < start) directive = directiveAfter(text, start);
    if (directive <= marker) continue;
    pieces.push({ start, end: marker + 1 });
    start = marker + 1;
  }
  pieces.push({ start, end: text.length });
  return pieces;
}

/** Offset of the next line that starts with `%`, or infinity. */
function directiveAfter(text: string, from: number): number {
  const at = text.indexOf('\n%', Math.max(0, from - 1));
  return at < 0 ? Infinity : at + 1;
}

function parseFullYaml(context: Context, start: number, end: number): void {
  const { text } = context;
  if (end - start > MAX_FULL_YAML) {
    context.skipped++;
    report(context, {
      code: 'too-large',
      message: `this document has ${mebibytes(end - start)} and uses YAML that podwall reads only up to ${mebibytes(MAX_FULL_YAML)}`,
      hint: 'convert it to JSON (kubectl get … -o json), or split it into documents',
      start,
    });
    return;
  }
  if (context.readFull === undefined) {
    context.gaveUp = true;
    return;
  }
  const piece = text.slice(start, end);
  const documents = context.readFull(piece, start);
  const template = templateAt(piece);
  if (template >= 0 && documents.some(({ faults }) => faults.length > 0)) {
    context.skipped++;
    reportTemplate(context, start + template);
    return;
  }
  for (const document of documents) {
    for (const fault of document.faults) report(context, fault);
    if (document.empty) continue;
    if (document.value === undefined) {
      context.skipped++;
      continue;
    }
    addDocument(context, fullValue(document.value, document.positions));
  }
}

function fullValue(value: unknown, positions: PositionNode): Located {
  return {
    value,
    start: positions.start,
    end: positions.end,
    positions: () => positions,
    items() {
      const { children } = positions;
      const list = children !== undefined && 'get' in children ? children.get('items') : undefined;
      const entries = list?.value.children;
      return itemsOf(value).map((item, index) => {
        const entry =
          entries !== undefined && !('get' in entries) ? entries[index]?.value : undefined;
        return fullValue(item, entry ?? list?.value ?? positions);
      });
    },
  };
}

/** Offset of an unquoted `{{ … }}` action, or -1: source of a Helm chart or another Go template. */
function templateAt(text: string): number {
  if (!text.includes('{{')) return -1;
  const match = /(?:^|\n)[ ]*(?:- )*(?:[^\s"'#{}][^\n"'#{}]*?:[ ]+|- )?\{\{/.exec(text);
  return match === null ? -1 : match.index + match[0].length - 2;
}

function reportTemplate(context: Context, start: number): void {
  // One message per file says it all.
  if (context.sawTemplate) return;
  context.sawTemplate = true;
  report(context, {
    code: 'helm-template',
    message: 'this is template source ({{ … }}), not a manifest',
    hint: 'render it first: helm template … | podwall … -f -',
    start,
    end: start + 2,
  });
}

// --- objects ------------------------------------------------------------------------------------

function addDocument(context: Context, document: Located): void {
  // A document of comments only, or an explicit null, is nothing at all.
  if (document.value === null) return;
  addValue(context, document, undefined, 0);
}

interface ListParent {
  readonly apiVersion: string;
  readonly kind: string;
  readonly path: string;
}

function addValue(
  context: Context,
  located: Located,
  parent: ListParent | undefined,
  depth: number,
): void {
  const { value, start } = located;
  const fieldPath = parent === undefined ? {} : { fieldPath: parent.path };
  const refuse = (code: string, message: string, hint?: string): void => {
    context.skipped++;
    report(context, {
      code,
      message,
      start,
      ...fieldPath,
      ...(hint === undefined ? {} : { hint }),
    });
  };

  if (!isRecord(value)) {
    refuse(
      'not-an-object',
      `expected a Kubernetes object, found ${describe(value)}`,
      Array.isArray(value)
        ? 'put the objects in separate documents (---), or in the items of a List'
        : undefined,
    );
    return;
  }
  // Items of a typed list come from the API server without these two.
  const apiVersion = own(value, 'apiVersion') ?? parent?.apiVersion;
  const kind = own(value, 'kind') ?? (parent?.kind === '' ? undefined : parent?.kind);
  const noKind = typeof kind !== 'string' || kind === '';
  const noVersion = typeof apiVersion !== 'string' || apiVersion === '';
  if (noKind && noVersion) {
    const name = templateName(value);
    if (name) reportTemplate(context, start);
    refuse('not-an-object', 'this is not a Kubernetes object: it has neither apiVersion nor kind');
    return;
  }
  if (noKind) {
    refuse('missing-kind', wrongText('kind', kind));
    return;
  }
  if (noVersion) {
    refuse('missing-api-version', wrongText('apiVersion', apiVersion));
    return;
  }

  if (isList(kind, value)) {
    if (depth >= MAX_LIST_DEPTH) {
      refuse('too-deep', `lists are nested more than ${MAX_LIST_DEPTH} deep`);
      return;
    }
    const path = parent === undefined ? 'items' : `${parent.path}.items`;
    const itemKind = kind === 'List' ? '' : kind.slice(0, -'List'.length);
    const itemVersion = kind === 'List' ? '' : apiVersion;
    located.items().forEach((item, index) => {
      addValue(
        context,
        item,
        { apiVersion: itemVersion, kind: itemKind, path: `${path}[${index}]` },
        depth + 1,
      );
    });
    return;
  }

  const metadata = own(value, 'metadata') ?? {};
  if (!isRecord(metadata)) {
    refuse('invalid-metadata', `metadata must be a mapping, found ${describe(metadata)}`);
    return;
  }
  if (templateName(value)) {
    context.skipped++;
    reportTemplate(context, start);
    return;
  }
  const complete =
    own(value, 'apiVersion') === apiVersion &&
    own(value, 'kind') === kind &&
    own(value, 'metadata') === metadata;
  const object = (
    complete ? value : { ...value, apiVersion, kind, metadata: metadata }
  ) as KubeObject & Record<string, unknown>;
  context.objects.push(manifestObject(context, object, located));
}

function manifestObject(context: Context, object: KubeObject, located: Located): ManifestObject {
  const { file, lines } = context;
  let source: SourceRange | undefined;
  let positions: PositionNode | undefined;
  return {
    object,
    get source() {
      source ??= rangeOf(file, lines, located.start, located.end);
      return source;
    },
    locate(fieldPath) {
      positions ??= located.positions();
      return locateField(positions, fieldPath, file, lines);
    },
  };
}

function isList(kind: string, value: Record<string, unknown>): boolean {
  if (!kind.endsWith('List') || own(value, 'spec') !== undefined) return false;
  const items = own(value, 'items');
  return Array.isArray(items) || items === null;
}

function itemsOf(value: unknown): readonly unknown[] {
  const items = isRecord(value) ? own(value, 'items') : undefined;
  return Array.isArray(items) ? items : [];
}

/** A quoted `"{{ .Release.Name }}"` is good YAML, but no object is called that. */
function templateName(value: Record<string, unknown>): boolean {
  const metadata = own(value, 'metadata');
  if (!isRecord(metadata)) return false;
  return ['name', 'namespace'].some((key) => {
    const text = own(metadata, key);
    return typeof text === 'string' && text.includes('{{');
  });
}

function wrongText(field: string, value: unknown): string {
  return value === undefined || value === null || value === ''
    ? `${field} is missing`
    : `${field} must be a string, found ${describe(value)}`;
}

function describe(value: unknown): string {
  if (value === null || value === undefined) return 'nothing';
  if (Array.isArray(value)) return 'a list';
  return typeof value === 'object' ? 'a mapping' : `a ${typeof value}`;
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function own(value: Record<string, unknown>, key: string): unknown {
  return Object.hasOwn(value, key) ? value[key] : undefined;
}
