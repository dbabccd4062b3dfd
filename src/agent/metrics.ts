/**
 * The agent's counters in Prometheus form. Must not decide anything.
 */
import { collectDefaultMetrics, Counter, Gauge, Histogram, Registry } from 'prom-client';
import type { ClientMetrics, ReflectorStatus } from '../client/reflector.ts';
import { resourceName } from '../client/resource.ts';
import type { LocalPod } from '../dataplane/index.ts';
import type { DenyEntry } from './deny-log.ts';
import type { EventOutcome } from './events.ts';
import type { Round } from './loop.ts';
import type { Finding } from './self-checks.ts';

export interface AgentMetrics {
  readonly client: ClientMetrics;
  round(round: Round): void;
  failure(): void;
  drift(): void;
  stateFile(seconds: number): void;
  ready(value: boolean): void;
  denied(entry: DenyEntry, isNew: boolean): void;
  policyEvent(outcome: EventOutcome): void;
  findings(list: readonly Finding[]): void;
  exposition(): Promise<string>;
}

/** So long the figures of a pod that is gone stay, for the last scrape and its reader. */
const KEEP_GONE_MS = 300_000;

/** @param now milliseconds since the epoch */
export function createMetrics(
  version: string,
  node: string,
  statuses: () => readonly ReflectorStatus[],
  now: () => number = Date.now,
): AgentMetrics {
  const registry = new Registry();
  const registers = [registry];
  collectDefaultMetrics({ register: registry });
  const counter = (name: string, help: string, labelNames: string[] = []): Counter =>
    new Counter({ name: `podwall_${name}`, help, labelNames, registers });
  const gauge = (name: string, help: string, labelNames: string[] = []): Gauge =>
    new Gauge({ name: `podwall_${name}`, help, labelNames, registers });

  gauge('build_info', 'Version and node of this agent.', ['version', 'node']).set(
    { version, node },
    1,
  );
  const events = counter('events_total', 'Watch events received.', ['resource', 'type']);
  const changes = counter(
    'store_changes_total',
    'Differences that events and lists made to the stores.',
    ['resource'],
  );
  const lists = counter('lists_total', 'Complete reads of a resource.', ['resource', 'how']);
  const watches = counter('watches_total', 'Watches that ended.', ['resource', 'how']);
  const errors = counter('client_errors_total', 'Failures of list and watch.', [
    'resource',
    'reason',
  ]);
  new Gauge({
    name: 'podwall_watch_silence_seconds',
    help: 'Time since the server last sent a byte for the resource.',
    labelNames: ['resource'],
    registers,
    collect() {
      for (const status of statuses()) {
        if (status.lastContact === undefined) continue;
        this.set(
          { resource: resourceName(status.resource) },
          (Date.now() - status.lastContact) / 1000,
        );
      }
    },
  });
  new Gauge({
    name: 'podwall_resource_state',
    help: '1 for the state that a resource is in.',
    labelNames: ['resource', 'state'],
    registers,
    collect() {
      this.reset();
      for (const status of statuses())
        this.set({ resource: resourceName(status.resource), state: status.state }, 1);
    },
  });
  new Gauge({
    name: 'podwall_stored_objects',
    help: 'Objects in the stores.',
    labelNames: ['resource'],
    registers,
    collect() {
      for (const status of statuses())
        this.set({ resource: resourceName(status.resource) }, status.objects);
    },
  });
  const buckets = [0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.2, 0.5, 1, 2, 5, 15, 60];
  const latency = new Histogram({
    name: 'podwall_programming_seconds',
    help: 'From the first API event of a round to the kernel.',
    buckets,
    registers,
  });
  const building = new Histogram({
    name: 'podwall_build_seconds',
    help: 'From objects to a program.',
    buckets,
    registers,
  });
  const rounds = counter('rounds_total', 'Reconcile rounds that succeeded.', ['changed']);
  const rebuilds = counter(
    'rebuilds_total',
    'Rounds that read and compiled everything instead of what changed.',
    ['reason'],
  );
  const wholePlans = counter(
    'whole_plans_total',
    'Rounds that compared all of the program with all of the kernel.',
  );
  const failures = counter('apply_failures_total', 'Reconcile rounds that failed.');
  const transactions = counter('transactions_total', 'nft transactions committed.', ['phase']);
  const drifts = counter(
    'drift_repairs_total',
    'Times the kernel was not what we had written, and was repaired.',
  );
  const programmed = gauge('programmed', 'Parts of the program in force.', ['part']);
  const invalid = gauge(
    'invalid_policies',
    'Policies that do not validate or that nft refuses; pods are closed for them.',
  );
  const last = gauge(
    'last_success_timestamp_seconds',
    'When the kernel was last brought up to date.',
  );
  const saving = gauge(
    'state_file_timestamp_seconds',
    'When the last known objects were last saved.',
  );
  const ready = gauge('ready', '1 after the first convergence with the API.');
  const ends = ['namespace', 'pod', 'direction', 'verdict'];
  const deniedFlows = counter(
    'denied_flows_total',
    'Denied connections (source, destination, protocol, port) of local pods, as recorded.',
    ends,
  );
  const deniedPackets = counter(
    'denied_packets_total',
    'Packets of denied connections of local pods, as recorded.',
    ends,
  );
  /** What has figures of its own, by pod: `goneAt` since a program has no such pod. */
  interface PodFigures {
    readonly labels: Map<string, Record<string, string>>;
    goneAt?: number;
  }
  const figures = new Map<string, PodFigures>();
  let localPods: ReadonlyMap<string, LocalPod> = new Map();
  /** Without this, every pod that ever was on the node would be told of for ever. */
  const forgetGone = (): void => {
    if (figures.size === 0) return;
    const present = new Set(
      [...localPods.values()].map(({ namespace, name }) => `${namespace}/${name}`),
    );
    for (const [pod, known] of figures) {
      if (present.has(pod)) {
        delete known.goneAt;
        continue;
      }
      known.goneAt ??= now();
      if (now() - known.goneAt < KEEP_GONE_MS) continue;
      for (const labels of known.labels.values()) {
        deniedFlows.remove(labels);
        deniedPackets.remove(labels);
      }
      figures.delete(pod);
    }
  };
  const policyEvents = counter('policy_events_total', 'Events on faulty policies.', ['outcome']);
  const found = gauge('self_check_findings', 'What the last self-checks found.', [
    'check',
    'severity',
  ]);
  ready.set(0);
  drifts.inc(0);
  failures.inc(0);
  for (const reason of ['asked', 'retry', 'fault']) rebuilds.inc({ reason }, 0);

  return {
    client: {
      listed: (resource, how) => lists.inc({ resource, how }),
      watchClosed: (resource, how) => watches.inc({ resource, how }),
      event: (resource, type) => events.inc({ resource, type }),
      changed: (resource, count) => changes.inc({ resource }, count),
      error: (resource, reason) => errors.inc({ resource, reason }),
    },
    round(round) {
      if (round.reasons.includes('changes'))
        latency.observe((round.report.enforcedAt - round.since) / 1000);
      if (!round.report.partial) wholePlans.inc();
      if (round.built !== undefined) building.observe(round.buildMs / 1000);
      rounds.inc({ changed: String(round.report.transactions.length > 0) });
      for (const { phase } of round.report.transactions) transactions.inc({ phase });
      const { program } = round;
      localPods = program.pods ?? localPods;
      let elements = 0;
      for (const group of program.groups.values()) elements += group.elements.size;
      programmed.set({ part: 'sets' }, program.groups.size);
      programmed.set({ part: 'elements' }, elements);
      programmed.set({ part: 'chains' }, program.chains.size);
      programmed.set(
        { part: 'local_addresses' },
        program.dispatch.Ingress[4].size + program.dispatch.Ingress[6].size,
      );
      if (round.built !== undefined) {
        const { anew, invalid: faulty, quarantined } = round.built;
        invalid.set(faulty.length + quarantined.length);
        if (anew !== undefined) rebuilds.inc({ reason: anew });
      }
      last.set(round.finished / 1000);
    },
    failure: () => failures.inc(),
    drift: () => drifts.inc(),
    stateFile: (seconds) => saving.set(seconds),
    ready: (value) => ready.set(value ? 1 : 0),
    denied(entry, isNew) {
      const end = entry.direction === 'Egress' ? entry.source : entry.destination;
      const labels = {
        namespace: end.namespace ?? '',
        pod: end.pod ?? '',
        direction: entry.direction,
        verdict: entry.verdict,
      };
      if (end.pod !== undefined) {
        const pod = `${labels.namespace}/${labels.pod}`;
        const known = figures.get(pod) ?? { labels: new Map<string, Record<string, string>>() };
        known.labels.set(`${labels.direction} ${labels.verdict}`, labels);
        figures.set(pod, known);
      }
      if (isNew) deniedFlows.inc(labels);
      deniedPackets.inc(labels, entry.packets);
    },
    policyEvent: (outcome) => policyEvents.inc({ outcome: outcome.replaceAll(' ', '_') }),
    findings(list) {
      found.reset();
      for (const { check, severity } of list) found.inc({ check, severity });
    },
    exposition: () => {
      forgetGone();
      return registry.metrics();
    },
  };
}
