import { expect, it } from 'vitest';
import { createSimulatedLab } from '../index.ts';
import { agrees, playStory, storyObjects, type StoryResult } from './play.ts';
import { seedCluster } from './cluster.ts';
import { storySteps } from './steps.ts';

async function play(names?: readonly string[]): Promise<StoryResult[]> {
  const lab = createSimulatedLab({ stack: 'ipv4' });
  const results: StoryResult[] = [];
  const steps = storySteps.filter((step) => names?.includes(step.name) ?? true);
  for await (const result of playStory(lab, steps)) results.push(result);
  await lab.down();
  return results;
}

function cell(
  result: StoryResult | undefined,
  source: string,
  destination: string,
  port = 80,
): string {
  const table = result?.tables.find((one) => one.port.port === port);
  const row = table?.rows.indexOf(source) ?? -1;
  const column = table?.columns.indexOf(destination) ?? -1;
  return table?.cells[row]?.[column]?.observed ?? 'none';
}

it('every step agrees with its prediction, simulated', async () => {
  const results = await play();
  expect(results).toHaveLength(storySteps.length);
  for (const result of results) {
    expect(result.probes).toBeGreaterThan(0);
    expect(result.agreements).toBe(result.probes);
  }
});

it('tells the story the documentation tells', async () => {
  const results = new Map((await play()).map((result) => [result.step.name, result]));
  const at = (step: string, source: string, destination: string, port?: number): string =>
    cell(results.get(step), source, destination, port);
  const [dev1, prod1, prod2] = ['dev/devserver-1', 'prod/prodserver-1', 'prod/prodserver-2'];

  expect(at('no-policy', dev1, prod2)).toBe('OPEN');
  expect(at('default-deny-ingress', prod1, prod2)).toBe('DROPPED');
  expect(at('default-deny-ingress', dev1, prod2)).toBe('DROPPED');
  expect(at('default-deny-ingress', prod1, dev1)).toBe('OPEN');
  expect(at('default-deny-egress', prod1, prod2)).toBe('DROPPED');
  expect(at('default-deny-egress', prod1, dev1)).toBe('DROPPED');
  expect(at('default-deny-egress', dev1, prod1)).toBe('OPEN');
  for (const step of ['allow-all-ingress', 'allow-all-ingress-beside-deny']) {
    expect(at(step, dev1, prod2)).toBe('OPEN');
  }
  for (const step of ['allow-all-egress', 'allow-all-egress-beside-deny']) {
    expect(at(step, prod1, 'world-a')).toBe('OPEN');
  }
  expect(at('default-deny-all', prod1, dev1)).toBe('DROPPED');
  expect(at('default-deny-all', dev1, prod1)).toBe('DROPPED');
  expect(at('test-network-policy', 'world-a', prod1, 6379)).toBe('OPEN');
  expect(at('test-network-policy', 'world-b', prod1, 6379)).toBe('DROPPED');
  expect(at('test-network-policy', 'project/reporter', prod1, 6379)).toBe('OPEN');
  expect(at('test-network-policy', prod2, prod1, 6379)).toBe('OPEN');
  expect(at('test-network-policy', dev1, prod1, 6379)).toBe('DROPPED');
  expect(at('test-network-policy', prod1, 'db-net', 5978)).toBe('OPEN');
  expect(at('test-network-policy', prod1, 'internet', 5978)).toBe('DROPPED');
  // Only one of the two readings admits these.
  expect(at('and-or', 'dev/devserver-2', 'prod/reads-and')).toBe('DROPPED');
  expect(at('and-or', 'dev/devserver-2', 'prod/reads-or')).toBe('OPEN');
  expect(at('and-or', 'prod/prodclient', 'prod/reads-and')).toBe('DROPPED');
  expect(at('and-or', 'prod/prodclient', 'prod/reads-or')).toBe('OPEN');
  expect(at('and-or', dev1, 'prod/reads-and')).toBe('OPEN');
});

it('marks what changed against the step before', async () => {
  const results = await play(['no-policy', 'default-deny-ingress', 'default-deny-egress']);
  const changes = (index: number): string[] =>
    (results[index]?.tables[0]?.cells.flat() ?? []).map((one) => one?.change ?? '').filter(Boolean);
  expect(changes(0)).toEqual([]);
  expect(new Set(changes(1))).toEqual(new Set(['closed']));
  expect(new Set(changes(2))).toEqual(new Set(['opened', 'closed']));
});

it('counts only an answer as open and only a seen drop as denied', () => {
  expect(agrees('allowed', 'OPEN')).toBe(true);
  expect(agrees('denied', 'DROPPED')).toBe(true);
  for (const observed of ['REFUSED', 'NO-LISTENER', 'ERROR'] as const) {
    expect(agrees('denied', observed)).toBe(false);
    expect(agrees('allowed', observed)).toBe(false);
  }
  expect(agrees('unknown', 'OPEN')).toBe(false);
  expect(agrees('unknown', 'DROPPED')).toBe(false);
});

it('its manifests are valid', () => {
  expect(storyObjects(seedCluster, 'seed').map(({ object }) => object.kind)).toEqual([
    'Namespace',
    'Namespace',
    'Pod',
    'Pod',
    'Pod',
    'Pod',
  ]);
});
