import {
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, it } from 'vitest';
import { clusterObjects } from '../../test/contract/dataplane.ts';
import type { KubeObject } from '../k8s/types.ts';
import { readStateFile, writeStateFile } from './state-file.ts';

const directory = mkdtempSync(join(tmpdir(), 'podwall-state-'));
afterAll(() => rmSync(directory, { recursive: true }));

it('gives back what was written, and leaves nothing beside it', async () => {
  const path = join(directory, 'new', 'state');
  await writeStateFile(path, clusterObjects(), 42);
  expect(await readStateFile(path)).toEqual({ savedAt: 42, objects: clusterObjects() });
  await writeStateFile(path, [], 43);
  expect(await readStateFile(path)).toEqual({ savedAt: 43, objects: [] });
  expect(readdirSync(join(directory, 'new'))).toEqual(['state']);
  expect(statSync(path).mode & 0o777).toBe(0o600);
});

it('a failure keeps the old file', async () => {
  const path = join(directory, 'kept');
  await writeStateFile(path, clusterObjects(), 1);
  function* broken(): Generator<KubeObject> {
    yield* clusterObjects();
    throw new Error('no more objects');
  }
  await expect(writeStateFile(path, broken(), 2)).rejects.toThrow('no more objects');
  expect((await readStateFile(path))?.savedAt).toBe(1);
  expect(readdirSync(directory).filter((name) => name.includes('tmp'))).toEqual([]);
});

it('knows a missing file, a part of a file and another file', async () => {
  expect(await readStateFile(join(directory, 'nothing'))).toBeUndefined();
  const path = join(directory, 'part');
  await writeStateFile(path, clusterObjects(), 1);
  const text = readFileSync(path, 'utf8');
  writeFileSync(path, text.slice(0, text.lastIndexOf('{"end"')));
  await expect(readStateFile(path)).rejects.toThrow('the file is incomplete');
  writeFileSync(path, '{}\n');
  await expect(readStateFile(path)).rejects.toThrow('not a podwall state file');
  writeFileSync(path, '');
  await expect(readStateFile(path)).rejects.toThrow('the file is incomplete');
  expect(existsSync(path)).toBe(true);
});
