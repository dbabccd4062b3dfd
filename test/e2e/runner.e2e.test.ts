/** The long-lived nft, and the sweep of marks, in a private network namespace. */
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { conntrackSweeper, interactiveRunner } from '../../src/dataplane/index.ts';
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

  it('marks are cleared in the bits of the mask, of both families, and the rest stays', async (context) => {
    const inside = (command: string): Promise<string> => bed.sh(`ip netns exec node-1 ${command}`);
    const marks = async (family: string): Promise<(string | undefined)[]> =>
      [...(await inside(`conntrack -L -f ${family} -p udp`)).matchAll(/mark=(\d+)/g)].map(
        ([, mark]) => mark,
      );
    const sweep = conntrackSweeper({ netns: bed.netns('node-1') });
    try {
      await inside('conntrack -V');
    } catch {
      console.warn('sweep of marks skipped: conntrack is not installed');
      await expect(sweep(0xffff0000)).rejects.toThrow('conntrack is not installed');
      context.skip();
    }
    await inside('ip link set lo up');
    await inside(`nft -f - <<'END'
table inet marks {
  chain out {
    type filter hook output priority 0
    ct mark set 0x00050007
  }
}
END`);
    // Nothing there yet: no failure.
    await sweep(0xffff0000);
    for (const host of ['127.0.0.1', '::1']) await inside(`bash -c 'echo x > /dev/udp/${host}/9'`);
    expect([await marks('ipv4'), await marks('ipv6')]).toEqual([
      [String(0x50007)],
      [String(0x50007)],
    ]);
    await sweep(0xffff0000);
    expect([await marks('ipv4'), await marks('ipv6')]).toEqual([['7'], ['7']]);
    await sweep(0xffff0000);
  });
});
