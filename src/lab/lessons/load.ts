/**
 * Reads lessons from directories: podwall's own, or a teacher's. Must not know what is in them.
 */
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Diagnostic } from '../../k8s/diagnostic.ts';
import { readLesson, type Lesson } from './lesson.ts';

/** The lessons that come with podwall; the same place seen from `src` and from `dist`. */
export const ownLessons: string = fileURLToPath(new URL('../../../lessons', import.meta.url));

/**
 * Every folder `NN-name` of a directory, in order of its number. Faults are collected. Throws what
 * the file system throws when the directory cannot be read.
 */
export async function loadLessons(
  directory: string = ownLessons,
): Promise<{ readonly lessons: readonly Lesson[]; readonly diagnostics: readonly Diagnostic[] }> {
  const folders = (await readdir(directory, { withFileTypes: true }))
    .filter((entry) => entry.isDirectory() && /^\d+-/.test(entry.name))
    .map((entry) => entry.name)
    .toSorted((a, b) => parseInt(a, 10) - parseInt(b, 10) || (a < b ? -1 : 1));
  const lessons: Lesson[] = [];
  const diagnostics: Diagnostic[] = [];
  for (const [index, folder] of folders.entries()) {
    const path = join(directory, folder);
    const files = new Map<string, string>();
    for (const file of await readdir(path)) {
      if (file.endsWith('.yaml')) files.set(file, await readFile(join(path, file), 'utf8'));
    }
    const name = folder.replace(/^\d+-/, '');
    // Nobody looks for our own files; a teacher wants to open theirs.
    const label = directory === ownLessons ? folder : path;
    const read = readLesson(label, name, index + 1, files);
    diagnostics.push(...read.diagnostics);
    if (read.lesson !== undefined) lessons.push(read.lesson);
  }
  return { lessons, diagnostics };
}
