/** Audit: of a node, and of single policies. */
import { describe, expect, it } from 'vitest';
import { clusterObjects, networkPolicy, pods } from '../../test/contract/dataplane.ts';
import { buildSnapshot } from '../engine/build.ts';
import type { KubeObject } from '../k8s/types.ts';
import { parseAddress } from '../net/address.ts';
import type { Address } from '../net/address.ts';
import { compileNode } from './compile.ts';
import type { DataplaneOptions } from './model.ts';
import { renderProgram } from './render.ts';
import { createMemoryBackend, simulate } from './simulate.ts';
import type { SimulatedVerdict } from './simulate.ts';

const audited = (policy: KubeObject): KubeObject => ({
  ...policy,
  metadata: { ...policy.metadata, annotations: { 'podwall.dev/mode': 'audit' } },
});
const at = (name: string): Address => {
  const pod = pods.find((one) => one.name === name);
  return parseAddress(`10.244.${pod?.node}.${pod?.host}`) as Address;
};
function verdict(
  policies: KubeObject[],
  from: string,
  to: string,
  port: number,
  options: Partial<DataplaneOptions> = {},
): SimulatedVerdict {
  const objects = [...clusterObjects(), ...policies];
  const { snapshot } = buildSnapshot(objects.map((object) => ({ object })));
  const program = compileNode(snapshot, 'node-1', options);
  const packet = { source: at(from), destination: at(to), protocol: 'TCP' as const, port };
  return simulate(program, packet);
}
const denied = { outcome: 'denied', direction: 'Ingress', unknownPod: false };
const wouldBe = { outcome: 'allowed', audited: 'Ingress' };

const denyAll = networkPolicy('deny', { podSelector: {}, policyTypes: ['Ingress'] });
const frontTo80 = networkPolicy('front', {
  podSelector: { matchLabels: { role: 'db' } },
  ingress: [
    { from: [{ podSelector: { matchLabels: { role: 'frontend' } } }], ports: [{ port: 80 }] },
  ],
});

describe('audit', () => {
  it('of a node: nothing is denied, and what would be is known', () => {
    const audit = { mode: 'audit' as const };
    expect(verdict([denyAll], 'dev1', 'db', 80)).toEqual(denied);
    expect(verdict([denyAll], 'dev1', 'db', 80, audit)).toEqual(wouldBe);
    expect(verdict([denyAll, frontTo80], 'front', 'db', 80, audit)).toEqual({ outcome: 'allowed' });
  });

  it('of a node: its frame can drop nothing', () => {
    const { snapshot } = buildSnapshot(
      [...clusterObjects(), denyAll].map((object) => ({ object })),
    );
    for (const deny of ['drop', 'reject'] as const) {
      const text = renderProgram(
        compileNode(snapshot, 'node-1', { mode: 'audit', deny, observe: true }),
      );
      expect(text).not.toMatch(/\b(drop|reject)\b/);
      expect(text).toContain('policy accept');
    }
  });

  it('of a policy: what only audited policies isolate passes', () => {
    expect(verdict([audited(denyAll)], 'dev1', 'db', 80)).toEqual(wouldBe);
    expect(verdict([audited(denyAll), audited(frontTo80)], 'dev1', 'db', 80)).toEqual(wouldBe);
    expect(verdict([audited(denyAll), audited(frontTo80)], 'front', 'db', 80)).toEqual({
      outcome: 'allowed',
    });
  });

  it('of a policy: what an enforced policy isolates, too, is denied', () => {
    expect(verdict([audited(denyAll), frontTo80], 'dev1', 'db', 80)).toEqual(denied);
    // What the audited one allows stays allowed: to audit a policy never makes a denial.
    expect(verdict([denyAll, audited(frontTo80)], 'front', 'db', 80)).toEqual({
      outcome: 'allowed',
    });
    expect(verdict([denyAll, audited(frontTo80)], 'front', 'db', 443)).toEqual(denied);
  });

  it('any other word of the annotation enforces, and is said', () => {
    const odd = {
      ...denyAll,
      metadata: { ...denyAll.metadata, annotations: { 'podwall.dev/mode': 'observe' } },
    };
    expect(verdict([odd], 'dev1', 'db', 80)).toEqual(denied);
    const { diagnostics } = buildSnapshot([{ object: odd }]);
    expect(diagnostics.map(({ code }) => code)).toContain('mode-annotation');
  });

  it('counts apart from denials, and names who judges', async () => {
    const { snapshot } = buildSnapshot(
      [...clusterObjects(), audited(denyAll)].map((object) => ({ object })),
    );
    const program = compileNode(snapshot, 'node-1', { observe: true });
    const backend = createMemoryBackend();
    await backend.apply(program);
    backend.send({ source: at('dev1'), destination: at('db'), protocol: 'TCP', port: 80 });
    expect(await backend.drops()).toMatchObject([
      { direction: 'Ingress', port: 80, packets: 1, audited: true },
    ]);
    const db = [...(program.pods?.values() ?? [])].find((pod) => pod.name === 'db');
    expect(db?.judgedBy).toEqual({
      Ingress: [`NetworkPolicy ${db?.namespace}/deny`],
      Egress: [],
    });
  });
});
