/** Every deliberate fault still fits the source, so that scripts/mutate.ts can apply it. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { mutations } from './mutations.ts';

const root = join(import.meta.dirname, '..', '..');

it('finds the text of every fault exactly once', () => {
  const edits = mutations.flatMap((one) => one.edits);
  expect(edits.length).toBeGreaterThan(25);
  const stray = edits.filter(
    ({ file, find }) => readFileSync(join(root, file), 'utf8').split(find).length !== 2,
  );
  expect(stray.map(({ file, find }) => `${file}: ${find}`)).toEqual([]);
});
