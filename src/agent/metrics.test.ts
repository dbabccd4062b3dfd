import { expect, it } from 'vitest';
import { createMemoryBackend, createNodeCompiler } from '../dataplane/index.ts';
import { createClusterFacts } from '../engine/cluster-facts.ts';
import { clusterObjects } from '../../test/contract/dataplane.ts';
import type { DenyEntry } from './deny-log.ts';
import type { Round } from './loop.ts';
import { createMetrics } from './metrics.ts';

/** A round with these pods of the test cluster. */
async function roundWith(pods: readonly string[]): Promise<Round> {
  const facts = createClusterFacts();
  const objects = clusterObjects().filter(
    ({ kind, metadata }) => kind !== 'Pod' || pods.includes(metadata.name ?? ''),
  );
  const { program } = createNodeCompiler({ node: 'node-1' }).update(
    facts.apply(
      objects.map((object) => {
        const { apiVersion, kind, metadata } = object;
        const { namespace, name = '' } = metadata;
        return [{ apiVersion, kind, namespace, name }, object] as const;
      }),
    ),
  );
  const report = await createMemoryBackend().apply(program);
  return {
    reasons: ['changes'],
    since: 0,
    finished: 0,
    buildMs: 0,
    applyMs: 0,
    report,
    program,
    repaired: false,
  };
}

it('figures of a pod stay for its last scrape and go later; those of others stay', async () => {
  let time = 1_000_000;
  const metrics = createMetrics(
    '1',
    'node-1',
    () => [],
    () => time,
  );
  const denied = (namespace: string, pod: string): DenyEntry => ({
    time: '',
    node: 'node-1',
    verdict: 'denied',
    direction: 'Ingress',
    protocol: 'TCP',
    source: { address: '10.9.9.9' },
    destination: { address: '10.244.1.10', namespace, pod },
    port: 80,
    packets: 3,
    policies: [],
  });
  const present = await roundWith(['db', 'web']);
  const names = [...(present.program.pods?.values() ?? [])];
  expect(names.map(({ name }) => name)).toContain('db');
  const { namespace } = names.find(({ name }) => name === 'db') as { namespace: string };
  metrics.round(present);
  metrics.denied(denied(namespace, 'db'), true);
  metrics.denied(denied('other', 'gone-before'), true);
  const told = async (): Promise<string[]> =>
    [...(await metrics.exposition()).matchAll(/denied_packets_total\{.*pod="([^"]+)"/g)].map(
      ([, pod]) => pod as string,
    );
  expect(await told()).toEqual(['db', 'gone-before']);
  time += 301_000;
  expect(await told()).toEqual(['db']);
  metrics.round(await roundWith([]));
  expect(await told()).toEqual(['db']);
  time += 299_000;
  expect(await told()).toEqual(['db']);
  // It came back, under the same name.
  metrics.round(present);
  expect(await told()).toEqual(['db']);
  metrics.round(await roundWith([]));
  expect(await told()).toEqual(['db']);
  time += 301_000;
  expect(await told()).toEqual([]);
  metrics.denied(denied(namespace, 'db'), true);
  expect(await metrics.exposition()).toMatch(/denied_packets_total\{.*pod="db".*\} 3/);
});
