import { readdirSync } from 'node:fs';
import { expect, it } from 'vitest';
import { parse } from 'yaml';
import type { Reachability } from '../reachability.ts';
import { formats } from './index.ts';

const result: Reachability = {
  apiVersion: 'podwall/v1',
  kind: 'Reachability',
  completeness: { objects: 4 },
  peers: [
    { id: 'dev/web', kind: 'pod', namespace: 'dev', name: 'web', addresses: ['10.0.0.1'] },
    { id: 'prod/Deployment/db', kind: 'workload', namespace: 'prod', name: 'db', pods: 2 },
    { id: '10.0.0.0-10.0.0.255', kind: 'ipBlock', addresses: ['10.0.0.0/24'] },
  ],
  connections: [
    {
      src: 'dev/web',
      dst: 'prod/Deployment/db',
      allow: [{ protocol: 'TCP', port: 80, endPort: 90 }],
    },
    { src: 'prod/Deployment/db', dst: 'dev/web', allow: 'all' },
  ],
  unknown: [{ src: '10.0.0.0-10.0.0.255', dst: 'dev/web', allow: [{ protocol: 'UDP', port: 53 }] }],
};

const options = { color: false, columns: 80 };

function rendered(name: string): string {
  return formats.find((format) => format.name === name)?.render(result, options) ?? '';
}

it('lists every file of the folder', () => {
  const files = readdirSync(import.meta.dirname)
    .filter((file) => !['index.ts', 'format.ts', 'formats.test.ts'].includes(file))
    .map((file) => file.replace('.ts', ''));
  expect(formats.map((format) => format.name).toSorted()).toEqual(files.toSorted());
});

it.each(formats.map((format) => [format.name]))(
  '%s names every peer and ends in a newline',
  (name) => {
    const text = rendered(name);
    expect(text.endsWith('\n')).toBe(true);
    for (const peer of ['web', 'db', '10.0.0.0-10.0.0.255']) expect(text).toContain(peer);
  },
);

it('json and yaml carry the whole document', () => {
  expect(JSON.parse(rendered('json'))).toEqual(result);
  expect(parse(rendered('yaml'))).toEqual(result);
});

it('table shows ranges and what is not decided', () => {
  expect(rendered('table')).toMatchInlineSnapshot(`
    "SOURCE               DESTINATION         OPEN
    dev/web              prod/Deployment/db  TCP 80-90
    prod/Deployment/db   dev/web             all
    10.0.0.0-10.0.0.255  dev/web             UNKNOWN UDP 53
    "
  `);
});

it('matrix tells any, some, none and unknown apart', () => {
  expect(rendered('matrix')).toMatchInlineSnapshot(`
    "● any port  ◐ some ports  ○ none  ? not decided  · itself

                           1 2 3
    1  dev/web             · ◐ ○
    2  prod/Deployment/db  ● · ○
    3  10.0.0.0-10.0.0.255 ? ○ ·
    "
  `);
});

it('csv has one line a range', () => {
  expect(rendered('csv').trimEnd().split('\r\n')).toHaveLength(4);
});

it('escapes names in svg and html', () => {
  const bad = {
    ...result,
    peers: [{ id: '<b>&"', kind: 'pod' as const }],
    connections: [],
    unknown: [],
  };
  for (const name of ['svg', 'html']) {
    const text = formats.find((format) => format.name === name)?.render(bad, options) ?? '';
    expect(text).not.toContain('<b>&');
    expect(text).toContain('&lt;b&gt;&amp;');
  }
});
