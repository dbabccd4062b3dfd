/**
 * Compiled policies in plain English: AND and OR in capitals, everything implied said aloud. Reads
 * the compiled form only, so what it says is what is enforced; must not know of clusters or pods.
 */
import { formatSelector, type Selector } from '../k8s/selector.ts';
import type {
  CompiledPeer,
  CompiledPolicy,
  CompiledPort,
  CompiledRule,
  Direction,
  PodMatcher,
} from '../policy/compiled.ts';

function isEverything(selector: Selector): boolean {
  return selector.requirements.length === 0 && !selector.nothing;
}

/** "pods of namespace prod with role=db". */
export function describePods(matcher: PodMatcher): string {
  const some = isEverything(matcher.pods) ? '' : ` with ${formatSelector(matcher.pods)}`;
  if ('name' in matcher.namespaces) {
    return some === ''
      ? `all pods of namespace ${matcher.namespaces.name}`
      : `pods${some} of namespace ${matcher.namespaces.name}`;
  }
  const { selector } = matcher.namespaces;
  const where = isEverything(selector)
    ? 'all namespaces'
    : `namespaces with ${formatSelector(selector)}`;
  return some === '' ? `all pods of ${where}` : `pods${some} AND in ${where}`;
}

export function describePeer(peer: CompiledPeer): string {
  switch (peer.kind) {
    case 'pods':
      return describePods(peer.matcher);
    case 'addresses':
      return `addresses ${peer.text}`;
    case 'nodes':
      return isEverything(peer.selector)
        ? 'all nodes'
        : `nodes with ${formatSelector(peer.selector)}`;
    case 'domainNames':
      return `addresses that ${peer.names.join(' OR ')} resolve to`;
    case 'unusable':
      return `nobody (this peer cannot be used: ${peer.reason})`;
  }
}

export function describePort(port: CompiledPort): string {
  if (port.kind === 'named') {
    return `the port that the destination pod names "${port.name}"${port.protocol === undefined ? '' : ` (${port.protocol})`}`;
  }
  if (port.from === 1 && port.to === 65535) return `any ${port.protocol} port`;
  return port.from === port.to
    ? `${port.protocol} ${port.from}`
    : `${port.protocol} ${port.from} to ${port.to}`;
}

function describeRule(rule: CompiledRule, direction: Direction, index: number): string[] {
  const word = direction === 'Ingress' ? 'from' : 'to';
  const peers =
    rule.peers === 'any'
      ? [`ANY ${direction === 'Ingress' ? 'source' : 'destination'}, inside or outside the cluster`]
      : rule.peers.map(describePeer);
  const lines = peers.length === 0 ? ['nobody'] : peers;
  const first = `    ${index + 1}. ${word.padEnd(4)} ${lines[0]}`;
  const rest = lines.slice(1).map((line) => `         OR ${line}`);
  const ports =
    rule.ports === 'any'
      ? ['ANY port and protocol']
      : rule.ports.length === 0
        ? ['no port']
        : rule.ports.map(describePort);
  return [first, ...rest, `       AND  on ${ports.join(' OR ')}`];
}

function describeIsolated(policy: CompiledPolicy, direction: Direction): string[] {
  const label = direction.toLowerCase().padEnd(9);
  if (!policy.isolates[direction]) return [`  ${label} not affected by this policy`];
  const rules = policy.rules[direction];
  const where = direction === 'Ingress' ? 'comes in' : 'goes out';
  if (rules.length === 0) return [`  ${label} isolated: NOTHING ${where} because of this policy`];
  return [
    `  ${label} isolated: a connection ${where} if it matches ${rules.length === 1 ? 'this rule' : `ANY of these ${rules.length} rules`}`,
    ...rules.flatMap((rule, index) => describeRule(rule, direction, index)),
  ];
}

function describeTiered(policy: CompiledPolicy, direction: Direction): string[] {
  const label = direction.toLowerCase().padEnd(9);
  const rules = policy.rules[direction];
  if (rules.length === 0) return [`  ${label} no rules: this policy decides nothing here`];
  const words = { Accept: 'ACCEPT', Deny: 'DENY', Pass: 'PASS on to the next tier' };
  return [
    `  ${label} the FIRST rule that matches decides; none: the next policy or tier`,
    ...rules.flatMap((rule, index) => {
      const [first = '', ...rest] = describeRule(rule, direction, index);
      const name = rule.name === undefined ? '' : ` "${rule.name}"`;
      return [
        `    ${index + 1}. ${words[rule.action]}${name}`,
        first.replace(/\d+\./, '  '),
        ...rest,
      ];
    }),
  ];
}

/** The whole policy, several lines, ending in a newline. */
export function describePolicy(policy: CompiledPolicy, notes: readonly string[] = []): string {
  const { ref } = policy;
  const name = ref.namespace === undefined ? ref.name : `${ref.namespace}/${ref.name}`;
  const place = ref.source === undefined ? '' : `  (${ref.source.file}:${ref.source.start.line})`;
  const tier =
    policy.tier === 'NetworkPolicy'
      ? []
      : [`  tier      ${policy.tier}, priority ${policy.priority} (lower goes first)`];
  const describe = policy.tier === 'NetworkPolicy' ? describeIsolated : describeTiered;
  return `${[
    `${ref.kind} ${name}${place}`,
    ...tier,
    `  selects   ${describePods(policy.subject)}`,
    ...describe(policy, 'Ingress'),
    ...describe(policy, 'Egress'),
    ...notes.map((note) => `  note      ${note}`),
  ].join('\n')}\n`;
}
