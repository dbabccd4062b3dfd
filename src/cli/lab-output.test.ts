import { describe, expect, it } from 'vitest';
import type { KubeObject } from '../k8s/types.ts';
import type { ProbeReport, ProbeResult } from '../lab/types.ts';
import { parsePorts } from './commands/lab.ts';
import {
  formatDuration,
  probeSummary,
  renderMachine,
  renderObjects,
  renderProbeMatrix,
  renderProbeTable,
} from './lab-output.ts';

const pod: KubeObject = {
  apiVersion: 'v1',
  kind: 'Pod',
  metadata: {
    namespace: 'a',
    name: 'x',
    creationTimestamp: '2024-01-01T00:00:00Z',
    labels: { role: 'db' },
  },
  spec: {
    nodeName: 'node-1',
    containers: [{ name: 'c', ports: [{ containerPort: 53, protocol: 'UDP' }] }],
  },
  status: { phase: 'Running', podIP: '10.244.1.2', podIPs: [{ ip: '10.244.1.2' }] },
};
const now = Date.parse('2024-01-01T00:05:00Z');

describe('objects', () => {
  it('look as kubectl prints them', () => {
    expect(renderObjects('Pod', [pod], { wide: false, namespaces: true, now })).toBe(
      'NAMESPACE   NAME   READY   STATUS    AGE   IP           NODE\n' +
        'a           x      1/1     Running   5m    10.244.1.2   node-1\n',
    );
    expect(renderObjects('Pod', [pod], { wide: true, namespaces: false, now })).toContain(
      '53/UDP   role=db\n',
    );
    const spec = { podSelector: { matchLabels: { role: 'db' } } };
    const policy = { ...pod, kind: 'NetworkPolicy', spec };
    expect(renderObjects('NetworkPolicy', [policy], { wide: false, namespaces: false, now })).toBe(
      'NAME   POD-SELECTOR   AGE\nx      role=db        5m\n',
    );
  });

  it('one by name is itself, several are a List', () => {
    expect(JSON.parse(renderMachine([pod], 'json', true))).toEqual(pod);
    expect(renderMachine([pod], 'yaml', false)).toContain('kind: List\n');
  });

  it.each([
    [59_999, '59s'],
    [119_000, '119s'],
    [600_000, '10m'],
    [7_200_000, '2h'],
    [200_000_000, '2d'],
  ])('%i ms is %s', (ms, text) => expect(formatDuration(ms)).toBe(text));
});

describe('ports', () => {
  it('are written 80,6379/TCP,53/udp', () => {
    expect(parsePorts('80,6379/TCP,53/udp')).toEqual([
      { protocol: 'TCP', port: 80 },
      { protocol: 'TCP', port: 6379 },
      { protocol: 'UDP', port: 53 },
    ]);
  });

  it.each(['', 'http', '0', '65536', '80/ICMP', '80,', '-1'])('"%s" is none', (text) => {
    expect(() => parsePorts(text)).toThrow('is no port');
  });
});

function result(source: string, outcome: ProbeResult['outcome'], more: object = {}): ProbeResult {
  return {
    source,
    destination: 'a/x',
    family: 4,
    sourceAddress: '10.244.1.3',
    destinationAddress: '10.244.1.2',
    protocol: 'TCP',
    port: 80,
    outcome,
    latencyMs: 1.25,
    evidence: { control: true, attempts: 1 },
    ...more,
  };
}

const drop = { node: 'node-1', direction: 'Ingress', packets: 2 };
const report: ProbeReport = {
  results: [
    result('a/y', 'OPEN'),
    result('world', 'DROPPED', { evidence: { control: true, attempts: 1, drop } }),
    result('b/z', 'ERROR', { reason: 'the control failed: no answer' }),
  ],
  sources: ['a/y', 'world', 'b/z'],
  destinations: ['a/x'],
  ports: [{ protocol: 'TCP', port: 80 }],
  wallMs: 500,
  perSecond: 6,
  simulated: false,
};

describe('probe reports', () => {
  it('as a table show the evidence of each', () => {
    expect(renderProbeTable(report, false)).toBe(
      'FROM    TO    PORT     ADDRESS      OUTCOME   LATENCY   EVIDENCE\n' +
        'a/y     a/x   TCP/80   10.244.1.2   OPEN      1.3 ms\n' +
        'world   a/x   TCP/80   10.244.1.2   DROPPED             ingress at node-1, 2 packets\n' +
        'b/z     a/x   TCP/80   10.244.1.2   ERROR               the control failed: no answer\n',
    );
    expect(renderProbeTable(report, true)).toContain('\u001b[31mDROPPED\u001b[0m');
  });

  it('as a matrix have a block per port and family, and say when they are simulated', () => {
    const text = renderProbeMatrix(report, { color: false, columns: 80 });
    expect(text).toContain('TCP 80 IPv4');
    expect(text).not.toContain('IPv6');
    expect(text).not.toContain('SIMULATED');
    const simulated = renderProbeMatrix(
      { ...report, simulated: true },
      { color: false, columns: 80 },
    );
    expect(simulated).toMatch(/^SIMULATED: no packet was sent\n/);
  });

  it('end in one line', () => {
    expect(probeSummary(report)).toBe('3 probes: 1 OPEN, 1 DROPPED, 1 ERROR in 0.5 s (6/s)');
  });
});
