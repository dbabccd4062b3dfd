/**
 * Judges candidate changes by making them: rebuilds the snapshot, asks the question again, and
 * compares all pairs. Must not know how candidates are thought of or shown.
 */
import {
  containsConnections,
  isNoConnections,
  subtractConnections,
} from '../net/connection-set.ts';
import { addressSetOf } from '../net/address-set.ts';
import type { KubeObject } from '../k8s/types.ts';
import type { PolicyRef } from '../policy/compiled.ts';
import { buildSnapshot, type BuildInput, type BuildOptions } from './build.ts';
import { diffReach, type PairChange } from './diff.ts';
import { createEvaluator } from './evaluate.ts';
import { createAddressBook, ownerOf } from './ends.ts';
import { candidateFixes, type Fix } from './fix.ts';
import { groupPeers, worldId } from './groups.ts';
import { nearMisses } from './near-miss.ts';
import { computeReach, type Reach } from './reach.ts';
import type { Snapshot } from './snapshot.ts';
import type { Connection, Endpoint, Verdict } from './verdict.ts';

export interface JudgedFix {
  readonly fix: Fix;
  /** The verdict with this change alone. */
  readonly outcome: Verdict['outcome'];
  /** Every other pair that changes; undefined when the cluster is too large to compare here. */
  readonly also?: readonly PairChange[];
}

/** More groups than this are compared with `podwall diff`, not in passing: O(groups²). */
const comparable = 400;

/** Candidates tried for each closed leg. */
const tries = 3;

/**
 * For each closed leg of a verdict the changes that open that leg, best first: those that change the
 * least elsewhere among the smallest edits.
 */
export function judgeFixes(
  objects: readonly BuildInput[],
  options: BuildOptions,
  snapshot: Snapshot,
  connection: Connection,
  verdict: Verdict,
): JudgedFix[] {
  const misses = nearMisses(snapshot, connection, [verdict.egress, verdict.ingress]);
  const book = createAddressBook(snapshot);
  // An address may be asked for that a pod or node has.
  const asked = {
    ...connection,
    source: ownerOf(connection.source, book),
    destination: ownerOf(connection.destination, book),
  };
  let before: Reach | undefined;
  const judged: JudgedFix[] = [];
  for (const leg of [verdict.egress, verdict.ingress]) {
    const candidates = candidateFixes(connection, leg, misses, (ref) => objectOf(objects, ref));
    // The new policy comes last and opens least: it is always among the candidates tried.
    const tried = [...candidates.slice(0, tries - 1), ...candidates.slice(tries - 1).slice(-1)];
    for (const fix of tried) {
      const after = buildSnapshot(withChange(objects, fix), options).snapshot;
      const again = createEvaluator(after).evaluate(reask(connection, after));
      const opened = leg.direction === 'Egress' ? again.egress : again.ingress;
      if (opened.outcome !== 'allowed') continue;
      const small =
        groupPeers(computeOnce()).length <= comparable
          ? { also: otherChanges(diffReach(computeOnce(), computeReach(after)), asked) }
          : {};
      judged.push({ fix, outcome: again.outcome, ...small });
    }
  }
  return judged.toSorted(
    (a, b) =>
      Number(a.fix.direction === 'Ingress') - Number(b.fix.direction === 'Ingress') ||
      closes(a) - closes(b) ||
      a.fix.size - b.fix.size ||
      (a.also?.length ?? 0) - (b.also?.length ?? 0),
  );

  function computeOnce(): Reach {
    before ??= computeReach(snapshot);
    return before;
  }
}

/** A change that closes something else is never the first choice. */
function closes({ also }: JudgedFix): number {
  return (also ?? []).filter((change) => !isNoConnections(change.closed)).length;
}

function objectOf(objects: readonly BuildInput[], ref: PolicyRef): KubeObject | undefined {
  return objects.find((input) => isOf(input.object, ref))?.object;
}

function isOf({ kind, metadata }: KubeObject, ref: PolicyRef): boolean {
  return (
    kind === ref.kind &&
    metadata.name === ref.name &&
    (ref.namespace === undefined || (metadata.namespace ?? 'default') === ref.namespace)
  );
}

function withChange(objects: readonly BuildInput[], fix: Fix): BuildInput[] {
  if (fix.isNew) return [...objects, { object: fix.object }];
  // Without its places: they are those of the text before the change.
  return objects.map((input) => (isOf(input.object, fix.policy) ? { object: fix.object } : input));
}

/** The same ends in the changed snapshot. */
function reask(connection: Connection, after: Snapshot): Connection {
  const again = (end: Endpoint): Endpoint => {
    if (end.kind !== 'pod') return end;
    const pod = after.podById.get(end.pod.id);
    return pod === undefined ? end : { ...end, pod };
  };
  return {
    ...connection,
    source: again(connection.source),
    destination: again(connection.destination),
  };
}

/** Without the pair that was asked for, when nothing but the asked port changed on it. */
function otherChanges(
  diff: { readonly changes: readonly PairChange[] },
  { source, destination, protocol, port }: Connection,
): PairChange[] {
  const asked =
    protocol === 'other' || port === undefined
      ? undefined
      : { TCP: [], UDP: [], SCTP: [], other: false, [protocol]: [port, port] };
  return diff.changes.filter((change) => {
    if (!isEnd(change.source, source) || !isEnd(change.destination, destination)) return true;
    if (!isNoConnections(change.closed)) return true;
    return asked !== undefined && !containsConnections(asked, change.opened)
      ? !isNoConnections(subtractConnections(change.opened, asked))
      : false;
  });
}

function isEnd(id: string, end: Endpoint): boolean {
  if (end.kind === 'node') return id === `node/${end.node.name}`;
  if (end.kind === 'address') return id === worldId(addressSetOf(end.address));
  const { kind, namespace, name } = end.pod.workload;
  return id === end.pod.id || id === `${namespace}/${kind}/${name}`;
}
