/**
 * Exposure of pods as text, Markdown and the Exposure document. Must not know how it was found.
 */
import type { ExposedPeer, ExposedSide, ExposedTo, Exposure } from '../engine/expose.ts';
import { byConnections } from '../engine/expose.ts';
import type { Completeness } from '../engine/snapshot.ts';
import {
  containsConnections,
  formatConnections,
  isNoConnections,
  type ConnectionSet,
} from '../net/connection-set.ts';
import { selectorEverything } from '../k8s/selector.ts';
import type { CompiledRule, PolicyRef } from '../policy/compiled.ts';
import { paint } from './matrix.ts';
import { describePeer, describePods, describePort } from './policy-text.ts';
import { allowOf } from './reachability.ts';
import { completenessJson } from './verdict-json.ts';
import { nameOf } from './verdict-text.ts';

type PlaceOf = (policy: PolicyRef, path?: string) => string;

const everyone = 'every pod of every namespace, nodes, the world';

/** "any pod with role=frontend in namespaces with env=dev". */
export function describeExposed({ peer }: ExposedTo): string {
  if (peer === undefined) return `ANYONE: ${everyone}`;
  if (peer.kind !== 'pods') return describePeer(peer);
  const { pods } = peer.matcher;
  const every = pods.id === selectorEverything.id;
  return `any ${describePods(peer.matcher)
    .replace(every ? /^all pods/ : /^pods/, 'pod')
    .replace(' AND in ', ' in ')}`;
}

function portsOf(rule: CompiledRule): string {
  if (rule.ports === 'any') return 'any port';
  return rule.ports.length === 0 ? 'no port' : rule.ports.map(describePort).join(' OR ');
}

/** Existing peers named in a line. */
const NAMED = 6;

function names(ids: readonly string[]): string {
  const shown = ids.slice(0, NAMED).join(', ');
  return ids.length > NAMED ? `${shown} and ${ids.length - NAMED} more` : shown;
}

/** What existing peers a rule means. */
function meant({ peer, matches, mayMatch }: ExposedTo): string {
  if (peer === undefined) return '';
  const may = mayMatch.length === 0 ? '' : `; perhaps ${names(mayMatch)}`;
  if (peer.kind === 'domainNames') return 'which addresses that is, only DNS knows';
  return `${matches.length === 0 ? 'none exists in the input' : `now: ${names(matches)}`}${may}`;
}

const verbs = { Accept: 'admits', Deny: 'DENIES', Pass: 'passes on' } as const;

function otherEnd(side: ExposedSide): string {
  return side.direction === 'Ingress' ? 'egress' : 'ingress';
}

/** Existing peers that this side lets through and the other end does not, at least in part. */
function limited(peers: readonly ExposedPeer[]): ExposedPeer[] {
  return peers.filter(({ allowed, open }) => !containsConnections(open, allowed));
}

function headOf(side: ExposedSide): string {
  if (side.exempt) return 'policy does not apply: it uses its node’s network or has ended';
  if (side.anyone) return `not isolated → ANYONE: ${everyone}`;
  const by = side.isolatedBy.map(nameOf).join(', ');
  const maybe = side.maybeIsolatedBy.map(nameOf).join(', ');
  if (by !== '') return `isolated by ${by}`;
  if (maybe !== '') return `perhaps isolated by ${maybe}: facts are missing`;
  return `not isolated: ANYONE whom no rule below decides`;
}

function sideLines(side: ExposedSide, place: PlaceOf, color: boolean): string[] {
  const label = side.direction === 'Ingress' ? 'from' : 'to';
  const head = headOf(side);
  const lines = [`  ${label.padEnd(5)} ${side.anyone ? paint(head, '1;31', color) : head}`];
  for (const one of side.rules) {
    const where = place(one.policy, one.peer?.path ?? one.rule.path);
    const verb = one.tier === 'NetworkPolicy' ? '' : `${one.tier} ${verbs[one.action]} `;
    lines.push(`        ${verb}${describeExposed(one)}`);
    lines.push(`          on ${portsOf(one.rule)}`);
    const existing = meant(one);
    if (existing !== '') lines.push(`          ${existing}`);
    lines.push(`          ${nameOf(one.policy)} ${one.rule.path}  ${where}`.trimEnd());
  }
  const isolated = side.isolatedBy.length > 0 && !side.exempt;
  if (isolated && side.rules.length === 0) lines.push('        NOBODY: no rule admits anything');
  if (!side.anyone && !side.exempt) {
    for (const { on, peers } of byConnections(
      side.peers.filter((one) => !isNoConnections(one.allowed)),
    ))
      lines.push(`        = ${names(peers.map(({ group }) => group.id))}  ${on}`);
    const unsure = side.peers.filter((one) => !isNoConnections(one.unknown));
    if (unsure.length > 0)
      lines.push(`        ? not decided: ${names(unsure.map(({ group }) => group.id))}`);
  }
  const closed = limited(side.peers);
  if (closed.length > 0)
    lines.push(
      `        ! closed by their own ${otherEnd(side)}, all or in part: ${names(closed.map(({ group }) => group.id))}`,
    );
  return lines;
}

export function renderExposure(exposure: Exposure, place: PlaceOf, color: boolean): string {
  const { group, ingress, egress } = exposure;
  const pods = group.members.length > 1 ? `  ${group.members.length} pods` : '';
  return `${[
    paint(`${group.id}${pods}`, '1', color),
    ...sideLines(ingress, place, color),
    ...sideLines(egress, place, color),
  ].join('\n')}\n`;
}

function cell(text: string): string {
  return text.replaceAll('|', '\\|');
}

function markdownSide(side: ExposedSide): string {
  if (side.exempt || side.anyone || side.rules.length === 0)
    return side.isolatedBy.length > 0 && !side.exempt ? 'NOBODY' : headOf(side);
  const list = side.rules.map((one) => {
    const verb = one.tier === 'NetworkPolicy' ? '' : `${one.tier} ${verbs[one.action]} `;
    const existing = meant(one);
    return `${verb}${describeExposed(one)} on ${portsOf(one.rule)}${existing === '' ? '' : ` (${existing})`}`;
  });
  return (side.isolatedBy.length === 0 ? [headOf(side), ...list] : list).join('<br>');
}

/** A table, one row a pod or workload. */
export function renderExposureMarkdown(exposures: Iterable<Exposure>): string {
  const lines = ['| Pods | From | To |', '| --- | --- | --- |'];
  for (const { group, ingress, egress } of exposures)
    lines.push(
      `| ${[`\`${group.id}\``, markdownSide(ingress), markdownSide(egress)].map(cell).join(' | ')} |`,
    );
  lines.push('', 'By the rules of each pod itself; the other end may still close a connection.');
  return `${lines.join('\n')}\n`;
}

function policyJson(policy: PolicyRef, place: string): object {
  return {
    kind: policy.kind,
    ...(policy.namespace === undefined ? {} : { namespace: policy.namespace }),
    name: policy.name,
    ...(place === '' ? {} : { place }),
  };
}

function sideJson(side: ExposedSide, place: PlaceOf): object {
  const set = (connections: ConnectionSet): object | string => allowOf(connections);
  return {
    exempt: side.exempt,
    isolated: side.isolatedBy.length > 0,
    anyone: side.anyone,
    isolatedBy: side.isolatedBy.map((policy) => policyJson(policy, place(policy))),
    maybeIsolatedBy: side.maybeIsolatedBy.map((policy) => policyJson(policy, place(policy))),
    rules: side.rules.map((one) => ({
      tier: one.tier,
      action: one.action,
      policy: policyJson(one.policy, place(one.policy, one.peer?.path ?? one.rule.path)),
      path: one.peer?.path ?? one.rule.path,
      peer: one.peer?.kind ?? 'anyone',
      text: describeExposed(one),
      ports: one.rule.ports === 'any' ? 'any' : one.rule.ports.map(describePort),
      matches: one.matches,
      mayMatch: one.mayMatch,
    })),
    peers: side.peers.map(({ group, allowed, unknown, open }) => ({
      id: group.id,
      kind: group.kind === 'world' ? 'ipBlock' : group.kind,
      allow: set(allowed),
      ...(isNoConnections(unknown) ? {} : { unknown: formatConnections(unknown) }),
      open: set(open),
    })),
  };
}

/** `peers[].allow`: by the pod's own rules; `open`: by those of the other end as well. */
export function toExposureJson(
  exposures: readonly Exposure[],
  place: PlaceOf,
  completeness: Completeness,
): object {
  return {
    apiVersion: 'podwall/v1',
    kind: 'Exposure',
    completeness: completenessJson(completeness),
    subjects: exposures.map(({ group, ingress, egress }) => ({
      id: group.id,
      kind: group.kind,
      namespace: group.namespace,
      name: group.name,
      pods: group.members.length,
      ingress: sideJson(ingress, place),
      egress: sideJson(egress, place),
    })),
  };
}
