/**
 * What one line of `kubectl get pods` says of a pod: READY, STATUS and RESTARTS as the API server
 * counts them. Pure.
 */
import { type ApiObject, at, type JsonObject, listAt, numberAt, stringAt } from '../object.ts';

export interface PodSummary {
  readonly ready: number;
  readonly total: number;
  readonly reason: string;
  readonly restarts: number;
  /** Milliseconds since the epoch, when there were restarts. */
  readonly lastRestart: number | undefined;
}

const isTrue = (pod: ApiObject, type: string): boolean =>
  listAt(pod, 'status', 'conditions').some((c) => c['type'] === type && c['status'] === 'True');

const ended = (status: JsonObject): boolean => at(status, 'state', 'terminated') !== undefined;

function endReason(status: JsonObject): string {
  const reason = stringAt(status, 'state', 'terminated', 'reason');
  if (reason !== '') return reason;
  return `ExitCode:${numberAt(status, 'state', 'terminated', 'exitCode') ?? 0}`;
}

interface InitView {
  /** Set while init containers keep the pod from starting. */
  readonly reason: string | undefined;
  readonly sidecars: readonly JsonObject[];
}

function initView(pod: ApiObject): InitView {
  const specs = listAt(pod, 'spec', 'initContainers');
  const sidecars: JsonObject[] = [];
  for (const [index, status] of listAt(pod, 'status', 'initContainerStatuses').entries()) {
    const isSidecar = specs[index]?.['restartPolicy'] === 'Always';
    if (isSidecar) sidecars.push(status);
    if (ended(status) && numberAt(status, 'state', 'terminated', 'exitCode') === 0) continue;
    if (isSidecar && status['started'] === true) continue;
    const waiting = stringAt(status, 'state', 'waiting', 'reason');
    const reason = ended(status)
      ? `Init:${endReason(status)}`
      : waiting !== '' && waiting !== 'PodInitializing' && waiting !== 'ContainerCreating'
        ? `Init:${waiting}`
        : `Init:${index}/${specs.length}`;
    return { reason, sidecars };
  }
  return { reason: undefined, sidecars };
}

/** Reads the status of a pod. */
export function podSummary(pod: ApiObject): PodSummary {
  const main = listAt(pod, 'status', 'containerStatuses');
  const init = listAt(pod, 'status', 'initContainerStatuses');
  const view = initView(pod);
  const initializing = view.reason !== undefined && !isTrue(pod, 'Initialized');
  const counted = initializing ? init : [...view.sidecars, ...main];
  const restarts = counted.reduce((sum, one) => sum + (numberAt(one, 'restartCount') ?? 0), 0);
  const times = counted
    .map((one) => Date.parse(stringAt(one, 'lastState', 'terminated', 'finishedAt')))
    .filter((time) => !Number.isNaN(time));
  const ready = [...view.sidecars, ...(initializing ? [] : main)].filter(
    (one) => one['ready'] === true && at(one, 'state', 'running') !== undefined,
  ).length;
  let reason = stringAt(pod, 'status', 'reason') || stringAt(pod, 'status', 'phase') || 'Unknown';
  if (initializing) reason = view.reason;
  else {
    // The first container's trouble is what is shown.
    for (const status of main.toReversed()) {
      const waiting = stringAt(status, 'state', 'waiting', 'reason');
      if (waiting !== '') reason = waiting;
      else if (ended(status)) reason = endReason(status);
    }
    const runs = main.some((one) => at(one, 'state', 'running') !== undefined);
    if (reason === 'Completed' && runs) reason = isTrue(pod, 'Ready') ? 'Running' : 'NotReady';
  }
  const over = ['Succeeded', 'Failed'].includes(stringAt(pod, 'status', 'phase'));
  if (pod.metadata.deletionTimestamp !== undefined && !over) reason = 'Terminating';
  const specs = listAt(pod, 'spec', 'initContainers');
  return {
    ready,
    total:
      listAt(pod, 'spec', 'containers').length +
      specs.filter((one) => one['restartPolicy'] === 'Always').length,
    reason,
    restarts,
    lastRestart: restarts > 0 && times.length > 0 ? Math.max(...times) : undefined,
  };
}
