import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import type { KubeObject } from '../k8s/types.ts';
import { createFakeRuntime } from './api/fake-runtime.ts';
import { startLabApi, type LabApi } from './api/start.ts';
import { createApiObjects, type ApiObjects } from './api-objects.ts';
import { LabRefusal } from './errors.ts';
import type { ApplyResult, LabObject } from './types.ts';

let api: LabApi;
let objects: ApiObjects;
let settled = 0;
beforeAll(async () => {
  api = await startLabApi({ runtime: createFakeRuntime(), seed: 9, recordEvents: false });
  objects = createApiObjects(api.writer, async () => void (settled += 1));
});
afterAll(() => api.stop());
beforeEach(() => {
  settled = 0;
});

const given = (kind: string, name: string, more: Record<string, unknown> = {}): LabObject => {
  const { apiVersion = 'v1', namespace, ...rest } = more;
  const metadata = { name, ...(namespace === undefined ? {} : { namespace }) };
  return { object: { apiVersion, kind, metadata, ...rest } as unknown as KubeObject };
};
const pod = (name: string, namespace?: string): LabObject =>
  given('Pod', name, { ...(namespace === undefined ? {} : { namespace }), spec: {} });
const policy = (name: string, spec: unknown): LabObject =>
  given('NetworkPolicy', name, { apiVersion: 'networking.k8s.io/v1', namespace: 'dev', spec });
const brief = ({ changes }: ApplyResult): string[] =>
  changes.map(({ ref, action }) => `${ref.kind} ${ref.namespace ?? ''}/${ref.name} ${action}`);
const refused = async (act: Promise<unknown>): Promise<LabRefusal> => {
  const error: unknown = await act.then(
    () => undefined,
    (one: unknown) => one,
  );
  expect(error).toBeInstanceOf(LabRefusal);
  return error as LabRefusal;
};
const has = (kind: string, name: string): boolean =>
  objects.objects().some((one) => one.kind === kind && one.metadata.name === name);

describe('apply', () => {
  it('makes namespaces first, also those nobody wrote down, and waits until it is in force', async () => {
    const result = await objects.apply([
      pod('x', 'made'),
      given('Namespace', 'written'),
      pod('y', 'written'),
    ]);
    expect(brief(result)).toEqual([
      'Namespace /made created',
      'Namespace /written created',
      'Pod made/x created',
      'Pod written/y created',
    ]);
    expect(result.notices).toEqual([
      'namespace made did not exist and was created without labels of its own',
    ]);
    expect(settled).toBe(1);
    const made = objects.objects().find(({ metadata }) => metadata.name === 'x');
    // Manifests that are only about policy say nothing of containers.
    expect(made?.spec).toMatchObject({ containers: [{ name: 'main', image: 'podwall' }] });
    expect(made?.metadata).not.toHaveProperty('managedFields');
  });

  it('says unchanged for what is the same, configured for what is not', async () => {
    await objects.apply([policy('p', { podSelector: {} })]);
    settled = 0;
    expect(brief(await objects.apply([policy('p', { podSelector: {} })]))).toEqual([
      'NetworkPolicy dev/p unchanged',
    ]);
    expect(settled).toBe(0);
    const ingress = policy('p', { podSelector: {}, ingress: [{}] });
    expect(brief(await objects.apply([ingress]))).toEqual(['NetworkPolicy dev/p configured']);
    // What the file no longer says goes.
    await objects.apply([policy('p', { podSelector: {} })]);
    const stored = objects.objects().find(({ metadata }) => metadata.name === 'p');
    expect(stored?.spec).not.toHaveProperty('ingress');
  });

  it('is all or nothing: a refusal names every fault and takes namespaces back', async () => {
    const bad = policy('bad', { podSelector: {}, policyTypes: ['Sideways'] });
    const source = { file: 'bad.yaml', start: { line: 3, column: 1 }, end: { line: 3, column: 9 } };
    const { refusals } = await refused(
      objects.apply([
        pod('fine', 'fresh'),
        { ...bad, source },
        policy('worse', { podSelector: 1 }),
      ]),
    );
    expect(refusals.map(({ ref, reason }) => `${ref.name} ${reason}`)).toEqual([
      'bad Invalid',
      'worse BadRequest',
    ]);
    expect(refusals[0]?.messages[0]).toContain(
      'spec.policyTypes[0]: Unsupported value: "Sideways"',
    );
    expect(refusals[0]?.source).toEqual(source);
    expect(has('Pod', 'fine')).toBe(false);
    expect(has('Namespace', 'fresh')).toBe(false);
  });

  it('lists once what it has no use for, and does not store it', async () => {
    const ingress = given('Ingress', 'web', { apiVersion: 'networking.k8s.io/v1' });
    const cron = given('CronJob', 'nightly', { apiVersion: 'batch/v1', spec: {} });
    const { changes, notices } = await objects.apply([ingress, cron, ingress]);
    expect(changes).toEqual([]);
    expect(notices).toEqual(['ignored, because the lab has no use for them: 2 Ingress, 1 CronJob']);
    expect(has('CronJob', 'nightly')).toBe(false);
  });

  it('with nothing to apply it waits for what is there', async () => {
    expect(brief(await objects.apply([]))).toEqual([]);
    expect(settled).toBe(1);
  });
});

describe('delete', () => {
  it('waits until it is gone', async () => {
    await objects.apply([pod('short', 'dev')]);
    const result = await objects.delete([{ kind: 'Pod', namespace: 'dev', name: 'short' }]);
    expect(brief(result)).toEqual(['Pod dev/short deleted']);
    expect(has('Pod', 'short')).toBe(false);
  });

  it('refuses what is not there and what must stay, and deletes nothing then', async () => {
    await objects.apply([pod('stays', 'dev')]);
    const { refusals } = await refused(
      objects.delete([
        { kind: 'Pod', namespace: 'dev', name: 'stays' },
        { kind: 'Pod', namespace: 'dev', name: 'none' },
        { kind: 'Node', name: 'node-1' },
        { kind: 'Ingress', name: 'web' },
      ]),
    );
    expect(refusals.map(({ messages }) => messages[0])).toEqual([
      'pods "none" not found',
      'a node lives as long as its lab',
      'ingress "web" not found',
    ]);
    expect(has('Pod', 'stays')).toBe(true);
  });
});
