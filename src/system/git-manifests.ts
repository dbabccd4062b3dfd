/**
 * Manifests as they stand in a git revision, read without touching the work tree. Must not know what
 * they are for.
 */
import { parseManifests } from '../manifest/parse.ts';
import type { ManifestResult } from '../manifest/parse.ts';
import { run } from './exec.ts';

const manifest = /\.(ya?ml|json)$/i;

/** A message for the user about git or the revision. */
export class GitError extends Error {
  override name = 'GitError';
}

async function git(cwd: string, args: readonly string[], input?: string): Promise<string> {
  const result = await run('git', ['-C', cwd, ...args], {
    ...(input === undefined ? {} : { input }),
    maxOutput: 512 * 1024 * 1024,
  });
  if (result.code !== 0) {
    const [first = 'git failed'] = result.stderr.trim().split('\n');
    throw new GitError(first.replace(/^fatal: /, ''));
  }
  return result.stdout;
}

/** Whether `text` names a commit of the repository around `cwd`. */
export async function isRevision(cwd: string, text: string): Promise<boolean> {
  try {
    await git(cwd, ['rev-parse', '--verify', '--quiet', `${text}^{commit}`]);
    return true;
  } catch {
    return false;
  }
}

/** Every manifest of a revision below `paths` (the current folder when empty). Throws GitError. */
export async function readRevision(
  cwd: string,
  revision: string,
  paths: readonly string[],
): Promise<ManifestResult> {
  const listed = await git(cwd, [
    'ls-tree',
    '-r',
    '-z',
    '--name-only',
    revision,
    '--',
    ...(paths.length === 0 ? ['.'] : paths),
  ]);
  const files = listed.split('\0').filter((name) => manifest.test(name));
  if (files.length === 0) {
    const where = paths.length === 0 ? 'below the current folder' : `at ${paths.join(', ')}`;
    throw new GitError(`${revision} has no manifests ${where}`);
  }
  const results: ManifestResult[] = [];
  for (const file of files) {
    const text = await git(cwd, ['show', `${revision}:./${file}`]);
    results.push(parseManifests({ file: `${revision}:${file}`, text }));
  }
  return {
    objects: results.flatMap((result) => result.objects),
    diagnostics: results.flatMap((result) => result.diagnostics),
    skippedDocuments: results.reduce((sum, result) => sum + result.skippedDocuments, 0),
  };
}
