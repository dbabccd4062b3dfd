/**
 * Keeps the objects of a lab in a file: read once at the start, written whole and atomically after
 * changes. What only lives with the machine (addresses of pods, events) is not carried over. Must not
 * know what the objects decide.
 */
import { open, readFile, rename, stat } from 'node:fs/promises';
import { dirname } from 'node:path';
import { LabError } from '../errors.ts';
import { objectJson } from './encode.ts';
import { type ApiObject, isObject, listAt, stringAt } from './object.ts';
import { apiVersionOf, resourceTypes } from './registry.ts';
import { keyOf, type ResourceType } from './resource.ts';
import type { Store, StoreDump } from './store.ts';

/** What stands in the file besides objects: the shape of the lab, as its own code knows it. */
export interface SavedState<Shape = unknown> extends StoreDump {
  readonly shape: Shape;
}

const format = 'podwall-lab-state';
/** Grows when an older podwall could not read the file rightly. */
const formatVersion = 1;

/**
 * A start leaves so many versions unused, more than can be written between two saves: a version that
 * a client saw before a crash must not come again for another state.
 */
const versionGap = 1_000_000;

const typeByBucket = new Map<string, ResourceType>();
for (const type of resourceTypes)
  if (type.convert === undefined) typeByBucket.set(type.bucket, type);

const eventBucket = '/events';

function damaged(file: string, why: string): LabError {
  return new LabError(
    `the state file ${file} is damaged: ${why}\n` +
      `move it away to start empty (mv ${file} ${file}.damaged), or bring back a copy of yours`,
  );
}

/** The saved state; undefined when there is no file. Throws `LabError` when it cannot be used. */
export async function loadState(file: string): Promise<SavedState | undefined> {
  let text: string;
  try {
    text = await readFile(file, 'utf8');
  } catch (error) {
    const { code = '' } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT') return undefined;
    if (code === 'EISDIR') throw new LabError(`${file} is a directory, not a state file`);
    throw new LabError(`the state file ${file} cannot be read: ${(error as Error).message}`);
  }
  return parseState(file, text);
}

function parseState(file: string, text: string): SavedState {
  if (text.trim() === '') throw damaged(file, 'it is empty');
  let given: unknown;
  try {
    given = JSON.parse(text);
  } catch {
    throw damaged(file, 'it is not whole JSON');
  }
  if (!isObject(given) || given['format'] !== format)
    throw new LabError(`${file} is not the state of a lab; name another file`);
  const { formatVersion: written, version, shape, objects } = given;
  if (written !== formatVersion)
    throw new LabError(
      `${file} was written by another podwall (format ${String(written)}, this one reads ${formatVersion}); ` +
        'use that podwall, or name another file',
    );
  if (typeof version !== 'number' || !Number.isSafeInteger(version) || version < 1)
    throw damaged(file, 'it has no version');
  if (!isObject(shape)) throw damaged(file, 'it does not say what the lab looks like');
  if (!Array.isArray(objects)) throw damaged(file, 'it has no list of objects');
  const seen = new Set<string>();
  const entries = objects.map((entry: unknown, index) => {
    const fault = entryFault(entry, version, seen);
    if (fault !== undefined) throw damaged(file, `object ${index + 1} ${fault}`);
    return entry as StoreDump['objects'][number];
  });
  return { version, shape, objects: entries };
}

function entryFault(entry: unknown, version: number, seen: Set<string>): string | undefined {
  if (!isObject(entry)) return 'is no object';
  const { bucket, key, object } = entry;
  const type = typeof bucket === 'string' ? typeByBucket.get(bucket) : undefined;
  if (type === undefined) return `is of no kind this podwall knows (${String(bucket)})`;
  if (!isObject(object) || !isObject(object['metadata'])) return 'has no metadata';
  const { name, namespace, uid, resourceVersion } = object['metadata'];
  if (typeof name !== 'string' || name === '' || typeof uid !== 'string')
    return 'has no name or no uid';
  if (key !== keyOf(type, namespace as string | undefined, name)) return 'has a key of another';
  if (object['kind'] !== type.kind || object['apiVersion'] !== apiVersionOf(type))
    return `is not a ${type.kind}`;
  if (!(Number(resourceVersion) <= version)) return 'is newer than the file';
  const place = `${type.bucket} ${key}`;
  if (seen.has(place)) return `is there twice (${place})`;
  seen.add(place);
  return undefined;
}

/**
 * The state for a server that starts now: later versions than any that was handed out, pods that
 * have yet to be started, no pod that was on its way out.
 */
export function revived(saved: StoreDump): StoreDump {
  const version = saved.version + versionGap;
  return {
    version,
    objects: saved.objects.flatMap((entry) => {
      if (entry.object.kind !== 'Pod') return [entry];
      const object = revivedPod(entry.object);
      return object === undefined ? [] : [{ ...entry, object }];
    }),
  };
}

function revivedPod(pod: ApiObject): ApiObject | undefined {
  const { metadata } = pod;
  if (metadata.deletionTimestamp !== undefined && (metadata.finalizers ?? []).length === 0)
    return undefined;
  const phase = stringAt(pod, 'status', 'phase');
  if (phase === 'Succeeded' || phase === 'Failed') return pod;
  const scheduled = listAt(pod, 'status', 'conditions').filter(
    (condition) => condition['type'] === 'PodScheduled' && condition['status'] === 'True',
  );
  const qosClass = stringAt(pod, 'status', 'qosClass');
  return {
    ...pod,
    status: {
      phase: 'Pending',
      ...(scheduled.length > 0 ? { conditions: scheduled } : {}),
      ...(qosClass === '' ? {} : { qosClass }),
    },
  };
}

export interface StateKeeper {
  /** Resolves when what is in the store now is on disk. Rejects with `LabError` when it cannot be. */
  save(): Promise<void>;
  /** Saves once more, then no longer. */
  stop(): Promise<void>;
}

export interface KeeperOptions {
  readonly shape: unknown;
  /** Saves at most this often while things change, in milliseconds; rarer when saving takes long. */
  readonly everyMs?: number;
  /** A save nobody waited for has failed; it is tried again. */
  readonly onTrouble: (error: unknown) => void;
}

const retryMs = 5_000;
/** Saving may take a tenth of the time. */
const restShare = 10;

export function keepState(store: Store, file: string, options: KeeperOptions): StateKeeper {
  const everyMs = options.everyMs ?? 500;
  let saved = -1;
  let pauseMs = everyMs;
  let timer: NodeJS.Timeout | undefined;
  let writing: Promise<void> = Promise.resolve();
  let stopped = false;
  /** The file as this keeper left it. */
  let own: string | undefined;

  const write = async (): Promise<void> => {
    const version = store.version();
    if (saved === version) return;
    const started = performance.now();
    const text = stateText(store, options.shape);
    const identity = await identityOf(file);
    if (own !== undefined && identity !== own)
      throw new LabError(`${file} was replaced by somebody else; it is not written over`);
    try {
      own = await replaceFile(file, text);
    } catch (error) {
      throw new LabError(`the state cannot be written to ${file}: ${(error as Error).message}`);
    }
    saved = version;
    pauseMs = Math.max(everyMs, (performance.now() - started) * restShare);
  };
  /** One at a time, each with the newest state. */
  const save = (): Promise<void> => {
    writing = writing.then(write, write);
    return writing;
  };
  const later = (ms: number): void => {
    if (stopped) return;
    timer ??= setTimeout(() => {
      timer = undefined;
      save().then(
        () => {
          if (saved !== store.version()) later(pauseMs);
        },
        (error: unknown) => {
          options.onTrouble(error);
          later(retryMs);
        },
      );
    }, ms).unref();
  };
  const unlisten = store.listen(undefined, () => {
    later(pauseMs);
  });
  return {
    save,
    async stop() {
      stopped = true;
      unlisten();
      clearTimeout(timer);
      await save();
    },
  };
}

/** Text of a file with everything but events, whose hour is soon over. */
function stateText(store: Store, shape: unknown): string {
  const items: string[] = [];
  for (const bucket of store.buckets()) {
    if (bucket === eventBucket) continue;
    for (const object of store.list(bucket).objects) {
      const { namespace, name } = object.metadata;
      const key = namespace === undefined ? name : `${namespace}/${name}`;
      items.push(
        `{"bucket":${JSON.stringify(bucket)},"key":${JSON.stringify(key)},"object":${objectJson(object)}}`,
      );
    }
  }
  const head = JSON.stringify({ format, formatVersion, version: store.version(), shape });
  return `${head.slice(0, -1)},"objects":[\n${items.join(',\n')}\n]}\n`;
}

async function identityOf(file: string): Promise<string | undefined> {
  try {
    const { dev, ino } = await stat(file);
    return `${dev} ${ino}`;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
}

/** Whoever reads sees the old text or the new one, also after a crash of the machine. */
async function replaceFile(file: string, text: string): Promise<string> {
  const temporary = `${file}.tmp`;
  const handle = await open(temporary, 'w', 0o600);
  try {
    // It may be left from before with other rights.
    await handle.chmod(0o600);
    await handle.writeFile(text);
    await handle.sync();
    const { dev, ino } = await handle.stat();
    await rename(temporary, file);
    await syncDirectory(dirname(file));
    return `${dev} ${ino}`;
  } finally {
    await handle.close();
  }
}

async function syncDirectory(directory: string): Promise<void> {
  const handle = await open(directory, 'r');
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}
