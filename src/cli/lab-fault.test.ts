import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Command } from 'commander';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { startAdminSocket } from '../lab/api/admin.ts';
import { createFakeRuntime } from '../lab/api/fake-runtime.ts';
import { startLabApi, type LabApi } from '../lab/api/start.ts';
import { faultSocketPath } from '../lab/state-dir.ts';
import { CliError, type Io } from './command.ts';
import { declareFault, runFault } from './lab-fault.ts';

let api: LabApi;
let folder: string;
let admin: { stop(): Promise<void> };

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'podwall-fault-'));
  api = await startLabApi({ runtime: createFakeRuntime(), seed: 1, recordEvents: false });
  admin = await startAdminSocket(api, faultSocketPath(folder));
});
afterAll(async () => {
  await admin.stop();
  await api.stop();
  await rm(folder, { recursive: true, force: true });
});
beforeEach(() => api.faults.clear());

/** A command line as `podwall lab` takes it. */
async function fault(line: string, stateDir = folder): Promise<string> {
  let out = '';
  const io: Io = {
    out: (text) => void (out += text),
    err: () => {},
    stdin: process.stdin,
    isTty: false,
    color: false,
    columns: 100,
    env: {},
    cwd: '/',
    signal: new AbortController().signal,
  };
  const lab = new Command('lab').exitOverride();
  declareFault(lab);
  const leaf = lab.commands[0] as Command;
  leaf.action(async () => {
    await runFault(io, stateDir, leaf.args, leaf.opts());
  });
  await lab.parseAsync(['fault', ...line.split(' ')], { from: 'user' });
  return out;
}

describe('rules', () => {
  it.each([
    ['code 429 --retry-after 2 --times 5', { code: 429, retryAfterSeconds: 2, times: 5 }],
    ['code 403 --resource networkpolicies', { code: 403, resource: 'networkpolicies' }],
    ['cut --verb list', { reset: true, verb: 'list' }],
    ['slow 3000 --resource pods --user x', { delayMs: 3000, resource: 'pods', user: 'x' }],
    ['pages 7', { pageSize: 7 }],
    ['split 10 --probability 0.5', { splitBytes: 10, probability: 0.5 }],
    ['partial 900', { cutBytes: 900 }],
    ['short 50', { watchForMs: 50, watchEnd: 'close' }],
    ['short 50 --end stall', { watchForMs: 50, watchEnd: 'stall' }],
    ['duplicate', { duplicate: true }],
    ['no-bookmarks', { noBookmarks: true }],
    ['no-watchlist', { noWatchList: true }],
    ['no-end-bookmark', { dropEndBookmark: true }],
    ['late-delete 9', { lateDeleteMs: 9 }],
  ])('%s', async (line, rule) => {
    expect(await fault(line)).toMatch(/^fault-\d+ is in force: /);
    const [{ id, left, ...rest } = {}] = api.faults.list();
    expect(rest).toEqual(rule);
    expect(id).toMatch(/^fault-/);
    expect(left).toBe((rule as { times?: number }).times);
  });

  it('list and clear, one or all', async () => {
    const [first = ''] = (await fault('code 500')).split(' ');
    await fault('slow 1');
    expect(await fault('list')).toMatch(
      /^fault-\d+ {2}code=500\nfault-\d+ {2}delayMs=1\n0 open watches, 0 stalled\n$/,
    );
    expect(await fault(`clear ${first}`)).toBe(`${first} removed\n`);
    expect(api.faults.list()).toMatchObject([{ delayMs: 1 }]);
    expect(await fault('clear')).toBe(
      '1 rule removed, 0 watches resumed, 0 addresses given back\n',
    );
    expect(JSON.parse(await fault('list -o json'))).toEqual({
      faults: [],
      watches: 0,
      stalled: 0,
      addresses: [],
    });
  });
});

describe('at once', () => {
  it.each(['close', 'reset', 'expire', 'stall', 'resume', 'repeat', 'replay', 'replay 3'])(
    '%s says how many watches there were',
    async (line) => expect(await fault(`${line} --resource pods`)).toBe('0 watches\n'),
  );

  it('skip, compact, restart', async () => {
    const before = api.store.version();
    expect(await fault('skip 100')).toBe(`the resource version is ${before + 100}\n`);
    expect(await fault('compact')).toBe(`the resource version is ${before + 100}\n`);
    expect(api.store.oldest()).toBe(before + 100);
    expect(await fault('restart 1')).toBe('the API answers again\n');
  });

  it('rotates a token without showing it', async () => {
    const token = api.addToken({ name: 'walker', groups: [] });
    const out = await fault('rotate-token --user walker -o json');
    expect(JSON.parse(out)).toEqual({ user: 'walker' });
    expect(out).not.toContain(token);
  });
});

it.each([
  ['nonsense', /no such fault: nonsense/],
  ['slow', /needs a whole number/],
  ['slow 1.5', /needs a whole number/],
  ['code 500 501', /too many words/],
  ['close --times 3', /takes no --times/],
  ['slow 5 --retry-after 1', /takes no --retry-after/],
  ['slow 5 --end reset', /takes no --end/],
  ['code 200', /must be one of 401/],
  ['code 500 --times many', /--times many is no number/],
  ['code 500 --resource pod', /must be the plural, pods/],
  ['reuse-ip dev/a', /needs two pods/],
  ['reuse-ip dev/a dev/b', /no pod dev\/a/],
  ['clear fault-none', /there is no fault fault-none/],
  ['list -o yaml', /no such output format/],
])('%s: refused', async (line, why) => {
  const refusal = await fault(line).catch((error: unknown) => error);
  expect(refusal).toBeInstanceOf(CliError);
  expect(refusal).toMatchObject({ code: 2, message: expect.stringMatching(why) as string });
  expect(api.faults.list()).toEqual([]);
});

it('says so when the lab has no API', async () => {
  await expect(fault('list', join(folder, 'nowhere'))).rejects.toMatchObject({
    code: 3,
    message: 'this lab has no API, or it has ended',
  });
});
