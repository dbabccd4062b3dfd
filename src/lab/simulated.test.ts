import { describe, expect, it } from 'vitest';
import type { KubeObject } from '../k8s/types.ts';
import { createSimulatedLab } from './simulated.ts';
import type { Lab, ProbeResult } from './types.ts';

function pod(id: string, node: string, spec: object = {}): KubeObject {
  const [namespace = '', name = ''] = id.split('/');
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { namespace, name },
    spec: { nodeName: node, ...spec },
  };
}

function policy(namespace: string, spec: object): KubeObject {
  const metadata = { namespace, name: 'np' };
  return { apiVersion: 'networking.k8s.io/v1', kind: 'NetworkPolicy', metadata, spec };
}

async function made(...policies: KubeObject[]): Promise<Lab> {
  const lab = createSimulatedLab();
  const pods = [pod('a/one', 'node-1'), pod('a/two', 'node-2'), pod('b/near', 'node-1')];
  await lab.apply([...pods, pod('b/host', 'node-1', { hostNetwork: true }), ...policies]);
  return lab;
}

async function probe(lab: Lab, from: string, to: string, port = 80): Promise<ProbeResult> {
  const ports = [{ protocol: 'TCP', port } as const];
  const { results } = await lab.probe({ from: [from], to: [to], ports, family: 4 });
  return results[0] as ProbeResult;
}

describe('the simulated lab', () => {
  it('is open without policies, and says that it is simulated everywhere', async () => {
    const lab = await made();
    const report = await lab.probe();
    expect(report.simulated).toBe(true);
    expect(report.results.every((one) => one.simulated && one.outcome === 'OPEN')).toBe(true);
    expect(await lab.status()).toMatchObject({
      simulated: true,
      pods: 4,
      readyPods: 4,
      privileges: 'none',
    });
    expect(report.results).toHaveLength(8 * 4 * 2);
  });

  it('drops on the side and node that a kernel would', async () => {
    const ingress = await made(policy('a', { podSelector: {}, policyTypes: ['Ingress'] }));
    expect(await probe(ingress, 'b/near', 'a/two')).toMatchObject({
      outcome: 'DROPPED',
      evidence: { drop: { node: 'node-2', direction: 'Ingress' } },
    });
    expect((await probe(ingress, 'world-a', 'a/one')).outcome).toBe('DROPPED');
    expect((await probe(ingress, 'a/one', 'a/one')).outcome).toBe('OPEN');
    const egress = await made(policy('a', { podSelector: {}, policyTypes: ['Egress'] }));
    expect(await probe(egress, 'a/two', 'b/near')).toMatchObject({
      outcome: 'DROPPED',
      evidence: { drop: { node: 'node-2', direction: 'Egress' } },
    });
    expect((await probe(egress, 'a/two', 'internet')).outcome).toBe('DROPPED');
    expect((await probe(egress, 'b/near', 'a/two')).outcome).toBe('OPEN');
  });

  it('lets a node and its hostNetwork pods reach its own pods, not those of other nodes', async () => {
    const lab = await made(policy('a', { podSelector: {}, policyTypes: ['Ingress'] }));
    expect((await probe(lab, 'node-1', 'a/one')).outcome).toBe('OPEN');
    expect((await probe(lab, 'b/host', 'a/one')).outcome).toBe('OPEN');
    expect((await probe(lab, 'b/host', 'a/two')).outcome).toBe('DROPPED');
  });

  it('knows where nothing listens', async () => {
    const lab = await made();
    expect((await probe(lab, 'b/near', 'a/one', 81)).outcome).toBe('NO-LISTENER');
    await lab.closeListener('a/one', { protocol: 'TCP', port: 80 });
    expect((await probe(lab, 'b/near', 'a/one')).outcome).toBe('NO-LISTENER');
  });

  it('takes policies back', async () => {
    const lab = await made(policy('a', { podSelector: {}, policyTypes: ['Ingress'] }));
    await lab.delete([{ kind: 'NetworkPolicy', namespace: 'a', name: 'np' }]);
    expect((await probe(lab, 'b/near', 'a/two')).outcome).toBe('OPEN');
    expect(await lab.get('NetworkPolicy')).toEqual([]);
  });

  it('has no network for programs', async () => {
    await expect((await made()).exec('a/one', ['true'])).rejects.toThrow('simulated');
  });
});
