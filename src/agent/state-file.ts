/**
 * The last known objects on disk, so that a node that boots without the API knows what to enforce.
 * Must not judge how old they are.
 */
import { createReadStream } from 'node:fs';
import { mkdir, open, rename, rm } from 'node:fs/promises';
import { dirname } from 'node:path';
import { createInterface } from 'node:readline';
import type { KubeObject } from '../k8s/types.ts';

const format = 'podwall-agent-state/v1';

export interface SavedState {
  /** Milliseconds since the epoch. */
  readonly savedAt: number;
  readonly objects: KubeObject[];
}

/**
 * Replaces the file: a reader sees the old or the new state, whole, also after a power cut.
 * One object a line between a header and a closing line.
 */
export async function writeStateFile(
  path: string,
  objects: Iterable<KubeObject>,
  savedAt: number,
): Promise<void> {
  await mkdir(dirname(path), { recursive: true, mode: 0o700 });
  const temporary = `${path}.${process.pid}.tmp`;
  const file = await open(temporary, 'w', 0o600);
  try {
    let count = 0;
    let chunk = `${JSON.stringify({ format, savedAt })}\n`;
    for (const object of objects) {
      chunk += `${JSON.stringify(object)}\n`;
      count += 1;
      if (chunk.length > 1 << 18) {
        await file.write(chunk);
        chunk = '';
      }
    }
    await file.write(`${chunk}${JSON.stringify({ end: count })}\n`);
    await file.sync();
    await file.close();
    await rename(temporary, path);
    const directory = await open(dirname(path), 'r');
    try {
      await directory.sync();
    } finally {
      await directory.close();
    }
  } catch (error) {
    await file.close().catch(() => undefined);
    await rm(temporary, { force: true });
    throw error;
  }
}

/** `undefined` when there is no file. Throws when it is not a whole state file. */
export async function readStateFile(path: string): Promise<SavedState | undefined> {
  const stream = createReadStream(path);
  try {
    const lines = createInterface({ input: stream, crlfDelay: Infinity });
    let savedAt: number | undefined;
    let ended = false;
    const objects: KubeObject[] = [];
    for await (const line of lines) {
      const value = JSON.parse(line) as { format?: string; savedAt?: number; end?: number };
      if (savedAt === undefined) {
        if (value.format !== format || typeof value.savedAt !== 'number')
          throw new Error('not a podwall state file');
        savedAt = value.savedAt;
      } else if (value.end !== undefined) {
        ended = value.end === objects.length;
      } else {
        objects.push(value as unknown as KubeObject);
      }
    }
    if (savedAt === undefined || !ended) throw new Error('the file is incomplete');
    return { savedAt, objects };
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  } finally {
    stream.destroy();
  }
}
