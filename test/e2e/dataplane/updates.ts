/**
 * Every kind of change that a node's program can see, over the contract's cluster, with flows whose
 * verdict no change touches. Must not know how a program reaches the kernel.
 */
import type { DataplaneOptions } from '../../../src/dataplane/index.ts';
import type { KubeObject } from '../../../src/k8s/types.ts';
import {
  clusterObjects,
  clusterPolicy,
  networkPolicy,
  podObject,
  pods,
} from '../../contract/dataplane.ts';
import type { BedPod } from './bed.ts';
import type { Stream } from './flood.ts';

/** A pod of node-1 that is announced and forgotten again; it sends and is sent to all the time. */
export const guest = { name: 'guest', node: 1, host: 20 } as const;

/** The contract's pods and the guest; those that flood do so with copies. */
export function floodPods(copies: number): BedPod[] {
  return [...pods, guest].map((pod) =>
    ['front', 'dev1', 'guest'].includes(pod.name) ? { ...pod, copies } : pod,
  );
}

const both = (pod: BedPod): string[] => [
  `10.244.${pod.node}.${pod.host}`,
  `fd00:244:${pod.node}::${pod.host}`,
];
const of = (name: string): string[] => both(pods.find((pod) => pod.name === name) as BedPod);

/** IPv4 and IPv6, over one node and two, egress and ingress, a pod not announced at times. */
export const streams: readonly Stream[] = [
  { from: 'front', to: of('db'), port: 7000, allowed: true },
  { from: 'front', to: of('db'), port: 7001, allowed: false },
  { from: 'front', to: both(guest), port: 7002, allowed: false },
  { from: 'front', to: of('prod2'), port: 7003, allowed: true },
  { from: 'front', to: of('prod2'), port: 7004, allowed: false },
  { from: 'dev1', to: of('db'), port: 7005, allowed: false },
  { from: 'dev2', to: of('db'), port: 7006, allowed: false },
  { from: 'guest', to: of('db'), port: 7007, allowed: false },
  { from: 'guest', to: of('dev1'), port: 7008, allowed: false },
];

export interface Update {
  readonly kind: string;
  readonly objects: readonly KubeObject[];
  readonly options: Partial<DataplaneOptions>;
}

/**
 * One change after the other, each kind in its turn and for ever. `restart` changes nothing: whoever
 * applies it shall be somebody new.
 */
export function* updates(): Generator<Update, never> {
  const state = {
    guest: true,
    extras: 0,
    peer: 'frontend',
    subject: 'one',
    dev: 'dev',
    policies: new Map<string, object>(),
    admin: false,
    wide: false,
    open: false,
    options: {} as Partial<DataplaneOptions>,
  };
  const rule = (port: number, ...roles: string[]): object => ({
    from: roles.map((role) => ({ podSelector: { matchLabels: { role } } })),
    ports: [{ protocol: 'UDP', port }],
  });
  const udp = (port: number): object => ({ ports: [{ protocol: 'UDP', port }] });
  const relabelled = (object: KubeObject): KubeObject => {
    const { name } = object.metadata;
    const labels = (changed: Record<string, string>): KubeObject => ({
      ...object,
      metadata: { ...object.metadata, labels: { ...object.metadata.labels, ...changed } },
    });
    if (object.kind === 'Namespace')
      return name === 'dev' ? labels({ project: state.dev }) : object;
    if (object.kind === 'Node')
      return name === 'node-1' && state.wide
        ? {
            ...object,
            spec: { podCIDRs: ['10.244.1.0/24', '10.250.1.0/24', 'fd00:244:1::/64'] },
          }
        : object;
    if (name === 'front') return labels({ role: state.peer });
    if (name !== 'db') return object;
    return labels({ version: state.subject, gate: state.open ? 'open' : 'closed' });
  };
  const present = (): KubeObject[] => {
    const objects = clusterObjects().map(relabelled);
    const pod = (name: string, host: number, more: object = {}): KubeObject =>
      podObject({
        name,
        namespace: 'prod',
        node: 1,
        host,
        labels: { role: 'frontend', ...more },
        web: 80,
      });
    // Keeps the set of movers in use while the database's gate is closed.
    objects.push(pod('keeper', 149, { gate: 'open' }));
    if (state.guest) objects.push(pod('guest', guest.host, state.open ? {} : { gate: 'mover' }));
    for (let i = 0; i < state.extras; i++) objects.push(pod(`extra${i}`, 150 + i));
    objects.push(
      networkPolicy('one', {
        podSelector: { matchLabels: { version: 'one' } },
        ingress: [rule(7000, 'frontend', 'friend')],
      }),
      networkPolicy('two', {
        podSelector: { matchLabels: { version: 'two' } },
        ingress: [rule(7000, 'frontend', 'friend'), rule(9000, 'x')],
      }),
      networkPolicy('gate', {
        podSelector: { matchLabels: { gate: 'open' } },
        ingress: [
          {
            from: [{ podSelector: { matchLabels: { gate: 'mover' } } }],
            ports: [{ protocol: 'UDP', port: 7007 }],
          },
        ],
      }),
      networkPolicy('staging', {
        podSelector: { matchLabels: { role: 'db' } },
        ingress: [
          {
            from: [{ namespaceSelector: { matchLabels: { project: 'staging' } } }],
            ports: [{ protocol: 'UDP', port: 9100 }],
          },
        ],
      }),
      // What the guest and front may send, whatever front's label says at the moment.
      networkPolicy('out', {
        podSelector: {
          matchExpressions: [{ key: 'role', operator: 'In', values: ['frontend', 'friend'] }],
        },
        policyTypes: ['Ingress', 'Egress'],
        ingress: [udp(9200)],
        egress: [{ to: [{ podSelector: { matchLabels: { role: 'db' } } }] }, udp(7003)],
      }),
    );
    // As an ingress policy of its own would have it, prod2 takes 7003 from everybody.
    objects.push(
      networkPolicy('prod2', {
        podSelector: { matchLabels: { role: 'frontend' } },
        ingress: [udp(7003)],
      }),
    );
    for (const [name, spec] of state.policies) objects.push(networkPolicy(name, spec));
    if (state.admin)
      objects.push(
        clusterPolicy('admin', 'Admin', 10, {
          subject: { namespaces: { matchLabels: { project: 'prod' } } },
          ingress: [
            {
              action: 'Pass',
              from: [
                {
                  pods: { namespaceSelector: {}, podSelector: { matchLabels: { role: 'friend' } } },
                },
              ],
              protocols: [{ udp: { destinationPort: { range: { start: 7000, end: 7009 } } } }],
            },
            {
              action: 'Deny',
              from: [{ namespaces: { matchLabels: { project: 'staging' } } }],
            },
          ],
        }),
      );
    return objects;
  };
  const events: readonly (readonly [string, (turn: number) => void])[] = [
    // The guest is away in one turn of four, so that it meets everything else present, too.
    ['pod added', (turn) => (turn % 4 === 1 ? (state.guest = true) : (state.extras = 2))],
    ['peer label', () => (state.peer = state.peer === 'friend' ? 'frontend' : 'friend')],
    ['pod deleted', (turn) => (turn % 4 === 0 ? (state.guest = false) : (state.extras = 0))],
    ['subject label', () => (state.subject = state.subject === 'one' ? 'two' : 'one')],
    [
      'policy added',
      () =>
        state.policies.set('late', {
          podSelector: { matchLabels: { role: 'db' } },
          ingress: [udp(9001)],
        }),
    ],
    ['namespace label', () => (state.dev = state.dev === 'dev' ? 'staging' : 'dev')],
    [
      'policy edited',
      (turn) =>
        state.policies.set('late', {
          podSelector: {},
          policyTypes: ['Ingress'],
          ingress: [{ ...rule(9002 + (turn % 50), 'frontend'), ...udp(9002 + (turn % 50)) }],
        }),
    ],
    // The gate opens in the moment in which the guest may no longer pass it, and the other way round.
    ['several at once', () => (state.open = !state.open)],
    ['restart', () => {}],
    ['policy deleted', () => state.policies.delete('late')],
    ['cluster policy added or deleted', () => (state.admin = !state.admin)],
    ['pod ranges', () => (state.wide = !state.wide)],
    [
      'frame upgrade',
      (turn) =>
        (state.options = [{ observe: true, observeLimit: 20 }, { midStream: 'allow' as const }, {}][
          turn % 3
        ] as Partial<DataplaneOptions>),
    ],
  ];
  for (let turn = 0; ; turn++)
    for (const [kind, change] of events) {
      change(turn);
      yield { kind, objects: present(), options: state.options };
    }
}

/** Kinds that {@link updates} goes through. */
export const updateKinds = 13;
