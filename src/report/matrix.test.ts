import { expect, it } from 'vitest';
import { renderMatrixBlock, type MatrixBlock } from './matrix.ts';

const block: MatrixBlock = {
  heading: 'TCP 80',
  rows: ['dev/a', 'prod/b', 'outside'],
  columns: ['dev/a', 'prod/b'],
  matrices: [
    {
      title: 'predicted',
      cells: [
        [{ state: 'self' }, { state: 'closed', change: 'closed' }],
        [{ state: 'open' }, { state: 'self' }],
        [{ state: 'open' }, { state: 'unknown' }],
      ],
    },
    {
      title: 'observed',
      cells: [
        [{ state: 'self' }, { state: 'closed', change: 'closed' }],
        [{ state: 'open', disagrees: true }, { state: 'self' }],
        [{ state: 'open' }, { state: 'error' }],
      ],
    },
  ],
};

it('sets predicted and observed side by side, with marks', () => {
  expect(renderMatrixBlock(block, { color: false, columns: 80 })).toMatchInlineSnapshot(`
    "             predicted   observed
      TCP 80     a  b        a  b
      a dev/a    ·  ○-       ·  ○-
      b prod/b   ●  ·        ●! ·
      c outside  ●  ?        ●  E
    "
  `);
});

it('puts matrices below each other when the terminal is narrow', () => {
  const text = renderMatrixBlock(block, { color: false, columns: 30 });
  expect(Math.max(...text.split('\n').map((line) => line.length))).toBeLessThanOrEqual(30);
  expect(text.match(/TCP 80/g)).toHaveLength(2);
});

it('uses colour only when asked', () => {
  const plain = renderMatrixBlock(block, { color: false, columns: 80 });
  const colored = renderMatrixBlock(block, { color: true, columns: 80 });
  expect(plain).not.toContain('\u001b');
  expect(colored).toContain('\u001b[32m●');
});

it('names destinations that are no sources', () => {
  const text = renderMatrixBlock(
    { ...block, columns: ['dev/a', 'db-net'] },
    { color: false, columns: 80 },
  );
  expect(text).toContain('columns: d db-net');
});

it('lists columns that are no rows on as many lines as they need', () => {
  const columns = Array.from({ length: 12 }, (_, index) => `shop/pod-${index}`);
  const cells = [columns.map(() => ({ state: 'open' as const }))];
  const one: MatrixBlock = {
    heading: 'TCP 80',
    rows: ['dev/a'],
    columns,
    matrices: [{ title: 'observed', cells }],
  };
  const text = renderMatrixBlock(one, { color: false, columns: 60 });
  const lines = text.trimEnd().split('\n');
  expect(lines.filter((line) => line.length > 60)).toEqual([]);
  expect(lines.slice(-4)).toEqual([
    '  columns: b shop/pod-0, c shop/pod-1, d shop/pod-2,',
    '           e shop/pod-3, f shop/pod-4, g shop/pod-5,',
    '           h shop/pod-6, i shop/pod-7, j shop/pod-8,',
    '           k shop/pod-9, l shop/pod-10, m shop/pod-11',
  ]);
});
