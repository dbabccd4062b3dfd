/**
 * The agent with no more rights than deploy/ gives it: root's user id, CAP_NET_ADMIN alone, no new
 * privileges, in a network of its own without an API.
 */
import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { expect, it } from 'vitest';
import { writeStateFile } from '../../src/agent/state-file.ts';
import type { KubeObject } from '../../src/k8s/types.ts';
import { run } from '../../src/system/exec.ts';
import { clusterObjects, networkPolicy } from '../contract/dataplane.ts';
import { canMakeBed } from './dataplane/bed.ts';

const limited = [
  'setpriv',
  '--bounding-set=-all,+net_admin',
  '--inh-caps=-all,+net_admin',
  '--no-new-privs',
];
const possible =
  (await canMakeBed()) ??
  ((await run('sh', ['-c', 'command -v setpriv'])).code === 0 ? undefined : 'no setpriv here');
if (possible !== undefined) console.warn(`deploy e2e tests skipped: ${possible}`);

it.skipIf(possible !== undefined)(
  'CAP_NET_ADMIN is enough to enforce, check and watch',
  async () => {
    const directory = mkdtempSync(join(tmpdir(), 'podwall-deploy-'));
    const stateFile = join(directory, 'state');
    const kubeconfig = join(directory, 'kubeconfig');
    const deny = networkPolicy('deny', { podSelector: {}, policyTypes: ['Ingress'] });
    await writeStateFile(stateFile, [...clusterObjects(), deny] as KubeObject[], Date.now());
    writeFileSync(
      kubeconfig,
      JSON.stringify({
        apiVersion: 'v1',
        kind: 'Config',
        'current-context': 'test',
        clusters: [{ name: 'c', cluster: { server: 'http://127.0.0.1:9' } }],
        users: [{ name: 'u', user: {} }],
        contexts: [{ name: 'test', context: { cluster: 'c', user: 'u' } }],
      }),
    );
    const child = spawn(
      'unshare',
      [
        '--net',
        ...limited,
        process.execPath,
        '--import',
        import.meta.resolve('tsx'),
        new URL('cli-process.ts', import.meta.url).pathname,
        'agent',
        '--node=node-1',
        `--kubeconfig=${kubeconfig}`,
        `--socket=${join(directory, 'agent.sock')}`,
        '--listen=',
        `--state-file=${stateFile}`,
      ],
      { stdio: ['ignore', 'ignore', 'pipe'] },
    );
    try {
      const messages: string[] = [];
      const says = (text: string): boolean => messages.some((line) => line.includes(text));
      createInterface({ input: child.stderr }).on('line', (line) => messages.push(line));
      const limit = Date.now() + 20_000;
      while (!(says('"applied"') && says('ip_forward is 0'))) {
        if (Date.now() > limit || child.exitCode !== null) throw new Error(messages.join('\n'));
        await new Promise((resolve) => setTimeout(resolve, 50));
      }
      const { stdout: caps } = await run('grep', ['CapEff', `/proc/${child.pid}/status`]);
      expect(caps.trim()).toBe('CapEff:\t0000000000001000');
      const { stdout } = await run('nsenter', [
        `--net=/proc/${child.pid}/ns/net`,
        'nft',
        'list',
        'table',
        'inet',
        'podwall',
      ]);
      expect(stdout).toMatch(/10\.244\.1\.\d+ : goto d_in|10\.244\.1\.\d+ : goto i_/);
      for (const bad of [
        'could not be checked',
        'nft cannot be used',
        'nft monitor ended',
        'not permitted',
      ])
        expect(messages.filter((line) => line.includes(bad))).toEqual([]);
    } finally {
      const ended = new Promise((resolve) => child.once('exit', resolve));
      child.kill('SIGTERM');
      await ended;
      rmSync(directory, { recursive: true });
    }
  },
);
