/**
 * Faults that the tests must notice: each one breaks the analyzer in one way, by exact replacement
 * of source text. Data only; scripts/mutate.ts applies it.
 */

export interface Edit {
  readonly file: string;
  /** Must occur exactly once. */
  readonly find: string;
  readonly replace: string;
}

export interface Mutation {
  /** What is wrong once it is applied. */
  readonly fault: string;
  /** Items of the specification that it violates. */
  readonly items: string;
  readonly edits: readonly Edit[];
}

const selector = 'src/k8s/selector.ts';
const cidr = 'src/net/cidr.ts';
const addressSet = 'src/net/address-set.ts';
const v1 = 'src/policy/kinds/network-policy.ts';
const cnp = 'src/policy/kinds/cluster-network-policy.ts';
const ends = 'src/engine/ends.ts';
const peers = 'src/engine/peers.ts';
const ports = 'src/engine/ports.ts';
const rules = 'src/engine/rules.ts';
const direction = 'src/engine/direction.ts';
const order = 'src/engine/policy-index.ts';
const evaluate = 'src/engine/evaluate.ts';
const effects = 'src/engine/effects.ts';
const pairEffects = 'src/engine/pair-effects.ts';
const legs = 'src/engine/legs.ts';
const classes = 'src/engine/classes.ts';
const peerSets = 'src/engine/peer-sets.ts';

function one(fault: string, items: string, file: string, find: string, replace: string): Mutation {
  return { fault, items, edits: [{ file, find, replace }] };
}

export const mutations: readonly Mutation[] = [
  // Selectors
  one(
    'NotIn does not match an object without the key',
    'S94 S380',
    selector,
    'return !present || !has(requirement.values, value);',
    'return present && !has(requirement.values, value);',
  ),
  one(
    'DoesNotExist matches nothing',
    'S96',
    selector,
    "case 'DoesNotExist':\n      return !present;",
    "case 'DoesNotExist':\n      return false;",
  ),
  one(
    'Exists does not see an empty value',
    'S95',
    selector,
    "case 'Exists':\n      return present;",
    "case 'Exists':\n      return present && value !== '';",
  ),
  one(
    'an absent label counts as an empty one',
    'S92 S93',
    selector,
    'return present && has(requirement.values, value);',
    "return has(requirement.values, present ? value : '');",
  ),
  one(
    'an absent podSelector selects no pod',
    'S5 S6',
    v1,
    'compileSelector(spec.podSelector ?? {})',
    'compileSelector(spec.podSelector)',
  ),

  // Addresses
  one(
    'except is ignored',
    'S113',
    v1,
    'set: subtract(addressSetOf(cidr.cidr), addressSetFrom(excepts)),',
    'set: addressSetOf(cidr.cidr),',
  ),
  {
    fault: 'except takes addresses out of every ipBlock that follows',
    items: 'S114 S381',
    edits: [
      {
        file: v1,
        find: 'function compileIpBlock(',
        replace: 'const seen: Cidr[] = [];\nfunction compileIpBlock(',
      },
      {
        file: v1,
        find: 'set: subtract(addressSetOf(cidr.cidr), addressSetFrom(excepts)),',
        replace:
          'set: subtract(addressSetOf(cidr.cidr), addressSetFrom((seen.push(...excepts), seen.splice(0, Math.max(0, seen.length - 20)), seen))),',
      },
    ],
  },
  one(
    '0.0.0.0/0 matches IPv6 too',
    'S118 S207',
    addressSet,
    ': containsBigint(set.v6, address.value);',
    ': containsBigint(set.v6, address.value) || equalLists(set.v4, all4);',
  ),
  one(
    'host bits of a block are not masked off',
    'S73',
    cidr,
    'function network(address: Address, length: number): Cidr {\n  const first = maskDown(address, length);',
    'function network(address: Address, length: number): Cidr {\n  const first = address;',
  ),
  one(
    'the last address of an IPv4 block is outside',
    'S113',
    cidr,
    'value: first.value + 2 ** (32 - length) - 1 }',
    'value: Math.max(first.value, first.value + 2 ** (32 - length) - 2) }',
  ),
  one(
    'except may be equal to cidr',
    'S63',
    v1,
    '(cidr.mappedPrefix ?? cidr.prefix) < (except.mappedPrefix ?? except.prefix)',
    '(cidr.mappedPrefix ?? cidr.prefix) <= (except.mappedPrefix ?? except.prefix)',
  ),

  // policyTypes and isolation
  one(
    'policyTypes default is always Ingress alone',
    'S8 S10',
    v1,
    "(given.egress ?? []).length > 0 ? ['Ingress', 'Egress'] : ['Ingress']",
    "['Ingress']",
  ),
  one(
    'policyTypes default is always both',
    'S8',
    v1,
    "(given.egress ?? []).length > 0 ? ['Ingress', 'Egress'] : ['Ingress']",
    "['Ingress', 'Egress']",
  ),
  one(
    'an empty egress list adds Egress to policyTypes',
    'S9',
    v1,
    '(given.egress ?? []).length > 0 ?',
    'given.egress !== undefined && given.egress !== null ?',
  ),
  one(
    'explicit policyTypes are extended by egress rules',
    'S12 S78 S377',
    v1,
    "Egress: types.includes('Egress') };",
    "Egress: types.includes('Egress') || (spec.egress ?? []).length > 0 };",
  ),
  one(
    'a policy isolates only if it has rules',
    'S141 S150 S376',
    v1,
    "Ingress: types.includes('Ingress'),",
    "Ingress: types.includes('Ingress') && (spec.ingress ?? []).length > 0,",
  ),

  // Peers and rules
  one(
    'an empty from or to matches nobody',
    'S102 S149',
    v1,
    "rule.peers.length === 0\n        ? 'any'",
    'rule.peers.length === 0\n        ? []',
  ),
  one(
    'empty ports match no port',
    'S121 S149',
    v1,
    "rule.ports.length === 0\n        ? 'any'",
    'rule.ports.length === 0\n        ? []',
  ),
  {
    fault: 'namespaceSelector and podSelector of one peer are an OR',
    items: 'S105 S106',
    edits: [
      {
        file: peers,
        find: "const own = selects(matcher.pods, pod.labels, true);\n  if (own === 'no') return 'no';",
        replace: 'const own = selects(matcher.pods, pod.labels, true);',
      },
      { file: peers, find: 'return and(namespace, own);', replace: 'return or(namespace, own);' },
      {
        file: peers,
        find: 'import { agreed, and, selects, truthOf }',
        replace: 'import { agreed, or, and, selects, truthOf }',
      },
    ],
  },
  one(
    'a podSelector alone reaches into every namespace',
    'S103 S108',
    v1,
    '? { name: namespace }\n',
    '? { selector: selectorEverything }\n',
  ),
  one(
    'namespaceSelector {} includes addresses outside the cluster',
    'S110 S384',
    peers,
    "const { pod } = end;\n  if (pod === undefined) return 'no';",
    "const { pod } = end;\n  if (pod === undefined) return 'name' in matcher.namespaces ? 'no' : 'yes';",
  ),
  {
    fault: 'a rule matches by peers OR ports',
    items: 'S143',
    edits: [
      { file: rules, find: "if (ports === 'no') return noMatch;", replace: '' },
      {
        file: rules,
        find: "if (peers === 'no') return noMatch;",
        replace: "if (peers === 'no' && ports === 'no') return noMatch;",
      },
      { file: rules, find: 'truth: and(peers, ports),', replace: 'truth: or(peers, ports),' },
      { file: rules, find: 'import { and }', replace: 'import { or }' },
    ],
  },
  one(
    'the first peer decides for all',
    'S101',
    rules,
    "const answer = matchesPeer(peer, other, context);\n      if (answer === 'no' || (answer === 'maybe' && peers === 'maybe')) continue;",
    "const answer = matchesPeer(peer, other, context);\n      if (answer === 'no') break;",
  ),
  one(
    'a namespace without object has no labels',
    'S25',
    peers,
    'selects(selector, namespace.labels, !namespace.implied)',
    'selects(selector, namespace.labels, true)',
  ),

  // Ports
  one(
    'a missing protocol means UDP',
    'S7 S378',
    v1,
    "{ ...port, protocol: 'TCP' } : port",
    "{ ...port, protocol: 'UDP' } : port",
  ),
  one(
    'endPort is outside its range',
    'S126',
    v1,
    'to: port.endPort ?? number }',
    'to: Math.max(number, (port.endPort ?? number + 1) - 1) }',
  ),
  one(
    'endPort equal to port is refused',
    'S47 S387',
    v1,
    'if (endPort < number) {',
    'if (endPort <= number) {',
  ),
  one('endPort is ignored', 'S126', v1, 'to: port.endPort ?? number }', 'to: number }'),
  one(
    'UDP is TCP',
    'S130',
    ports,
    "if (entry.protocol !== protocol) return 'no';",
    "if (entry.protocol === 'SCTP' && protocol !== 'SCTP') return 'no';",
  ),
  one(
    'named ports are those of the source pod',
    'S132 S134',
    evaluate,
    '...(destination.pod === undefined ? {} : { pod: destination.pod }),',
    '...(source.pod === undefined ? {} : { pod: source.pod }),',
  ),
  one(
    'a named port matches whatever its protocol',
    'S135',
    ports,
    'if (!isNamed(named, entry) || named.protocol !== protocol) continue;',
    'if (!isNamed(named, entry)) continue;',
  ),
  one(
    'the end of a ClusterNetworkPolicy range is outside',
    'S271',
    cnp,
    'from: start, to: end }',
    'from: start, to: end - 1 }',
  ),
  one(
    'rules with ports admit ICMP',
    'S200',
    ports,
    "if (protocol === 'other') return 'no';",
    "if (protocol === 'other') return 'yes';",
  ),

  // Tiers
  {
    fault: 'Baseline before NetworkPolicy, Admin after',
    items: 'S276 S291',
    edits: [
      {
        file: direction,
        find: "if (walkTier('Admin', input, state)) {",
        replace: "if (walkTier('Baseline', input, state)) {",
      },
      {
        file: direction,
        find: "baseline && walkTier('Baseline', input, state)",
        replace: "baseline && walkTier('Admin', input, state)",
      },
    ],
  },
  one(
    'the higher priority number first',
    'S277',
    order,
    'a.priority - b.priority ||',
    'b.priority - a.priority ||',
  ),
  one(
    'Pass ends evaluation and allows',
    'S284 S285',
    direction,
    'passes = true;\n          state.passedBy.push(ref);',
    'state.canAllow = true;\n          state.passedBy.push(ref);',
  ),
  one(
    'Pass goes on with the next rule of the tier',
    'S284',
    direction,
    "if (applies === 'yes') {\n          stops.push(ref);",
    "if (applies === 'yes' && action !== 'Pass') {\n          stops.push(ref);",
  ),
  one(
    'the last rule that matches decides',
    'S278 S279',
    direction,
    'for (const rule of policy.rules[direction]) {\n        pending.length = 0;\n',
    'for (const rule of policy.rules[direction].toReversed()) {\n        pending.length = 0;\n',
  ),
  one(
    'Baseline is consulted for isolated pods',
    'S292',
    direction,
    "if (isolated === 'yes') return false;",
    '',
  ),
  one(
    'a Deny rule with a peer that nobody can read denies nothing',
    'S266',
    rules,
    "rule.peers.some((peer) => peer.kind === 'unusable');",
    'rule.peers.length < 0;',
  ),
  one(
    'every isolating policy must admit',
    'S145 S154',
    direction,
    'if (decidedBy !== undefined) {',
    'if (decidedBy !== undefined && isolating.every(({ policy }) => admitting.some((ref) => ref.policy.key === policy.ref.key))) {',
  ),

  // Ends and legs
  one(
    'the own node is policed',
    'S160',
    evaluate,
    "if (direction === 'Ingress' && ownNode === 'yes') return legOf(direction, 'own-node');",
    '',
  ),
  one(
    'every node counts as the own node',
    'S164',
    evaluate,
    "return pod.node === other.nodeName ? 'yes' : 'no';",
    "return 'yes';",
  ),
  one(
    'hostNetwork pods are selected like others',
    'S184 S255 S256',
    ends,
    'if (!pod.hostNetwork) return',
    'if (pod.hostNetwork || !pod.hostNetwork) return',
  ),
  one(
    'finished pods are still peers',
    'S195',
    ends,
    "return settings.terminatedPods === 'include' || !isFinished(pod);",
    "return settings.terminatedPods === 'include' || !isFinished(pod) || true;",
  ),
  one(
    'a pod does not reach its own address',
    'S165 S354',
    evaluate,
    "if (self === 'yes' && !throughService) return legOf(direction, 'self');",
    '',
  ),
  one(
    'an allowed egress is enough',
    'S148 S281',
    evaluate,
    "if (egress === 'denied' || ingress === 'denied') return 'denied';",
    "if (egress === 'denied') return 'denied';\n  if (egress === 'allowed') return 'allowed';",
  ),

  // All pairs at once
  one(
    'all pairs: an allowed egress is enough',
    'S148',
    effects,
    'const allowed = table.intersect(egress.allowed, ingress.allowed);',
    'const { allowed } = egress;',
  ),
  one(
    'all pairs: the own node is policed',
    'S160',
    pairEffects,
    "if (near === 'yes') return everything;",
    '',
  ),
  one(
    'all pairs: Pass allows',
    'S284 S285',
    legs,
    'else passed = table.union(passed, hit);',
    'else canAllow = table.union(canAllow, hit);',
  ),
  one(
    'all pairs: a rule that matched does not end its tier',
    'S279',
    legs,
    'own = table.subtract(own, hit);',
    '',
  ),
  one(
    'all pairs: Baseline is consulted for isolated pods',
    'S292',
    legs,
    "if (isolated === 'yes') rest = NONE;",
    '',
  ),
  one(
    'all pairs: pods of one class may differ in hostNetwork',
    'S184',
    classes,
    'if (pod.hostNetwork) key +=',
    'if (pod.hostNetwork && mentions.nodes) key +=',
  ),
  one(
    'all pairs: pods of one class may differ in named ports',
    'S134',
    classes,
    'if (mentions.portNames.size > 0 && pod.namedPorts.length > 0) {',
    'if (mentions.portNames.size > 9 && pod.namedPorts.length > 0) {',
  ),
  one(
    'all pairs: selectors match hostNetwork pods',
    'S184 S256',
    peerSets,
    'if (!nodeTraffic) return columns;',
    'if (nodeTraffic || !nodeTraffic) return columns;',
  ),
];
