/**
 * Keeps the store in a file: read once at the start, written whole and atomically after changes.
 */
import { readFile, rename, writeFile } from 'node:fs/promises';
import type { Store, StoreDump } from './store.ts';

/** The saved state; undefined when there is none. Error: the file is not ours or damaged. */
export async function loadState(file: string): Promise<StoreDump | undefined> {
  let text: string;
  try {
    text = await readFile(file, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
  const dump = JSON.parse(text) as Partial<StoreDump>;
  if (typeof dump.version !== 'number' || !Array.isArray(dump.objects))
    throw new Error(`${file} is not a state of the lab`);
  return { version: dump.version, objects: dump.objects };
}

/** Saves at most every `everyMs` while things change, and once more at the end. */
export function keepState(store: Store, file: string, everyMs = 500): { stop(): Promise<void> } {
  let saved = -1;
  let timer: NodeJS.Timeout | undefined;
  let writing: Promise<void> = Promise.resolve();
  const save = (): Promise<void> => {
    timer = undefined;
    if (saved === store.version()) return writing;
    saved = store.version();
    const text = JSON.stringify(store.dump());
    writing = writing.then(async () => {
      const temporary = `${file}.${process.pid}.tmp`;
      await writeFile(temporary, text, { mode: 0o600 });
      await rename(temporary, file);
    });
    return writing;
  };
  const unlisten = store.listen(undefined, () => {
    timer ??= setTimeout(() => void save(), everyMs).unref();
  });
  return {
    async stop() {
      unlisten();
      clearTimeout(timer);
      await save();
    },
  };
}
