/** The long-lived nft in a private network namespace. */
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { interactiveRunner } from '../../src/dataplane/index.ts';
import type { InteractiveRunner } from '../../src/dataplane/index.ts';
import { canMakeBed, makeBed } from './dataplane/bed.ts';
import type { Bed } from './dataplane/bed.ts';

const impossible = await canMakeBed();
if (impossible !== undefined) console.warn(`nft runner e2e tests skipped: ${impossible}`);

describe.skipIf(impossible !== undefined)('the long-lived nft', () => {
  let bed: Bed;
  let runner: InteractiveRunner;
  const folder = mkdtempSync(join(tmpdir(), 'podwall-runner-test-'));
  const before = process.env['TMPDIR'];

  beforeAll(async () => {
    bed = await makeBed([]);
    process.env['TMPDIR'] = folder;
    runner = interactiveRunner({ netns: bed.netns('node-1') });
  });
  afterAll(async () => {
    if (before === undefined) delete process.env['TMPDIR'];
    else process.env['TMPDIR'] = before;
    await runner?.close();
    await bed?.close();
    rmSync(folder, { recursive: true });
  });

  const many = (set: string, count: number): string =>
    `table inet t {\n  set ${set} { type ipv4_addr; elements = { ${Array.from(
      { length: count },
      (_, i) => `10.0.${i >> 8}.${i & 255}`,
    ).join(', ')} }; }\n}\n`;

  it('takes long and short scripts by turns, and each is only its own', async () => {
    expect(await runner.run(many('large', 3000))).toMatchObject({ code: 0 });
    expect(await runner.run('add set inet t short { type ipv4_addr; }\n')).toMatchObject({
      code: 0,
    });
    expect(await runner.run(many('small', 3))).toMatchObject({ code: 0 });
    expect(await runner.run(`${many('bad', 5)}nonsense\n`)).toMatchObject({
      code: 1,
      stderr: expect.stringContaining('syntax error') as string,
    });
    expect(runner.counts).toEqual({ interactive: 4, spawned: 0 });
    const listing = await bed.sh('ip netns exec node-1 nft list table inet t');
    expect([...listing.matchAll(/set (\w+) \{/g)].map(([, name]) => name)).toEqual([
      'large',
      'short',
      'small',
    ]);
    expect([...listing.matchAll(/10\.0\./g)]).toHaveLength(3003);
  });

  it('leaves no file behind, however it ends: its file has no name', async () => {
    expect(await runner.run(many('again', 3000))).toMatchObject({ code: 0 });
    expect(readdirSync(folder)).toEqual([]);
  });
});
