import { describe, expect, it } from 'vitest';
import { type ApiObject, type JsonObject, listAt, stringAt } from '../object.ts';
import type { ContainerEnd, ContainerState } from '../runtime.ts';
import { podSummary } from '../kinds/pod-summary.ts';
import { podStatus } from './pod-status.ts';

const now = Date.UTC(2026, 0, 1);
const started = { podIPs: ['10.244.1.2'], hostIP: '172.18.0.2' };

const ended = (exitCode: number): ContainerEnd => ({
  kind: 'terminated',
  exitCode,
  startedAt: now,
  finishedAt: now,
});
const runs: ContainerState = { kind: 'running', startedAt: now };
const waits = (reason: string): ContainerState => ({ kind: 'waiting', reason });

interface Given {
  readonly policy?: string;
  readonly init?: Readonly<Record<string, ContainerState>>;
  /** Names of init containers that go on. */
  readonly sidecars?: readonly string[];
  readonly main: Readonly<Record<string, ContainerState>>;
  /** Exit code of the run before. */
  readonly last?: Readonly<Record<string, number>>;
}

/** The pod with its status. */
function podOf({ policy = 'Always', init = {}, sidecars = [], main, last = {} }: Given): ApiObject {
  const spec = {
    restartPolicy: policy,
    containers: Object.keys(main).map((name) => ({ name, image: 'i' })),
    initContainers: Object.keys(init).map((name) => ({
      name,
      image: 'i',
      ...(sidecars.includes(name) ? { restartPolicy: 'Always' } : {}),
    })),
  };
  const pod: ApiObject = {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name: 'p', namespace: 'ns', uid: 'u' },
    spec,
  };
  const containers = new Map(
    Object.entries({ ...init, ...main }).map(([container, state]) => {
      const code = last[container];
      const before = code === undefined ? {} : { last: ended(code) };
      const change = { uid: 'u', container, state, restartCount: code === undefined ? 0 : 1 };
      return [container, { ...change, ...before }] as const;
    }),
  );
  return { ...pod, status: podStatus(pod, { started, containers }, now) };
}

/** `kubectl get pod`: READY STATUS RESTARTS, and the phase. */
function line(given: Given): string {
  const pod = podOf(given);
  const { ready, total, reason, restarts } = podSummary(pod);
  return `${ready}/${total} ${reason} ${restarts} ${stringAt(pod, 'status', 'phase')}`;
}

const crash = waits('CrashLoopBackOff');

describe('what kubectl shows of a pod', () => {
  it.each<[string, Given, string]>([
    ['runs', { main: { a: runs } }, '1/1 Running 0 Running'],
    ['is made', { main: { a: waits('ContainerCreating') } }, '0/1 ContainerCreating 0 Pending'],
    ['crashed', { main: { a: ended(3) } }, '0/1 Error 0 Running'],
    ['backs off', { main: { a: crash }, last: { a: 3 } }, '0/1 CrashLoopBackOff 1 Running'],
    ['crashed beside one that runs', { main: { a: runs, b: ended(1) } }, '1/2 Error 0 Running'],
    ['succeeded', { policy: 'Never', main: { a: ended(0) } }, '0/1 Completed 0 Succeeded'],
    ['failed', { policy: 'Never', main: { a: ended(2) } }, '0/1 Error 0 Failed'],
    ['is half done', { policy: 'Never', main: { a: ended(0), b: runs } }, '1/2 NotReady 0 Running'],
    ['will be tried again', { policy: 'OnFailure', main: { a: ended(2) } }, '0/1 Error 0 Running'],
    [
      'initializes',
      { init: { i: ended(0), j: runs }, main: { a: waits('PodInitializing') } },
      '0/1 Init:1/2 0 Pending',
    ],
    [
      'fails to initialize',
      { init: { i: crash }, last: { i: 1 }, main: { a: waits('PodInitializing') } },
      '0/1 Init:CrashLoopBackOff 1 Pending',
    ],
    [
      'fails for good',
      { policy: 'Never', init: { i: ended(1) }, main: { a: waits('PodInitializing') } },
      '0/1 Init:Error 0 Failed',
    ],
    [
      'has a sidecar',
      { init: { s: runs }, sidecars: ['s'], main: { a: runs } },
      '2/2 Running 0 Running',
    ],
  ])('%s', (_name, given, expected) => {
    expect(line(given)).toBe(expected);
  });

  it('conditions: Ready only when every container runs; the time of an unchanged one stays', () => {
    const pod = podOf({ main: { a: runs, b: ended(1) } });
    const ready = (one: ApiObject): JsonObject | undefined =>
      listAt(one, 'status', 'conditions').find((c) => c['type'] === 'Ready');
    expect(ready(pod)).toMatchObject({
      status: 'False',
      reason: 'ContainersNotReady',
      message: 'containers with unready status: [b]',
    });
    const later = podStatus(pod, { started, containers: new Map() }, now + 60_000);
    expect(ready({ ...pod, status: later })).toMatchObject({
      status: 'True',
      lastTransitionTime: '2026-01-01T00:01:00Z',
    });
    expect(listAt(later, 'conditions').find((c) => c['type'] === 'PodScheduled')).toMatchObject({
      lastTransitionTime: '2026-01-01T00:00:00Z',
    });
  });

  it('an end says its code and its reason; the run before is kept', () => {
    const pod = podOf({ main: { a: runs }, last: { a: 137 } });
    expect(listAt(pod, 'status', 'containerStatuses')[0]).toMatchObject({
      restartCount: 1,
      ready: true,
      started: true,
      lastState: { terminated: { exitCode: 137, reason: 'Error' } },
    });
  });
});
