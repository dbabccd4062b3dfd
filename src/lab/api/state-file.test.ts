import { spawn } from 'node:child_process';
import {
  chmodSync,
  existsSync,
  mkdtempSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { createFakeRuntime } from './fake-runtime.ts';
import { stringAt, type ApiObject } from './object.ts';
import { kindOf } from './registry.ts';
import { startLabApi, type LabApi } from './start.ts';
import { keepState, loadState, revived } from './state-file.ts';
import { createStore } from './store.ts';

const podType = kindOf('v1', 'Pod');
const mapType = kindOf('v1', 'ConfigMap');
const serviceType = kindOf('v1', 'Service');

let folder: string;
let file: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'podwall-state-'));
  file = join(folder, 'state.json');
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

const fail = (error: unknown): never => {
  throw error;
};
const start = (): Promise<LabApi> =>
  startLabApi({
    runtime: createFakeRuntime(),
    seed: 1,
    state: { file, shape: { nodes: ['node-1'] }, onTrouble: fail },
  });
const pod = (name: string, more: Partial<ApiObject> = {}): ApiObject => ({
  apiVersion: 'v1',
  kind: 'Pod',
  metadata: { name },
  spec: { containers: [{ name: 'c', image: 'i' }] },
  ...more,
});
const until = async (done: () => boolean): Promise<void> => {
  for (let tries = 0; !done(); tries += 1) {
    if (tries > 1000) throw new Error(`never: ${done.toString()}`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
};
const phase = (api: LabApi, name: string): string =>
  stringAt(api.store.get(podType.bucket, `default/${name}`), 'status', 'phase');

describe('a lab that comes back', () => {
  it('has every object with its uid, later versions, and pods that start again', async () => {
    const first = await start();
    first.writer.create(podType, 'default', pod('stays'));
    const made = first.writer.create(serviceType, 'default', {
      apiVersion: 'v1',
      kind: 'Service',
      metadata: { name: 'web' },
      spec: { selector: { app: 'web' }, ports: [{ port: 80 }] },
    });
    await until(() => phase(first, 'stays') === 'Running');
    const before = first.store.get(podType.bucket, 'default/stays');
    const version = first.store.version();
    await first.stop();
    expect(statSync(file).mode & 0o777).toBe(0o600);
    expect(existsSync(`${file}.tmp`)).toBe(false);

    let seenBeforePods = '';
    const second = await startLabApi({
      runtime: createFakeRuntime(),
      state: { file, shape: { nodes: ['node-1'] }, onTrouble: fail },
      beforePods: async (store) => {
        const kept = store.get(podType.bucket, 'default/stays');
        seenBeforePods = `${stringAt(kept, 'status', 'phase')} ${stringAt(kept, 'status', 'podIP')}`;
      },
    });
    // It has no address before it runs: nobody may believe the old one.
    expect(seenBeforePods).toBe('Pending ');
    expect(second.store.version()).toBeGreaterThan(version);
    await until(() => phase(second, 'stays') === 'Running');
    const after = second.store.get(podType.bucket, 'default/stays');
    expect(after?.metadata.uid).toBe(before?.metadata.uid);
    expect(after?.['spec']).toEqual(before?.['spec']);
    expect(Number(after?.metadata.resourceVersion)).toBeGreaterThan(version);
    const service = second.store.get(serviceType.bucket, 'default/web');
    expect(service?.['spec']).toEqual(made['spec']);
    // Who watched the first one cannot resume.
    expect(second.store.eventsAfter(podType.bucket, version)).toBeUndefined();
    expect(second.store.eventsAfter(podType.bucket, second.store.oldest())).toBeDefined();
    await second.stop();
  });

  it('renews what names the server itself: its authority and its port', async () => {
    const first = await start();
    await until(() => first.store.get(mapType.bucket, 'default/kube-root-ca.crt') !== undefined);
    await first.stop();
    const second = await start();
    const authority = (): string =>
      stringAt(second.store.get(mapType.bucket, 'default/kube-root-ca.crt'), 'data', 'ca.crt');
    await until(() => authority() === second.certificate.cert);
    expect(authority()).not.toBe(first.certificate.cert);
    const { port } = new URL(second.url);
    expect(JSON.stringify(second.store.get(serviceType.bucket, 'default/kubernetes'))).toContain(
      `"targetPort":${port}`,
    );
    await second.stop();
  });

  it('does not bring back pods that were being deleted, nor run pods that had ended', () => {
    const at = (name: string, more: Partial<ApiObject>): ApiObject => ({ ...pod(name), ...more });
    const { objects, version } = revived({
      version: 7,
      objects: [
        at('going', { metadata: { name: 'going', deletionTimestamp: 'x' } }),
        at('held', { metadata: { name: 'held', deletionTimestamp: 'x', finalizers: ['a/b'] } }),
        at('done', { status: { phase: 'Succeeded' } }),
        at('up', { status: { phase: 'Running', podIP: '10.0.0.1', qosClass: 'BestEffort' } }),
      ].map((object) => ({ bucket: '/pods', key: `default/${object.metadata.name}`, object })),
    });
    expect(version).toBeGreaterThan(1000);
    expect(objects.map(({ key, object }) => [key, object['status']])).toEqual([
      ['default/held', { phase: 'Pending' }],
      ['default/done', { phase: 'Succeeded' }],
      ['default/up', { phase: 'Pending', qosClass: 'BestEffort' }],
    ]);
  });
});

describe('a file that cannot be used', () => {
  const whole = async (): Promise<string> => {
    const api = await start();
    api.writer.create(podType, 'default', pod('one'));
    await api.stop();
    return readFileSync(file, 'utf8');
  };

  it.each([
    ['cut off', (text: string) => text.slice(0, text.length / 2), /damaged: it is not whole JSON/],
    ['empty', () => '', /damaged: it is empty/],
    ['zeros', (text: string) => '\0'.repeat(text.length), /damaged: it is not whole JSON/],
    ['of somebody else', () => '{"kind":"List","items":[]}', /is not the state of a lab/],
    [
      'of a later podwall',
      (text: string) => text.replace('"formatVersion":1', '"formatVersion":2'),
      /format 2, this one reads 1/,
    ],
    [
      'without a version',
      (text: string) => text.replace(/"version":\d+/, '"version":"x"'),
      /it has no version/,
    ],
    [
      'with an unknown kind',
      (text: string) => text.replace('"bucket":"/pods"', '"bucket":"/pads"'),
      /is of no kind this podwall knows \(\/pads\)/,
    ],
    [
      'with a foreign key',
      (text: string) => text.replace('"key":"default/one"', '"key":"default/two"'),
      /has a key of another/,
    ],
    [
      'with an object twice',
      (text: string) => {
        const state = JSON.parse(text) as { objects: unknown[] };
        return JSON.stringify({ ...state, objects: [...state.objects, ...state.objects] });
      },
      /is there twice/,
    ],
    [
      'with objects newer than itself',
      (text: string) => text.replace(/"version":\d+/, '"version":1'),
      /is newer than the file/,
    ],
  ])('%s: refused with what to do, and left as it is', async (_name, spoil, why) => {
    const spoilt = spoil(await whole());
    writeFileSync(file, spoilt);
    await expect(start()).rejects.toThrow(why);
    await expect(start()).rejects.toThrow(/name another file|\.damaged/);
    expect(readFileSync(file, 'utf8')).toBe(spoilt);
  });

  it('a directory, or one that cannot be written, is said at the start', async () => {
    await expect(loadState(folder)).rejects.toThrow('is a directory');
    const nowhere = join(folder, 'none', 'state.json');
    await expect(
      startLabApi({
        runtime: createFakeRuntime(),
        state: { file: nowhere, shape: {}, onTrouble: fail },
      }),
    ).rejects.toThrow(/cannot be written to .*ENOENT/);
  });
});

describe('saving', () => {
  const store = createStore();
  const put = (name: string): void => {
    const metadata = { name, namespace: 'default', uid: name };
    store.put(mapType.bucket, `default/${name}`, { apiVersion: 'v1', kind: 'ConfigMap', metadata });
  };

  it('follows changes by itself, and leaves events out', async () => {
    const keeper = keepState(store, file, { shape: {}, everyMs: 1, onTrouble: fail });
    put('a');
    store.put('/events', 'default/e', {
      apiVersion: 'v1',
      kind: 'Event',
      metadata: { name: 'e', namespace: 'default', uid: 'e' },
    });
    await until(() => existsSync(file));
    await keeper.stop();
    expect((await loadState(file))?.objects.map(({ key }) => key)).toEqual(['default/a']);
  });

  it('says what it could not save, and tries again', async () => {
    const troubles: unknown[] = [];
    const keeper = keepState(store, file, {
      shape: {},
      everyMs: 1,
      onTrouble: (error) => troubles.push(error),
    });
    await keeper.save();
    renameSync(file, `${file}.mine`);
    writeFileSync(file, 'of somebody else');
    chmodSync(file, 0o600);
    put('b');
    await until(() => troubles.length > 0);
    expect(String(troubles[0])).toContain('replaced by somebody else');
    expect(readFileSync(file, 'utf8')).toBe('of somebody else');
    await expect(keeper.save()).rejects.toThrow('replaced');
    renameSync(`${file}.mine`, file);
    await keeper.save();
    expect((await loadState(file))?.objects.map(({ key }) => key)).toContain('default/b');
    await keeper.stop();
  });
});

/** Writes without pause and says what is safe; killed from outside. */
const writer = (at: string): string => `
const { createStore } = await import('${new URL('./store.ts', import.meta.url).href}');
const { keepState, loadState, revived } = await import('${new URL('./state-file.ts', import.meta.url).href}');
const saved = await loadState(${JSON.stringify(at)});
const store = createStore(saved === undefined ? {} : { initial: revived(saved) });
const keeper = keepState(store, ${JSON.stringify(at)}, { shape: { run: 1 }, everyMs: 1, onTrouble: (e) => { throw e; } });
const fill = 'x'.repeat(2000);
for (let n = 0; ; n += 1) {
  for (let i = 0; i < 20; i += 1) {
    const name = 'm' + ((n * 20 + i) % 500);
    const metadata = { name, namespace: 'default', uid: name };
    store.put('/configmaps', 'default/' + name, { apiVersion: 'v1', kind: 'ConfigMap', metadata, data: { fill, n: String(n) } });
  }
  const safe = store.version();
  await keeper.save();
  process.stdout.write(safe + '\\n');
}`;

it('a process killed at any moment leaves the last state whole; versions only grow', async () => {
  const tsx = pathToFileURL(createRequire(import.meta.url).resolve('tsx')).href;
  let highest = 0;
  for (let round = 0; round < 6; round += 1) {
    const child = spawn(
      process.execPath,
      ['--import', tsx, '--input-type=module', '-e', writer(file)],
      { stdio: ['ignore', 'pipe', 'inherit'] },
    );
    let safe = 0;
    let lines = 0;
    const wanted = 3 + round * 2;
    await new Promise<void>((resolve, reject) => {
      child.on('error', reject);
      child.on('exit', () => resolve());
      child.stdout.on('data', (chunk: Buffer) => {
        const found = chunk.toString('utf8').trim().split('\n');
        lines += found.length;
        safe = Number(found.at(-1));
        // Somewhere in the middle of the next saves.
        if (lines >= wanted) setTimeout(() => child.kill('SIGKILL'), (round * 7) % 5);
      });
    });
    const state = await loadState(file);
    expect(state?.version).toBeGreaterThanOrEqual(safe);
    expect(safe).toBeGreaterThan(highest);
    highest = state?.version ?? 0;
    expect(state?.objects.length).toBeGreaterThan(0);
    expect(state?.shape).toEqual({ run: 1 });
  }
});
