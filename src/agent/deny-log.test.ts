import { describe, expect, it } from 'vitest';
import type { Drop, LocalPod } from '../dataplane/index.ts';
import { createDenyLog, type DenyEntry, type DenyLogOptions } from './deny-log.ts';

const db: LocalPod = {
  namespace: 'prod',
  name: 'db',
  judgedBy: { Ingress: ['NetworkPolicy prod/deny'], Egress: [] },
};
const drop = (more: Partial<Drop> = {}): Drop => ({
  family: 4,
  direction: 'Ingress',
  source: '10.244.2.5',
  destination: '10.244.1.4',
  protocol: 'TCP',
  port: 5432,
  packets: 3,
  ...more,
});

function make(more: Partial<DenyLogOptions> = {}): {
  log: ReturnType<typeof createDenyLog>;
  set(...drops: Drop[]): void;
  read(): DenyEntry[];
  resets: () => number;
} {
  let drops: Drop[] = [];
  let resets = 0;
  const log = createDenyLog({
    node: 'node-1',
    drops: async () => drops,
    resetDrops: async () => {
      resets += 1;
      drops = [];
    },
    pods: () => new Map([['10.244.1.4', db]]),
    names: (wanted) =>
      new Map(
        [...wanted]
          .filter((address) => address === '10.244.2.5')
          .map((address) => [address, { address, namespace: 'dev', pod: 'client' }]),
      ),
    now: () => new Date(0),
    ...more,
  });
  return {
    log,
    set: (...list) => {
      drops = list;
    },
    read: () => log.recent().map((line) => JSON.parse(line) as DenyEntry),
    resets: () => resets,
  };
}

describe('deny log', () => {
  it('names pods, port, direction and the policies that judge', async () => {
    const { log, set, read } = make();
    await log.poll();
    set(drop());
    await log.poll();
    expect(read()).toEqual([
      {
        time: '1970-01-01T00:00:00.000Z',
        node: 'node-1',
        verdict: 'denied',
        direction: 'Ingress',
        source: { address: '10.244.2.5', namespace: 'dev', pod: 'client' },
        destination: { address: '10.244.1.4', namespace: 'prod', pod: 'db' },
        protocol: 'TCP',
        port: 5432,
        packets: 3,
        policies: ['NetworkPolicy prod/deny'],
      },
    ]);
  });

  it('says what is new since the last poll, and nothing at the first', async () => {
    const { log, set, read } = make();
    set(drop({ packets: 100 }));
    await log.poll();
    expect(read()).toEqual([]);
    await log.poll();
    set(drop({ packets: 104 }), drop({ port: 80, packets: 1, audited: true }));
    await log.poll();
    expect(read().map(({ port, packets, verdict }) => [port, packets, verdict])).toEqual([
      [80, 1, 'audited'],
      [5432, 4, 'denied'],
    ]);
    // Emptied in between, for example by a new frame.
    set(drop({ packets: 2 }));
    await log.poll();
    expect(read().at(-1)?.packets).toBe(2);
  });

  it('a flood makes a bounded number of lines, and a gap that says so', async () => {
    const flows = Array.from({ length: 500 }, (_, index) => drop({ port: index + 1, packets: 2 }));
    const seen: boolean[] = [];
    const { log, set } = make({
      maxEntries: 10,
      keep: 8,
      onFlow: (_entry, isNew) => seen.push(isNew),
    });
    await log.poll();
    set(...flows);
    await log.poll();
    expect(seen).toHaveLength(500);
    expect(log.recent()).toHaveLength(8);
    expect(JSON.parse(log.recent().at(-1) as string)).toMatchObject({
      suppressed: 490,
      packets: 980,
    });
  });

  it('empties a record that has grown large, without telling twice', async () => {
    const { log, set, read, resets } = make({ maxFlows: 1 });
    await log.poll();
    set(drop(), drop({ port: 80 }));
    await log.poll();
    expect(resets()).toBe(1);
    await log.poll();
    expect(read()).toHaveLength(2);
  });

  it('reads nothing while nothing is denied', async () => {
    let reads = 0;
    let total = 7;
    const { log, read } = make({
      denials: async () => total,
      drops: async () => {
        reads += 1;
        return [drop({ packets: total })];
      },
    });
    for (let i = 0; i < 5; i += 1) await log.poll();
    expect(reads).toBe(1);
    total = 9;
    await log.poll();
    await log.poll();
    expect(reads).toBe(2);
    expect(read().map(({ packets }) => packets)).toEqual([2]);
  });

  it('readers get lines as they come, until they leave', async () => {
    const { log, set } = make();
    const got: string[] = [];
    const leave = log.subscribe((line) => got.push(line));
    await log.poll();
    set(drop());
    await log.poll();
    leave();
    set(drop({ packets: 9 }));
    await log.poll();
    expect(got).toEqual(log.recent().slice(0, 1));
  });
});
