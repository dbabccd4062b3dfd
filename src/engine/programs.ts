/**
 * For every class and direction the policies that decide, in order, as one program; classes with the
 * same policies share it. Must not know of pairs.
 */
import { connectionsOf } from '../net/connection-set.ts';
import type { CompiledPolicy, CompiledPort, CompiledRule, Direction } from '../policy/compiled.ts';
import type { Classes, PeerClass } from './classes.ts';
import { EMPTY, EVERY, flagsOf } from './column-sets.ts';
import type { ColumnSets, SetId } from './column-sets.ts';
import { ALL, NONE } from './connection-table.ts';
import type { ConnectionId, ConnectionTable } from './connection-table.ts';
import { createLeg } from './legs.ts';
import type { Leg, Occurrence, Program, Step } from './legs.ts';
import type { NamedGroup, PeerSets } from './peer-sets.ts';
import { comparePolicies, tiersOfInvalid } from './policy-index.ts';
import { isNamed } from './ports.ts';
import { effectOf } from './rules.ts';
import type { PodInfo, Snapshot } from './snapshot.ts';
import { or } from './truth.ts';
import type { Truth } from './truth.ts';

type Named = CompiledPort & { readonly kind: 'named' };

/** An occurrence whose named ports are not resolved yet: ingress, where they are the subject's. */
interface Draft extends Occurrence {
  readonly named: readonly Named[];
}

/** A policy with its rules resolved against the columns. */
interface Resolved {
  readonly policy: CompiledPolicy;
  readonly Ingress: readonly Draft[];
  readonly Egress: readonly Occurrence[];
  /** Whether ingress rules name ports, even rules that no peer matches so far: keys must outlive that. */
  readonly named: boolean;
}

interface Selection {
  /** Position of the policy. */
  readonly policy: number;
  readonly truth: Truth;
}

export interface Programs {
  /** The leg of a class; undefined where no policy applies to it (S355, S356). */
  legOf(id: number, direction: Direction, likePods: boolean): Leg | undefined;
  readonly legs: ReadonlyMap<string, Leg>;
  /** Takes a policy in, out, or both; returns the classes whose legs it may have changed. */
  replace(position: number, policy: CompiledPolicy | undefined): number[];
  /** Finds the policies of a class anew. */
  refresh(id: number): void;
  /** Makes a class known that was split from another and is treated like it so far. */
  split(original: number, copy: number): void;
  /** Resolves the rules of a policy anew, as the columns of its peers have changed; returns its subjects. */
  invalidate(position: number): number[];
  /** Adds columns that are treated like others to all legs. */
  addLike(copies: ReadonlyMap<number, readonly number[]>): void;
  readonly policies: readonly (CompiledPolicy | undefined)[];
}

export function createPrograms(
  snapshot: Snapshot,
  classes: Classes,
  peerSets: PeerSets,
  sets: ColumnSets,
  table: ConnectionTable,
): Programs {
  const { settings } = snapshot;
  const policies: (CompiledPolicy | undefined)[] = [...snapshot.policies].sort(comparePolicies);
  const resolved: (Resolved | undefined)[] = [];
  /** Per class, in order of evaluation. */
  const selections: Selection[][] = classes.list.map(() => []);
  const legs = new Map<string, Leg>();
  const legsOfPolicy = new Map<number, string[]>();
  const keys = { Ingress: [] as (string | undefined)[], Egress: [] as (string | undefined)[] };
  /** Positions of policies that can select pods of a namespace, and of those that can select any. */
  const pinned = new Map<string, number[]>();
  const unpinned: number[] = [];

  const place = (position: number, policy: CompiledPolicy): void => {
    const { namespaces } = policy.subject;
    if (!('name' in namespaces)) unpinned.push(position);
    else {
      const list = pinned.get(namespaces.name);
      if (list === undefined) pinned.set(namespaces.name, [position]);
      else list.push(position);
    }
  };

  const orderOf = (a: number, b: number): number =>
    comparePolicies(policies[a] as CompiledPolicy, policies[b] as CompiledPolicy);

  const select = (position: number, policy: CompiledPolicy, inOrder: boolean): number[] => {
    const found: number[] = [];
    for (const { class: id, truth } of peerSets.subjects(policy.subject, policy.tier)) {
      const list = selections[id] as Selection[];
      list.push({ policy: position, truth });
      if (!inOrder) list.sort((a, b) => orderOf(a.policy, b.policy));
      found.push(id);
    }
    return found;
  };

  policies.forEach((policy, position) => {
    if (policy === undefined) return;
    place(position, policy);
    select(position, policy, true);
  });

  // --- rules ------------------------------------------------------------------------------------

  const resolve = (position: number): Resolved => {
    let found = resolved[position];
    if (found !== undefined) return found;
    const policy = policies[position] as CompiledPolicy;
    const Ingress = policy.rules.Ingress.flatMap((rule) =>
      draftsOf(position, policy, rule, 'Ingress'),
    );
    const Egress = policy.rules.Egress.flatMap((rule) =>
      draftsOf(position, policy, rule, 'Egress'),
    );
    found = {
      policy,
      Ingress,
      Egress: Egress.flatMap(expandEgress),
      named: policy.rules.Ingress.some(
        ({ ports }) => ports !== 'any' && ports.some(({ kind }) => kind === 'named'),
      ),
    };
    resolved[position] = found;
    return found;
  };

  const draftsOf = (
    position: number,
    policy: CompiledPolicy,
    rule: CompiledRule,
    direction: Direction,
  ): Draft[] => {
    const { action, everything } = effectOf(rule);
    const common = { policy: position, rule, effect: action };
    if (everything)
      return [{ ...common, columns: EVERY, connections: ALL, maybe: false, named: [] }];
    let connections: ConnectionId = rule.ports === 'any' ? ALL : NONE;
    const named: Named[] = [];
    if (rule.ports !== 'any')
      for (const port of rule.ports)
        if (port.kind === 'named') named.push(port);
        else
          connections = table.union(
            connections,
            table.idOf(connectionsOf(port.protocol, port.from, port.to)),
          );
    const { yes, maybe } = peerSets.peers(rule.peers, policy.tier, direction);
    const drafts: Draft[] = [];
    const add = (columns: SetId, unsure: boolean): void => {
      if (columns !== EMPTY) drafts.push({ ...common, columns, connections, maybe: unsure, named });
    };
    add(yes, false);
    add(maybe, true);
    return drafts;
  };

  const connectionsOfPorts = (ports: NamedGroup['ports']): ConnectionId => {
    let all: ConnectionId = NONE;
    for (const { protocol, port } of ports)
      all = table.union(all, table.idOf(connectionsOf(protocol, port)));
    return all;
  };

  /** Named ports of egress rules are each destination's own (S133, S134). */
  const expandEgress = ({ named, ...draft }: Draft): Occurrence[] => {
    const found: Occurrence[] = draft.connections === NONE ? [] : [draft];
    for (const entry of named)
      for (const { ports, columns } of peerSets.named(entry)) {
        const both = sets.intersect(draft.columns, columns);
        if (both !== EMPTY)
          found.push({ ...draft, columns: both, connections: connectionsOfPorts(ports) });
      }
    return found;
  };

  /** Named ports of ingress rules are the subject's. */
  const expandIngress = ({ named, ...draft }: Draft, pod: PodInfo): Occurrence[] => {
    let { connections } = draft;
    for (const entry of named)
      connections = table.union(
        connections,
        connectionsOfPorts(pod.namedPorts.filter((port) => isNamed(port, entry))),
      );
    return connections === NONE ? [] : [{ ...draft, connections }];
  };

  // --- programs ---------------------------------------------------------------------------------

  const invalid = snapshot.completeness.invalidPolicies.map((ref) => ({
    namespace: ref.namespace,
    tiers: tiersOfInvalid(ref),
  }));

  const keyOf = (peerClass: PeerClass, direction: Direction, likePods: boolean): string => {
    const { id, pod } = peerClass;
    if (pod === undefined) return '';
    let key = direction === 'Ingress' ? 'I' : 'E';
    if (likePods) key += '*';
    let names = false;
    for (const { policy: position, truth } of selections[id] as Selection[]) {
      const policy = policies[position] as CompiledPolicy;
      if (policy.tier === 'NetworkPolicy') {
        if (!policy.isolates[direction]) {
          // It matters only as a policy that selects the pod at all (S293).
          if (settings.baselineSkip !== 'per-direction') key += `,s${truth}`;
          continue;
        }
      } else if (policy.rules[direction].length === 0 || likePods) continue;
      key += truth === 'yes' ? `,${position}` : `,${position}?`;
      if (direction === 'Ingress' && resolve(position).named) names = true;
    }
    if (names)
      key += `;${pod.namedPorts
        .filter(({ name }) => classes.mentions.portNames.has(name))
        .map(({ name, port, protocol }) => `${name}/${port}/${protocol}`)
        .sort()
        .join()}`;
    if (invalid.length > 0)
      for (const { namespace, tiers } of invalid)
        if (namespace === undefined || namespace === pod.namespace) key += `!${tiers.join()}`;
    return key;
  };

  const programOf = (peerClass: PeerClass, direction: Direction, likePods: boolean): Program => {
    const pod = peerClass.pod as PodInfo;
    const steps = { Admin: [] as Step[], NetworkPolicy: [] as Step[], Baseline: [] as Step[] };
    let selected: Truth = 'no';
    for (const { policy: position, truth } of selections[peerClass.id] as Selection[]) {
      const found = resolve(position);
      const { tier, priority, isolates } = found.policy;
      if (tier === 'NetworkPolicy') {
        selected = or(selected, truth);
        if (!isolates[direction]) continue;
      } else if (likePods) continue;
      steps[tier].push({
        policy: position,
        priority,
        truth,
        occurrences:
          direction === 'Egress'
            ? found.Egress
            : found.named
              ? found.Ingress.flatMap((draft) => expandIngress(draft, pod))
              : found.Ingress.filter(({ connections }) => connections !== NONE),
      });
    }
    const isInvalid = (tier: 'Admin' | 'NetworkPolicy' | 'Baseline'): boolean =>
      (tier === 'NetworkPolicy' || !likePods) &&
      invalid.some(
        ({ namespace, tiers }) =>
          tiers.includes(tier) && (namespace === undefined || namespace === pod.namespace),
      );
    return {
      direction,
      admin: steps.Admin,
      isolating: steps.NetworkPolicy,
      selected,
      baseline: steps.Baseline,
      invalid: {
        admin: isInvalid('Admin'),
        networkPolicy: isInvalid('NetworkPolicy'),
        baseline: isInvalid('Baseline'),
      },
    };
  };

  const legOf = (id: number, direction: Direction, likePods: boolean): Leg | undefined => {
    const peerClass = classes.list[id] as PeerClass;
    if (peerClass.pod === undefined || !peerClass.counts) return undefined;
    // Under the second option of S184 policy does not apply to hostNetwork pods.
    if (peerClass.nodeTraffic && !likePods) return undefined;
    const asHost = peerClass.nodeTraffic && likePods;
    let key = keys[direction][id];
    if (key === undefined) {
      key = keyOf(peerClass, direction, asHost);
      keys[direction][id] = key;
    }
    let leg = legs.get(key);
    if (leg === undefined) {
      const program = programOf(peerClass, direction, asHost);
      leg = createLeg(program, sets, table, settings);
      for (const { policy } of [...program.admin, ...program.isolating, ...program.baseline]) {
        const list = legsOfPolicy.get(policy);
        if (list === undefined) legsOfPolicy.set(policy, [key]);
        else list.push(key);
      }
      legs.set(key, leg);
    }
    return leg;
  };

  const forget = (id: number): void => {
    keys.Ingress[id] = undefined;
    keys.Egress[id] = undefined;
  };

  /** When a policy changes, all legs with it are stale. */
  const dropLegs = (position: number): void => {
    for (const key of legsOfPolicy.get(position) ?? []) legs.delete(key);
    legsOfPolicy.delete(position);
  };

  const refresh = (id: number): void => {
    const { pod } = classes.list[id] as PeerClass;
    const list: Selection[] = [];
    selections[id] = list;
    forget(id);
    if (pod === undefined) return;
    for (const position of [...(pinned.get(pod.namespace) ?? []), ...unpinned]) {
      const policy = policies[position] as CompiledPolicy;
      const truth = peerSets.selectsClass(policy.subject, id, policy.tier);
      if (truth !== 'no') list.push({ policy: position, truth });
    }
    list.sort((a, b) => orderOf(a.policy, b.policy));
  };

  return {
    legOf,
    legs,
    policies,
    replace(position, policy) {
      const touched = new Set<number>();
      const before = policies[position];
      if (before !== undefined) {
        const subjects = peerSets.subjects(before.subject, before.tier);
        dropLegs(position);
        for (const { class: id } of subjects) {
          selections[id] = (selections[id] as Selection[]).filter(
            (entry) => entry.policy !== position,
          );
          touched.add(id);
        }
        const { namespaces } = before.subject;
        const list = 'name' in namespaces ? pinned.get(namespaces.name) : unpinned;
        list?.splice(list.indexOf(position), 1);
      }
      policies[position] = policy;
      resolved[position] = undefined;
      if (policy !== undefined) {
        place(position, policy);
        for (const id of select(position, policy, false)) touched.add(id);
      }
      for (const id of touched) forget(id);
      return [...touched];
    },
    refresh,
    split(original, copy) {
      selections[copy] = [...(selections[original] as Selection[])];
      for (const direction of ['Ingress', 'Egress'] as const)
        keys[direction][copy] = keys[direction][original];
    },
    invalidate(position) {
      resolved[position] = undefined;
      const policy = policies[position];
      if (policy === undefined) return [];
      const found = peerSets.subjects(policy.subject, policy.tier).map(({ class: id }) => id);
      dropLegs(position);
      return found;
    },
    addLike(copies) {
      const isCopied = flagsOf([...copies.keys()]);
      for (const leg of legs.values()) leg.addLike(copies, isCopied);
    },
  };
}
