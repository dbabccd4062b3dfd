import { spawn, type ChildProcess } from 'node:child_process';
import { describe, expect, it } from 'vitest';
import { startApi, type ApiOrder } from './api-child.ts';
import { defaultLabConfig } from './config.ts';

const order: ApiOrder = {
  config: defaultLabConfig,
  stateDir: '/nowhere',
  agents: false,
  stateFile: '/nowhere/lab.json',
};

/** A process in the API's place; `line` is the order it was given. */
const child = (script: string): ChildProcess =>
  spawn(
    process.execPath,
    ['-e', `process.stdin.once('data', (chunk) => { const line = String(chunk); ${script} });`],
    { stdio: ['pipe', 'pipe', 'inherit'] },
  );
const ready = (more = ''): string =>
  `console.log(JSON.stringify({ kind: 'ready', status: { server: JSON.parse(line).stateDir, kubeconfig: JSON.parse(line).stateFile } })); ${more}`;

describe('starting the API', () => {
  it('hands the order over as one line, and resolves with what the API says of itself', async () => {
    const api = child(ready('process.stdin.resume()'));
    const status = await startApi(order, () => {}, api);
    expect(status).toEqual({
      server: '/nowhere',
      kubeconfig: '/nowhere/lab.json',
      pid: api.pid,
    });
    api.kill();
  });

  it('says why the API could not start', async () => {
    const failed = JSON.stringify({
      kind: 'failed',
      error: { name: 'LabError', message: 'the state file is damaged' },
    });
    const api = child(`console.log(${JSON.stringify(failed)}); process.exit(1)`);
    await expect(startApi(order, () => {}, api)).rejects.toThrow(
      'the API: the state file is damaged',
    );
  });

  it('notices an end before it was ready, and one after', async () => {
    await expect(startApi(order, () => {}, child('process.exit(3)'))).rejects.toThrow(
      'the API ended while it started',
    );
    const code = await new Promise((resolve, reject) => {
      startApi(order, resolve, child(ready('setTimeout(() => process.exit(7), 20)'))).catch(reject);
    });
    expect(code).toBe(7);
  });

  it('says that there is no such program', async () => {
    const api = spawn('/nowhere/program', [], { stdio: ['pipe', 'pipe', 'inherit'] });
    await expect(startApi(order, () => {}, api)).rejects.toThrow('ENOENT');
  });
});
