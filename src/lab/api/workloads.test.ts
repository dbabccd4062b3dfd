/**
 * What the controllers make of workloads, services and nodes, with the fake runtime.
 */
import { afterAll, beforeAll, expect, it } from 'vitest';
import { createFakeRuntime } from './fake-runtime.ts';
import { at, type ApiObject, type JsonObject, listAt, numberAt, stringAt } from './object.ts';
import { kindOf } from './registry.ts';
import { type LabApi, startLabApi } from './start.ts';

let api: LabApi;
const runtime = createFakeRuntime({ startMs: 2 });
const types = {
  pod: kindOf('v1', 'Pod'),
  service: kindOf('v1', 'Service'),
  slice: kindOf('discovery.k8s.io/v1', 'EndpointSlice'),
  deployment: kindOf('apps/v1', 'Deployment'),
  set: kindOf('apps/v1', 'StatefulSet'),
  daemon: kindOf('apps/v1', 'DaemonSet'),
  job: kindOf('batch/v1', 'Job'),
};

beforeAll(async () => {
  api = await startLabApi({
    runtime,
    seed: 1,
    nodes: ['n1', 'n2', 'n3'].map((name, index) => ({
      name,
      addresses: [`172.18.0.${index + 2}`],
      labels: { zone: index === 0 ? 'a' : 'b' },
    })),
  });
});
afterAll(() => api.stop());

async function until(holds: () => boolean, what: string): Promise<void> {
  for (let tries = 0; tries < 400 && !holds(); tries += 1)
    await new Promise((resolve) => setTimeout(resolve, 10));
  expect(holds(), what).toBe(true);
}

const podsOf = (app: string): ApiObject[] =>
  api.store.list('/pods').objects.filter((pod) => pod.metadata.labels?.['app'] === app);
const get = (type: { bucket: string }, name: string): ApiObject | undefined =>
  api.store.get(type.bucket, `default/${name}`);
const make = (type: typeof types.pod, name: string, spec: JsonObject): ApiObject =>
  api.writer.create(type, 'default', { apiVersion: '', kind: '', metadata: { name }, spec });
const template = (app: string, more: JsonObject = {}): JsonObject => ({
  selector: { matchLabels: { app } },
  template: {
    metadata: { labels: { app } },
    spec: {
      containers: [{ name: 'c', image: 'i1', ports: [{ name: 'http', containerPort: 8080 }] }],
      ...more,
    },
  },
});
const change = (type: typeof types.pod, name: string, edit: (spec: JsonObject) => void): void => {
  api.writer.update(type, 'default', name, (old) => {
    const next = structuredClone(old);
    edit(next['spec'] as JsonObject);
    return next;
  });
};

it('a deployment rolls without going below its minimum, and its old set is kept for undo', async () => {
  make(types.deployment, 'roll', { replicas: 4, ...template('roll') });
  const ready = (): number =>
    numberAt(get(types.deployment, 'roll'), 'status', 'readyReplicas') ?? 0;
  await until(() => ready() === 4, 'four are ready');
  let least = 4;
  const end = api.store.listen('/pods', () => {
    const alive = podsOf('roll').filter(
      (pod) =>
        pod.metadata.deletionTimestamp === undefined &&
        stringAt(pod, 'status', 'phase') === 'Running',
    );
    least = Math.min(least, alive.length);
  });
  change(types.deployment, 'roll', (spec) => {
    for (const container of listAt(spec, 'template', 'spec', 'containers'))
      container['image'] = 'i2';
  });
  await until(
    () =>
      ready() === 4 &&
      podsOf('roll').length === 4 &&
      podsOf('roll').every((pod) => stringAt(pod, 'spec', 'containers', 0, 'image') === 'i2'),
    'all run the new image',
  );
  end();
  expect(least).toBeGreaterThanOrEqual(3);
  const sets = api.store
    .list('apps/replicasets')
    .objects.filter((s) => s.metadata.labels?.['app'] === 'roll');
  expect(new Set(sets.map((s) => numberAt(s, 'spec', 'replicas')))).toEqual(new Set([0, 4]));
});

it('a stateful set counts up in order and down from the top', async () => {
  make(types.set, 'st', { replicas: 3, serviceName: 'st', ...template('st') });
  const order: string[] = [];
  const end = api.store.listen('/pods', (event) => {
    if (event.object.metadata.labels?.['app'] !== 'st') return;
    if (event.type !== 'MODIFIED') order.push(`${event.type} ${event.object.metadata.name}`);
  });
  await until(
    () => numberAt(get(types.set, 'st'), 'status', 'readyReplicas') === 3,
    'three are ready',
  );
  expect(get(types.pod, 'st-1')).toMatchObject({ spec: { hostname: 'st-1', subdomain: 'st' } });
  change(types.set, 'st', (spec) => {
    spec['replicas'] = 1;
  });
  await until(() => podsOf('st').length === 1, 'one is left');
  end();
  expect(order.slice(-5)).toEqual(
    ['ADDED st-0', 'ADDED st-1', 'ADDED st-2', 'DELETED st-2', 'DELETED st-1'].slice(-order.length),
  );
});

it('a daemon set has one pod on each node that its selector admits', async () => {
  make(types.daemon, 'ds', template('ds', { nodeSelector: { zone: 'b' } }));
  await until(() => podsOf('ds').length === 2, 'two pods');
  expect(
    podsOf('ds')
      .map((pod) => stringAt(pod, 'spec', 'nodeName'))
      .toSorted(),
  ).toEqual(['n2', 'n3']);
});

it('a job ends when its pods have; too many failures fail it', async () => {
  const spec = (app: string): JsonObject => ({
    completions: 2,
    backoffLimit: 0,
    template: {
      metadata: { labels: { app } },
      spec: { restartPolicy: 'Never', containers: [{ name: 'c', image: 'i' }] },
    },
  });
  make(types.job, 'good', spec('good'));
  make(types.job, 'bad', spec('bad'));
  const finish = async (app: string, exitCode: number): Promise<void> => {
    await until(
      () => podsOf(app).some((p) => stringAt(p, 'status', 'phase') === 'Running'),
      'a pod runs',
    );
    for (const pod of podsOf(app))
      runtime.exitContainer({ uid: pod.metadata.uid ?? '', container: 'c', exitCode });
  };
  const condition = (name: string): string =>
    listAt(get(types.job, name), 'status', 'conditions')
      .map((c) => `${stringAt(c, 'type')}=${stringAt(c, 'status')}`)
      .join();
  await finish('good', 0);
  await finish('good', 0);
  await until(() => condition('good') === 'Complete=True', 'the job is complete');
  await finish('bad', 1);
  await until(() => condition('bad') === 'Failed=True', 'the job has failed');
});

it('a job whose pods start again fails when they did so too often', async () => {
  make(types.job, 'again', {
    backoffLimit: 2,
    template: {
      metadata: { labels: { app: 'again' } },
      spec: { restartPolicy: 'OnFailure', containers: [{ name: 'c', image: 'i' }] },
    },
  });
  const [pod] = podsOf('again');
  await until(() => stringAt(podsOf('again')[0], 'status', 'phase') === 'Running', 'it runs');
  const uid = (pod ?? podsOf('again')[0])?.metadata.uid ?? '';
  const at = { startedAt: Date.now(), finishedAt: Date.now() };
  const failed = { kind: 'terminated', exitCode: 1, ...at } as const;
  const status = (): JsonObject | undefined =>
    listAt(get(types.job, 'again'), 'status', 'conditions')[0];
  const again = (restartCount: number): void =>
    runtime.change({
      uid,
      container: 'c',
      state: { kind: 'running', startedAt: Date.now() },
      restartCount,
      last: failed,
    });
  again(1);
  await until(
    () => numberAt(podsOf('again')[0], 'status', 'containerStatuses', 0, 'restartCount') === 1,
    'the restart is counted',
  );
  expect(status()).toBeUndefined();
  again(2);
  await until(() => status()?.['type'] === 'Failed', 'the job has failed');
  await until(() => podsOf('again').length === 0, 'its pod is gone');
});

it('endpoint slices follow pods: named ports, readiness, deletion', async () => {
  make(types.service, 'svc', {
    selector: { app: 'ep' },
    ports: [{ port: 80, targetPort: 'http' }],
  });
  make(types.deployment, 'ep', { replicas: 2, ...template('ep') });
  const slice = (): ApiObject | undefined => get(types.slice, 'svc-v4');
  const ready = (): string[] =>
    listAt(slice(), 'endpoints')
      .filter((e) => at(e, 'conditions', 'ready') === true)
      .map((e) => stringAt(e, 'addresses', 0));
  await until(() => ready().length === 2, 'two endpoints');
  expect(listAt(slice(), 'ports')).toEqual([{ name: '', port: 8080, protocol: 'TCP' }]);
  expect(ready().toSorted()).toEqual(
    podsOf('ep')
      .map((p) => stringAt(p, 'status', 'podIP'))
      .toSorted(),
  );
  change(types.deployment, 'ep', (spec) => {
    spec['replicas'] = 0;
  });
  await until(() => listAt(slice(), 'endpoints').length === 0, 'no endpoints');
  api.writer.remove(types.service, 'default', 'svc');
  await until(() => slice() === undefined, 'no slice');
});

it('a pod that the runtime refuses says why, and is tried again', async () => {
  let refusals = 0;
  const refusing = createFakeRuntime();
  const start = refusing.start.bind(refusing);
  const other = await startLabApi({
    runtime: {
      ...refusing,
      start: (pod) => {
        refusals += 1;
        return refusals === 1 ? Promise.reject(new Error('no room')) : start(pod);
      },
    },
  });
  other.writer.create(types.pod, 'default', {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name: 'p' },
    spec: { containers: [{ name: 'c', image: 'i' }] },
  });
  const pod = (): ApiObject | undefined => other.store.get('/pods', 'default/p');
  await until(
    () =>
      stringAt(pod(), 'status', 'containerStatuses', 0, 'state', 'waiting', 'message') ===
      'no room',
    'the reason is in the status',
  );
  await until(() => stringAt(pod(), 'status', 'phase') === 'Running', 'it runs in the end');
  expect(refusals).toBe(2);
  await other.stop();
});

it.each([
  ['runs', 0],
  ['still starts', 60],
])('a pod whose stop fails once while it %s leaves nothing running', async (_state, startMs) => {
  const stubborn = createFakeRuntime({ startMs });
  const stop = stubborn.stop.bind(stubborn);
  let failures = 2;
  const other = await startLabApi({
    runtime: {
      ...stubborn,
      stop: (uid, grace) => {
        failures -= 1;
        // Before anything was done: another pod of the same round could not be made, say.
        return failures >= (startMs === 0 ? 1 : 0)
          ? Promise.reject(new Error('not now'))
          : stop(uid, grace);
      },
    },
  });
  other.writer.create(types.pod, 'default', {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name: 'p' },
    spec: { containers: [{ name: 'c', image: 'i' }] },
  });
  const pod = (): ApiObject | undefined => other.store.get('/pods', 'default/p');
  const ready = (): boolean =>
    startMs === 0
      ? stubborn.running.size === 1
      : stringAt(pod(), 'spec', 'nodeName') !== '' && stubborn.running.size === 0;
  await until(ready, 'the pod is where the test wants it');
  other.writer.remove(types.pod, 'default', 'p', { gracePeriodSeconds: 1 });
  await until(() => pod() === undefined, 'the object goes');
  await until(() => stubborn.running.size === 0, 'nothing runs');
  expect(failures).toBeLessThanOrEqual(0);
  await other.stop();
});
