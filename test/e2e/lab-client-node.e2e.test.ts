/**
 * The JavaScript client of Kubernetes against a lab with real pods: informers through every trouble a
 * watch can have, and exec.
 */
import { PassThrough } from 'node:stream';
import {
  CoreV1Api,
  Exec,
  KubeConfig,
  makeInformer,
  NetworkingV1Api,
  type V1Pod,
  type V1Status,
} from '@kubernetes/client-node';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createCliLab, whyNoLab } from './cli-lab.ts';

const unavailable = await whyNoLab();
if (unavailable !== undefined) console.log(`SKIPPED: client-node on the lab: ${unavailable}`);
const lab = createCliLab('podwall-client-node-');

const namespace = 'default';
const podOf = (name: string, labels: Record<string, string> = {}): V1Pod => ({
  apiVersion: 'v1',
  kind: 'Pod',
  metadata: { name, labels },
  spec: { containers: [{ name: 'c', image: 'nginx', ports: [{ containerPort: 80 }] }] },
});

describe.skipIf(unavailable !== undefined)('@kubernetes/client-node on real pods', () => {
  const config = new KubeConfig();
  let core: CoreV1Api;

  beforeAll(async () => {
    await lab.up('--empty', '--nodes', '1');
    config.loadFromFile(lab.kubeconfig);
    core = config.makeApiClient(CoreV1Api);
    await core.createNamespacedPod({ namespace, body: podOf('first') });
  });
  afterAll(() => lab.end());

  const ready = async (name: string): Promise<boolean> => {
    const pod = await core.readNamespacedPod({ namespace, name });
    return (pod.status?.conditions ?? []).some((c) => c.type === 'Ready' && c.status === 'True');
  };

  describe('an informer', () => {
    let informer: ReturnType<typeof makeInformer<V1Pod>>;
    const seen: string[] = [];
    let connects = 0;
    const names = (): string[] =>
      informer
        .list(namespace)
        .map((pod) => pod.metadata?.name ?? '')
        .sort();

    beforeAll(async () => {
      informer = makeInformer<V1Pod>(config, `/api/v1/namespaces/${namespace}/pods`, () =>
        core.listNamespacedPod({ namespace }),
      );
      for (const event of ['add', 'update', 'delete'] as const)
        informer.on(event, (pod) => void seen.push(`${event} ${pod.metadata?.name}`));
      informer.on('connect', () => void (connects += 1));
      // As its documentation says: a broken watch is started again.
      informer.on('error', () => void informer.start());
      await informer.start();
    });
    afterAll(() => informer.stop());

    it('lists, then follows what is made, labelled and deleted', async () => {
      expect(names()).toEqual(['first']);
      await core.createNamespacedPod({ namespace, body: podOf('second') });
      await expect.poll(names).toEqual(['first', 'second']);
      await expect.poll(() => ready('second')).toBe(true);
      await expect
        .poll(() => informer.get('second', namespace)?.status?.podIP)
        .toMatch(/^10\.244\./);
      expect(seen).toContain('add second');
      expect(seen).toContain('update second');
      await core.deleteNamespacedPod({ namespace, name: 'second', gracePeriodSeconds: 0 });
      await expect.poll(() => seen).toContain('delete second');
      expect(names()).toEqual(['first']);
    });

    it.each([
      ['ends', ['close']],
      ['is cut', ['reset']],
      ['is told that history is gone', ['expire']],
      ['loses its server for a moment', ['restart', '300']],
    ])('goes on when its watch %s', async (trouble, order) => {
      const name = `after-${trouble.replaceAll(' ', '-')}`;
      const before = connects;
      const fault = await lab.podwall('lab', 'fault', ...order);
      expect(fault, fault.text).toMatchObject({ code: 0 });
      await expect
        .poll(
          () =>
            core.createNamespacedPod({ namespace, body: podOf(name) }).then(
              () => 'created',
              (error: { code?: number }) => (error.code === 409 ? 'created' : 'refused'),
            ),
          { timeout: 10_000 },
        )
        .toBe('created');
      await expect.poll(names, { timeout: 20_000 }).toContain(name);
      expect(connects).toBeGreaterThan(before);
      // The new watch delivers, too, not only the list.
      await core.deleteNamespacedPod({ namespace, name, gracePeriodSeconds: 0 });
      await expect.poll(names, { timeout: 20_000 }).not.toContain(name);
    });
  });

  interface Outcome {
    readonly out: string;
    readonly err: string;
    readonly status: V1Status;
  }

  async function exec(command: string[], input?: string, tty = false): Promise<Outcome> {
    const stdout = new PassThrough();
    const stderr = new PassThrough();
    const stdin = input === undefined ? null : new PassThrough();
    const read = { out: '', err: '' };
    stdout.on('data', (chunk: Buffer) => (read.out += chunk.toString()));
    stderr.on('data', (chunk: Buffer) => (read.err += chunk.toString()));
    const status = await new Promise<V1Status>((resolve, reject) => {
      new Exec(config)
        .exec(namespace, 'first', 'c', command, stdout, tty ? null : stderr, stdin, tty, resolve)
        .catch(reject);
      stdin?.end(input);
    });
    return { ...read, status };
  }

  it('exec: output, errors, exit code', async () => {
    await expect.poll(() => ready('first')).toBe(true);
    const outcome = await exec(['sh', '-c', 'echo out; echo err >&2; exit 7']);
    expect(outcome).toMatchObject({ out: 'out\n', err: 'err\n', status: { status: 'Failure' } });
    expect(outcome.status.details?.causes?.[0]).toMatchObject({ reason: 'ExitCode', message: '7' });
    expect(await exec(['hostname', '-I'])).toMatchObject({
      out: expect.stringMatching(/^10\.244\./) as string,
      status: { status: 'Success' },
    });
  });

  it('exec: standard input, and a terminal', async () => {
    expect(await exec(['head', '-n', '1'], 'through\n')).toMatchObject({ out: 'through\n' });
    expect((await exec(['tty'], '', true)).out).toMatch(/\/dev\/pts\//);
  });

  it('a policy is made with types and decides about packets', async () => {
    const networking = config.makeApiClient(NetworkingV1Api);
    await core.createNamespacedPod({ namespace, body: podOf('client') });
    await expect.poll(() => ready('client')).toBe(true);
    const { status } = await core.readNamespacedPod({ namespace, name: 'client' });
    const connect = ['/agnhost', 'connect', `${status?.podIP}:80`, '--timeout=2s'];
    expect((await exec(connect)).status.status).toBe('Success');
    await networking.createNamespacedNetworkPolicy({
      namespace,
      body: { metadata: { name: 'deny' }, spec: { podSelector: {}, policyTypes: ['Ingress'] } },
    });
    expect((await exec(connect)).status.status).toBe('Failure');
    await networking.deleteNamespacedNetworkPolicy({ namespace, name: 'deny' });
    expect((await exec(connect)).status.status).toBe('Success');
  });
});
