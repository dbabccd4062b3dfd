/**
 * `podwall agent`: watches the cluster and keeps this node's kernel equal to the policies. Puts
 * client, loop, state file, drift monitor and doors together. Rules stay in the kernel whatever
 * happens to this process.
 */
import type { Server } from 'node:http';
import type { Logger } from 'pino';
import {
  startClusterWatch,
  type ChangeBatch,
  type ClusterWatch,
  type ClusterWatchOptions,
} from '../client/cluster-watch.ts';
import { errorText } from '../client/errors.ts';
import type { ReflectorStatus } from '../client/reflector.ts';
import { policyResources, resourceName } from '../client/resource.ts';
import type { Connection } from '../client/transport.ts';
import {
  conntrackSweeper,
  createBackend,
  defaultDataplaneOptions,
  interactiveRunner,
  renderProgram,
} from '../dataplane/index.ts';
import type { DataplaneOptions, NodeProgram } from '../dataplane/index.ts';
import type { ObjectRef } from '../engine/cluster-facts.ts';
import type { Settings } from '../engine/snapshot.ts';
import type { KubeObject } from '../k8s/types.ts';
import type { PolicyRef } from '../policy/compiled.ts';
import { run } from '../system/exec.ts';
import { createDenyLog, type DenyEnd } from './deny-log.ts';
import { createEventReporter, type PolicyFault } from './events.ts';
import { openDoor } from './http.ts';
import { createLoop, type Built, type Loop, type Round } from './loop.ts';
import { createMetrics } from './metrics.ts';
import { watchTable } from './monitor.ts';
import { checkNode, type Finding } from './self-checks.ts';
import { readStateFile, writeStateFile } from './state-file.ts';

export interface AgentOptions {
  readonly node: string;
  readonly connection: Connection;
  readonly version: string;
  readonly log: Logger;
  readonly signal: AbortSignal;
  /** Network namespace file of the node; default: ours. */
  readonly netns?: string | undefined;
  /** Where the last known objects are kept; without it a boot without the API enforces nothing. */
  readonly stateFile?: string | undefined;
  /** Doors to open: `host:port` or a socket path. */
  readonly listen?: readonly string[];
  readonly dataplane?: Partial<DataplaneOptions>;
  readonly settings?: Partial<Settings>;
  readonly strictCidr?: boolean;
  readonly coalesceMs?: number;
  /** The kernel is read and compared so often, in milliseconds. Default 60,000. 0: never. */
  readonly auditMs?: number;
  /** The state file is written at most so often, in milliseconds. Default 10,000. */
  readonly saveMs?: number;
  readonly client?: Partial<ClusterWatchOptions>;
  /** Denied flows are read so often, in milliseconds; needs `dataplane.observe`. 0 or absent: never. */
  readonly denyLogMs?: number;
  /** Receives each line of the deny log, besides those who ask at the door. */
  readonly onDenied?: (line: string) => void;
  /** Tell owners of faulty policies by Events. Default: no. */
  readonly events?: boolean;
  /** The node is checked so often, in milliseconds, besides at start. Default 600,000. 0: never. */
  readonly selfCheckMs?: number;
}

export interface AgentStatus {
  readonly node: string;
  readonly version: string;
  readonly server: string;
  readonly startedAt: string;
  readonly ready: boolean;
  readonly mode: 'enforce' | 'audit';
  readonly source: 'nothing yet' | 'state file' | 'cluster';
  readonly lastApplied?: string;
  readonly lastError?: string;
  readonly epoch?: number;
  readonly program?: {
    readonly localAddresses: number;
    readonly sets: number;
    readonly elements: number;
    readonly chains: number;
    readonly policies: number;
    readonly warnings: readonly string[];
  };
  readonly closedBy: readonly string[];
  readonly driftRepairs: number;
  /** What the last self-checks found. */
  readonly findings: readonly Finding[];
  readonly resources: readonly {
    readonly resource: string;
    readonly state: ReflectorStatus['state'];
    readonly objects: number;
    readonly lastError?: string;
  }[];
}

/** What status tells of the last round. */
interface Applied {
  readonly at: string;
  readonly epoch: number;
  readonly program: NonNullable<AgentStatus['program']>;
  readonly closedBy: readonly string[];
}

/** Without these nothing can be decided: a cluster without its pods or policies would look open. */
const required = new Set(['Pod', 'Namespace', 'NetworkPolicy', 'Node']);

/** Lines of nft monitor about the sets that hold denied flows. */
const recorded = / element inet \S+ (a?o[ei][46]x?|oall) \{/;

/** Runs until the signal. Throws only when it cannot start. */
export async function runAgent(options: AgentOptions): Promise<void> {
  const { log, signal, node } = options;
  const table = options.dataplane?.table ?? defaultDataplaneOptions.table;
  const netns = options.netns === undefined ? {} : { netns: options.netns };
  const startedAt = new Date().toISOString();
  const nft = interactiveRunner(netns);
  const backend = createBackend({
    nft: nft.run,
    sweepMarks: conntrackSweeper(netns),
    onSweepFailure: (error) =>
      log.warn(
        { error: errorText(error) },
        'epochs have run out and marks of connections cannot be cleared: every packet is judged, which is safe and slower',
      ),
    ...(options.dataplane === undefined ? {} : { options: options.dataplane }),
  });

  let cluster: ClusterWatch | undefined;
  let synced = false;
  let ready = false;
  let lastKnown: readonly KubeObject[] | undefined;
  let applied: Applied | undefined;
  let lastError: string | undefined;
  let driftRepairs = 0;
  let lastProgram: NodeProgram | undefined;
  let findings: readonly Finding[] = [];
  /** When a round last committed something, in milliseconds since the epoch. */
  let lastWrite = 0;
  let doubt: NodeJS.Timeout | undefined;
  const metrics = createMetrics(options.version, node, () => cluster?.status() ?? []);

  // --- objects ------------------------------------------------------------------------------------

  /** Stores, and for resources that could not be read yet what was known last. */
  function objects(): KubeObject[] | undefined {
    if (cluster === undefined || !synced)
      return lastKnown === undefined ? undefined : [...lastKnown];
    const all: KubeObject[] = [];
    for (const status of cluster.status()) {
      const { resource } = status;
      if (status.everSynced || status.state === 'absent') {
        const store = cluster.stores.get(resourceName(resource));
        if (store !== undefined) for (const object of store.values()) all.push(object);
        continue;
      }
      const known = lastKnown?.filter((object) => object.kind === resource.kind) ?? [];
      if (known.length === 0 && required.has(resource.kind)) {
        lastError = `${resourceName(resource)} cannot be read: ${status.lastError ?? status.state}`;
        log.error(
          { resource: resourceName(resource), error: status.lastError },
          'cannot decide without this resource; the kernel stays as it is',
        );
        return undefined;
      }
      all.push(...known);
    }
    return all;
  }

  /** One object as {@link objects} would give it. */
  function find(ref: ObjectRef): KubeObject | undefined {
    const resource = policyResources.find(
      ({ kind, apiVersion }) => kind === ref.kind && apiVersion === ref.apiVersion,
    );
    const name = resource === undefined ? undefined : resourceName(resource);
    return name === undefined ? undefined : cluster?.stores.get(name)?.get(ref.namespace, ref.name);
  }

  // --- rounds -------------------------------------------------------------------------------------

  const reported = new Set<string>();
  function reportFaults(built: Built, warnings: readonly string[]): void {
    const current = new Set<string>();
    const tell = (text: string, fields: object): void => {
      current.add(text);
      if (!reported.has(text)) log.warn(fields, text);
    };
    for (const one of built.errors)
      tell(`${one.object ?? ''} ${one.fieldPath ?? ''}: ${one.message}`, { code: one.code });
    for (const ref of built.quarantined)
      tell(`${ref.key}: nft refuses it; the pods it selects are closed`, { policy: ref.key });
    for (const text of warnings) tell(text, {});
    // Only news is worth a line; what went away may be news again.
    reported.clear();
    for (const text of current) reported.add(text);
  }

  const events =
    options.events === true
      ? createEventReporter({
          connection: options.connection,
          node,
          onOutcome: (outcome, error) => {
            metrics.policyEvent(outcome);
            if (outcome === 'forbidden' || outcome === 'failed')
              log.warn({ error: errorText(error) }, 'an Event on a faulty policy was not written');
          },
        })
      : undefined;
  let telling: Promise<void> = Promise.resolve();
  function tellOwners(built: Built): void {
    // The state file's objects may be history: nobody is bothered with them.
    if (events === undefined || !synced) return;
    const faults = faultsOf(built, ({ kind, namespace, name }) => {
      const resource = policyResources.find((one) => one.kind === kind);
      const store =
        resource === undefined ? undefined : cluster?.stores.get(resourceName(resource));
      return store?.get(namespace, name);
    });
    telling = telling.then(() => events.report(faults));
  }

  let checking: Promise<void> = Promise.resolve();
  function checkSelf(): void {
    const { markMask } = { ...defaultDataplaneOptions, ...options.dataplane };
    checking = checking.then(async () => {
      const podCidrs =
        lastProgram === undefined ? [] : [...lastProgram.podCidrs[4], ...lastProgram.podCidrs[6]];
      const before = new Set(findings.map((one) => one.message));
      findings = await checkNode({ netns: options.netns, table, markMask, podCidrs });
      metrics.findings(findings);
      for (const { check, severity, message, remedy } of findings) {
        if (before.has(message)) continue;
        const level = { problem: 'error', warning: 'warn', note: 'info' } as const;
        log[level[severity]]({ check, ...(remedy === undefined ? {} : { remedy }) }, message);
      }
    });
  }

  function onRound(round: Round): void {
    const { built, report, program } = round;
    lastError = undefined;
    lastProgram = program;
    metrics.round(round);
    if (report.transactions.length > 0) lastWrite = round.finished;
    // Snapshots are large: only what status needs is kept.
    applied = {
      at: new Date(round.finished).toISOString(),
      epoch: report.epoch,
      program: {
        localAddresses: program.dispatch.Ingress[4].size + program.dispatch.Ingress[6].size,
        sets: program.groups.size,
        elements: [...program.groups.values()].reduce((sum, group) => sum + group.elements.size, 0),
        chains: program.chains.size,
        policies: built?.policies ?? applied?.program.policies ?? 0,
        warnings: program.warnings,
      },
      closedBy:
        built === undefined
          ? (applied?.closedBy ?? [])
          : [...built.invalid, ...built.quarantined].map((ref) => ref.key),
    };
    if (round.repaired) {
      driftRepairs += 1;
      metrics.drift();
      log.warn(
        { transactions: report.transactions, reasons: round.reasons },
        'somebody changed our table; repaired',
      );
    } else if (report.transactions.length > 0) {
      log.info(
        {
          reasons: round.reasons,
          sinceEventMs: report.enforcedAt - round.since,
          ...(built?.anew === undefined ? {} : { anew: built.anew }),
          buildMs: round.buildMs,
          applyMs: round.applyMs,
          transactions: report.transactions.map(
            ({ phase, operations }) => `${phase}:${operations}`,
          ),
        },
        'applied',
      );
    }
    if (built === undefined) return;
    reportFaults(built, program.warnings);
    tellOwners(built);
    if (synced && !ready) {
      ready = true;
      // Only now the pod ranges are known.
      checkSelf();
      metrics.ready(true);
      log.info(
        { objects: built.objects, changed: report.transactions.length > 0 },
        'the kernel is equal to the cluster',
      );
    }
  }

  const loop: Loop = createLoop({
    node,
    objects,
    find,
    backend,
    ...(options.dataplane === undefined ? {} : { dataplane: options.dataplane }),
    ...(options.settings === undefined ? {} : { settings: options.settings }),
    ...(options.strictCidr === undefined ? {} : { strictCidr: options.strictCidr }),
    check: createCheck(options.netns),
    onRound,
    onFailure: (error) => {
      lastError = errorText(error);
      metrics.failure();
      log.error({ err: error }, 'could not bring the kernel up to date; trying again');
    },
  });

  // --- state file ---------------------------------------------------------------------------------

  let saveTimer: NodeJS.Timeout | undefined;
  let saving: Promise<void> = Promise.resolve();
  function saveSoon(): void {
    if (options.stateFile === undefined || saveTimer !== undefined) return;
    saveTimer = setTimeout(() => {
      saveTimer = undefined;
      save();
    }, options.saveMs ?? 10_000);
  }
  function save(): void {
    const { stateFile } = options;
    const present = synced ? objects() : undefined;
    if (stateFile === undefined || present === undefined) return;
    saving = saving.then(async () => {
      try {
        await writeStateFile(stateFile, present, Date.now());
        metrics.stateFile(Date.now() / 1000);
      } catch (error) {
        log.error({ err: error }, 'could not save the last known objects');
      }
    });
  }

  async function boot(): Promise<void> {
    if (options.stateFile !== undefined) {
      try {
        const saved = await readStateFile(options.stateFile);
        lastKnown = saved?.objects;
        if (saved !== undefined)
          log.info(
            { objects: saved.objects.length, savedAt: new Date(saved.savedAt).toISOString() },
            'read the last known objects',
          );
      } catch (error) {
        log.error({ err: error, file: options.stateFile }, 'the state file is of no use');
      }
    }
    const tables = await backend.read();
    if (tables.some((state) => state.hooked)) {
      log.info(
        'rules of an earlier agent are in the kernel; they stay until the API has been read',
      );
    } else if (lastKnown !== undefined) {
      loop.trigger('state-file');
      await loop.idle();
    } else {
      log.warn(
        'nothing is enforced until the API has been read: no rules in the kernel and no state file',
      );
    }
  }

  // --- deny log -----------------------------------------------------------------------------------

  const denyLog = createDenyLog({
    node,
    drops: backend.drops,
    denials: backend.denials,
    resetDrops: backend.resetDrops,
    pods: () => lastProgram?.pods ?? new Map(),
    names: (addresses) => podNames(cluster?.stores.get('pods')?.values() ?? [], addresses),
    onFlow: metrics.denied,
  });
  if (options.onDenied !== undefined) denyLog.subscribe(options.onDenied);
  let denyTimer: NodeJS.Timeout | undefined;
  let polling: Promise<void> = Promise.resolve();
  let pollFailed = false;
  function pollLater(): void {
    const interval = options.denyLogMs ?? 0;
    if (interval === 0 || signal.aborted) return;
    denyTimer = setTimeout(() => {
      polling = denyLog
        .poll()
        .then(
          () => {
            pollFailed = false;
          },
          (error: unknown) => {
            if (!pollFailed) log.warn({ error: errorText(error) }, 'denied flows cannot be read');
            pollFailed = true;
          },
        )
        .then(pollLater);
    }, interval);
  }

  // --- doors --------------------------------------------------------------------------------------

  function status(): AgentStatus {
    return {
      node,
      version: options.version,
      server: options.connection.description,
      startedAt,
      ready,
      mode: options.dataplane?.mode ?? defaultDataplaneOptions.mode,
      source: synced ? 'cluster' : applied === undefined ? 'nothing yet' : 'state file',
      ...(applied === undefined
        ? {}
        : { lastApplied: applied.at, epoch: applied.epoch, program: applied.program }),
      ...(lastError === undefined ? {} : { lastError }),
      closedBy: applied?.closedBy ?? [],
      driftRepairs,
      findings,
      resources: (cluster?.status() ?? []).map((one) => ({
        resource: resourceName(one.resource),
        state: one.state,
        objects: one.objects,
        ...(one.lastError === undefined ? {} : { lastError: one.lastError }),
      })),
    };
  }

  // --- run ----------------------------------------------------------------------------------------

  const doors: Server[] = [];
  const everRead = new Set<string>();
  let audit: NodeJS.Timeout | undefined;
  let selfChecks: NodeJS.Timeout | undefined;
  try {
    for (const where of options.listen ?? []) {
      doors.push(
        await openDoor(where, {
          metrics: metrics.exposition,
          ready: () => ready,
          status,
          ...(options.denyLogMs === undefined || options.denyLogMs === 0 ? {} : { log: denyLog }),
        }),
      );
    }
    checkSelf();
    await boot();
    pollLater();
    cluster = startClusterWatch(options.connection, {
      resources: policyResources,
      ...options.client,
      coalesceMs: options.coalesceMs ?? 25,
      metrics: metrics.client,
      signal,
      onSync: () => {
        synced = true;
        loop.trigger('sync');
        saveSoon();
      },
      onChange: (batch) => {
        const seen = batch.changes.filter(changesPolicy);
        if (seen.length === 0) return;
        loop.trigger('changes', batch.since, seen.map(refOf));
        saveSoon();
      },
      onStatus: (one) => {
        const resource = resourceName(one.resource);
        if (one.state === 'synced') {
          log.info({ resource, objects: one.objects }, 'reading');
          // One that could not be read before may have come without any object; later, changes are named.
          if (synced && !everRead.has(resource)) loop.trigger('sync');
          everRead.add(resource);
        } else if (one.state === 'absent') {
          log.info({ resource }, 'the server does not have this resource');
        } else {
          log.warn({ resource, state: one.state, error: one.lastError }, 'not reading');
        }
      },
    });
    const monitor = watchTable({
      table,
      netns: options.netns,
      signal,
      onTouched: (line) => {
        // What is recorded of denied flows decides nothing, and emptying it is announced flow by flow.
        if (!synced || recorded.test(line)) return;
        if (!loop.busy && Date.now() - lastWrite > 250) {
          loop.trigger('drift');
          return;
        }
        // Our own writes are announced, too, and somebody else's may hide among them.
        doubt ??= setTimeout(() => {
          doubt = undefined;
          loop.trigger('drift');
        }, 3_000);
      },
      onTrouble: (message) => log.warn(message),
    });
    const auditMs = options.auditMs ?? 60_000;
    const nextAudit = (): void => {
      audit = setTimeout(
        () => {
          if (synced) loop.trigger('audit');
          nextAudit();
        },
        auditMs * (0.75 + Math.random() / 2),
      );
    };
    if (auditMs > 0) nextAudit();
    const selfCheckMs = options.selfCheckMs ?? 600_000;
    if (selfCheckMs > 0) selfChecks = setInterval(checkSelf, selfCheckMs);
    await new Promise<void>((resolve) => {
      if (signal.aborted) resolve();
      else signal.addEventListener('abort', () => resolve(), { once: true });
    });
    log.info('stopping; the rules stay in the kernel');
    await monitor;
  } finally {
    clearTimeout(audit);
    clearInterval(selfChecks);
    clearTimeout(denyTimer);
    clearTimeout(doubt);
    clearTimeout(saveTimer);
    await cluster?.stop();
    await loop.stop();
    save();
    await Promise.all([saving, polling, telling, checking]);
    clearTimeout(denyTimer);
    await nft.close();
    options.connection.close();
    for (const door of doors) {
      door.closeAllConnections();
      await new Promise((resolve) => door.close(resolve));
    }
  }
}

/** Policies that are not enforced as written, with the first words on why. */
function faultsOf(
  { invalid, errors, quarantined }: Built,
  find: (ref: PolicyRef) => KubeObject | undefined,
): PolicyFault[] {
  const fault = (ref: PolicyRef, reason: PolicyFault['reason'], message: string): PolicyFault[] => {
    const object = find(ref);
    if (object === undefined) return [];
    const { uid } = object.metadata;
    return [
      {
        apiVersion: object.apiVersion,
        kind: ref.kind,
        ...(ref.namespace === undefined ? {} : { namespace: ref.namespace }),
        name: ref.name,
        ...(typeof uid === 'string' ? { uid } : {}),
        reason,
        message,
      },
    ];
  };
  const closed = (ref: PolicyRef): string =>
    ref.namespace === undefined
      ? 'every pod of the cluster is closed'
      : `the pods of namespace ${ref.namespace} are closed`;
  return [
    ...invalid.flatMap((ref) => {
      const named = `${ref.kind} ${ref.namespace === undefined ? '' : `${ref.namespace}/`}${ref.name}`;
      const why = errors
        .filter((one) => one.object === named)
        .map((one) => one.message)
        .slice(0, 5);
      return fault(ref, 'InvalidPolicy', `not valid, so ${closed(ref)}: ${why.join('; ')}`);
    }),
    ...quarantined.flatMap((ref) =>
      fault(
        ref,
        'PolicyRefused',
        'the kernel refuses its rules, so the pods it selects are closed',
      ),
    ),
  ];
}

/** Those of the addresses that pods have. One pass, however many are asked for. */
function podNames(
  pods: Iterable<KubeObject>,
  addresses: ReadonlySet<string>,
): Map<string, DenyEnd> {
  const names = new Map<string, DenyEnd>();
  if (addresses.size === 0) return names;
  for (const { metadata, status } of pods) {
    const { podIP, podIPs } = (status ?? {}) as {
      podIP?: string;
      podIPs?: readonly { ip?: string }[];
    };
    for (const address of [podIP, ...(podIPs ?? []).map(({ ip }) => ip)])
      if (address !== undefined && addresses.has(address))
        names.set(address, {
          address,
          ...(metadata.namespace === undefined ? {} : { namespace: metadata.namespace }),
          ...(metadata.name === undefined ? {} : { pod: metadata.name }),
        });
  }
  return names;
}

function refOf({ object }: ChangeBatch['changes'][number]): ObjectRef {
  const { apiVersion, kind, metadata } = object;
  return { apiVersion, kind, namespace: metadata.namespace, name: metadata.name ?? '' };
}

/** False for what policy cannot see, above all the heartbeats of nodes. */
function changesPolicy({ type, object, previous }: ChangeBatch['changes'][number]): boolean {
  if (type !== 'modified' || previous === undefined) return true;
  const seen = (one: KubeObject): string =>
    JSON.stringify({ ...one, metadata: { ...one.metadata, resourceVersion: undefined } });
  return seen(object) !== seen(previous);
}

/** Lets nft judge a program (of a table that does not exist) without committing anything. */
function createCheck(
  netns: string | undefined,
): (program: NodeProgram) => Promise<string | undefined> {
  const [command, args] =
    netns === undefined ? ['nft', []] : ['nsenter', [`--net=${netns}`, 'nft']];
  return async (program) => {
    const { code, stderr } = await run(command, [...args, '-c', '-f', '-'], {
      input: renderProgram(program),
      env: { ...process.env, HOME: '/nonexistent', LC_ALL: 'C' },
      timeoutMs: 60_000,
    });
    return code === 0 ? undefined : stderr.trim();
  };
}
