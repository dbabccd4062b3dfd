/**
 * JSON Patch (RFC 6902) with the API server's errors.
 */
import { clone, deepEqual, isObject, setField } from '../object.ts';
import { ApiError, badRequest } from '../status.ts';

interface Operation {
  readonly op: string;
  readonly path: string;
  readonly from?: string;
  readonly value?: unknown;
}

const failed = (message: string): ApiError => new ApiError(422, 'Invalid', message);

const steps = (pointer: string): string[] => {
  if (pointer === '') return [];
  if (!pointer.startsWith('/')) throw failed(`jsonpatch: invalid path: ${pointer}`);
  return pointer
    .slice(1)
    .split('/')
    .map((step) => step.replaceAll('~1', '/').replaceAll('~0', '~'));
};

function indexIn(list: readonly unknown[], step: string, end: boolean): number {
  if (end && step === '-') return list.length;
  const index = /^(0|[1-9]\d*)$/.test(step) ? Number(step) : -1;
  if (index < 0 || index > list.length - (end ? 0 : 1))
    throw failed(`jsonpatch: invalid array index: ${step}`);
  return index;
}

function walk(document: unknown, path: readonly string[]): unknown {
  let current = document;
  for (const step of path)
    if (Array.isArray(current)) current = current[indexIn(current, step, false)];
    else if (isObject(current) && Object.hasOwn(current, step)) current = current[step];
    else
      throw failed(
        `the server rejected our request due to an error in our request: jsonpatch: missing path: /${path.join('/')}`,
      );
  return current;
}

function add(document: unknown, path: readonly string[], value: unknown): unknown {
  const last = path[path.length - 1];
  if (last === undefined) return value;
  const parent = walk(document, path.slice(0, -1));
  if (Array.isArray(parent)) parent.splice(indexIn(parent, last, true), 0, value);
  else if (isObject(parent)) setField(parent, last, value);
  else throw failed(`jsonpatch: cannot add to a scalar: /${path.join('/')}`);
  return document;
}

function remove(document: unknown, path: readonly string[]): unknown {
  const last = path[path.length - 1];
  if (last === undefined) return null;
  const parent = walk(document, path.slice(0, -1));
  if (Array.isArray(parent)) parent.splice(indexIn(parent, last, false), 1);
  else {
    walk(document, path);
    if (isObject(parent)) delete parent[last];
  }
  return document;
}

/** Applies a patch to a copy. Errors: 400 not a patch, 422 it does not fit or a `test` fails. */
export function jsonPatch(original: unknown, patch: unknown): unknown {
  if (!Array.isArray(patch))
    throw badRequest('json: cannot unmarshal object into Go value of type jsonpatch.Patch');
  if (patch.length > 10_000)
    throw new ApiError(
      413,
      'RequestEntityTooLarge',
      'The allowed maximum operations in a JSON patch is 10000',
    );
  let document = clone(original);
  for (const operation of patch as Operation[]) {
    const path = steps(operation.path);
    switch (operation.op) {
      case 'add':
        document = add(document, path, clone(operation.value));
        break;
      case 'remove':
        document = remove(document, path);
        break;
      case 'replace':
        walk(document, path);
        document =
          path.length === 0 ? clone(operation.value) : replaceAt(document, path, operation);
        break;
      case 'move': {
        const from = steps(operation.from ?? '');
        const moved = walk(document, from);
        document = add(remove(document, from), path, moved);
        break;
      }
      case 'copy':
        document = add(document, path, clone(walk(document, steps(operation.from ?? ''))));
        break;
      case 'test':
        if (!deepEqual(path.length === 0 ? document : testValue(document, path), operation.value))
          throw failed(
            `the server rejected our request due to an error in our request: testing value ${operation.path} failed`,
          );
        break;
      default:
        throw failed(`Unexpected kind: ${operation.op}`);
    }
  }
  return document;
}

function replaceAt(document: unknown, path: readonly string[], operation: Operation): unknown {
  const parent = walk(document, path.slice(0, -1));
  const last = path[path.length - 1] ?? '';
  if (Array.isArray(parent)) parent[indexIn(parent, last, false)] = clone(operation.value);
  else if (isObject(parent)) setField(parent, last, clone(operation.value));
  return document;
}

/** An absent member tests equal to null, as Go's library has it. */
function testValue(document: unknown, path: readonly string[]): unknown {
  const parent = walk(document, path.slice(0, -1));
  const last = path[path.length - 1] ?? '';
  if (isObject(parent) && !Object.hasOwn(parent, last)) return null;
  return walk(document, path);
}
