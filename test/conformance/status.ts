/**
 * What the conformance table says of items that no test title claims, and which choice podwall made
 * where upstream leaves one. A number stands here or in a test title; only choices may be in both.
 */

export type ItemStatus =
  /** Upstream leaves it open: the choice made, and the field of `Settings` that changes it. */
  | { readonly kind: 'choice'; readonly text: string; readonly setting?: string }
  /** Nothing that an analyzer or enforcer could do differently. */
  | { readonly kind: 'not-applicable'; readonly text: string }
  /** What a named other implementation does. */
  | { readonly kind: 'informational'; readonly text: string }
  /** Held by a test whose title does not carry the number, because it holds more than the item. */
  | { readonly kind: 'tested'; readonly file: string; readonly title: string }
  /** Concerns a part that does not exist yet, or that no test holds yet. */
  | { readonly kind: 'open'; readonly text: string };

export const itemCount = 391;

/** Headings of the table, by their first item. */
export const sections: readonly { readonly from: number; readonly title: string }[] = [
  { from: 1, title: 'NetworkPolicy: objects, storage, defaulting' },
  { from: 26, title: 'NetworkPolicy validation: form of the answer' },
  { from: 32, title: 'NetworkPolicy validation: metadata' },
  { from: 42, title: 'NetworkPolicy validation: ports' },
  { from: 54, title: 'NetworkPolicy validation: peers and ipBlock' },
  { from: 74, title: 'NetworkPolicy validation: policyTypes' },
  { from: 79, title: 'NetworkPolicy validation: label selectors' },
  { from: 89, title: 'Selector matching' },
  { from: 101, title: 'NetworkPolicy: peers' },
  { from: 120, title: 'NetworkPolicy: ports' },
  { from: 139, title: 'NetworkPolicy: isolation and the additive union' },
  { from: 160, title: 'NetworkPolicy: what is never blocked, or left open' },
  { from: 171, title: 'NetworkPolicy: established connections' },
  { from: 175, title: 'NetworkPolicy: Services, NAT, ipBlock' },
  { from: 184, title: 'NetworkPolicy: hostNetwork pods' },
  { from: 189, title: 'NetworkPolicy: pod lifecycle' },
  { from: 199, title: 'NetworkPolicy: ICMP and other protocols' },
  { from: 205, title: 'NetworkPolicy: dual stack' },
  { from: 209, title: 'NetworkPolicy: limits and kubectl output' },
  { from: 213, title: 'ClusterNetworkPolicy: object' },
  { from: 222, title: 'ClusterNetworkPolicy: validation' },
  { from: 253, title: 'ClusterNetworkPolicy: subject and peers' },
  { from: 269, title: 'ClusterNetworkPolicy: protocols and ports' },
  { from: 276, title: 'ClusterNetworkPolicy: evaluation' },
  { from: 303, title: 'ClusterNetworkPolicy: hairpin, Services, node traffic, ICMP' },
  { from: 309, title: 'ClusterNetworkPolicy: domain names' },
  { from: 320, title: 'ClusterNetworkPolicy: upstream conformance' },
  { from: 322, title: 'AdminNetworkPolicy' },
  { from: 339, title: 'BaselineAdminNetworkPolicy' },
  { from: 344, title: 'From v1alpha1 to v1alpha2' },
  { from: 348, title: 'sameLabels and notSameLabels' },
  { from: 354, title: 'Reference decision procedure' },
  { from: 360, title: 'What upstream leaves undefined' },
  { from: 376, title: 'Checks that commonly fail in implementations' },
];

function choice(text: string, setting?: string): ItemStatus {
  return setting === undefined ? { kind: 'choice', text } : { kind: 'choice', text, setting };
}

/** `title` is the beginning of the test's title in `file`; the script checks that it is there. */
function tested(file: string, title: string): ItemStatus {
  return { kind: 'tested', file, title };
}

function open(text: string): ItemStatus {
  return { kind: 'open', text };
}

function notApplicable(text: string): ItemStatus {
  return { kind: 'not-applicable', text };
}

function informational(text: string): ItemStatus {
  return { kind: 'informational', text };
}

export const statuses: Readonly<Record<number, ItemStatus>> = {
  // NetworkPolicy: objects
  15: open(
    'serialised form of stored objects. That absent and empty lists mean the same is tested with S102 and S121.',
  ),
  22: informational(
    'how an older registry called validation; podwall validates an update once (S21).',
  ),
  24: notApplicable('a remark on clusters without an implementation.'),
  73: choice('set host bits are masked off, as Calico and kube-network-policies do.'),
  115: notApplicable('advice to authors of policies.'),
  117: informational('Cilium differs; podwall matches any address (S116).'),
  122: choice('a rule without ports admits every protocol from its peers.', 'otherProtocols'),
  127: notApplicable('podwall supports endPort (S126).'),
  136: choice(
    'every container port of that name counts, with its own number and protocol; ports of init containers count only for sidecars (restartPolicy Always); a destination that is no pod has no named ports.',
  ),
  147: notApplicable('other mechanisms (host firewall, service mesh) are outside podwall’s model.'),
  157: tested(
    'test/e2e/agent.e2e.test.ts',
    'a policy event denies packets, an allow event lets them pass',
  ),
  158: notApplicable(
    'delay budget of the upstream suites; docs/design/agent.md has the measured delay.',
  ),
  159: choice(
    'denied packets are dropped; the dataplane can reject instead (`--deny=reject`), tested in test/e2e/dataplane.e2e.test.ts.',
  ),
  161: choice('the NetworkPolicy tier decides traffic of a pod to its own node.', 'podToOwnNode'),
  162: choice(
    'the own node is every address in the Node’s status.addresses and every hostNetwork pod on it; forwarded traffic that arrives through it is judged by its source address.',
  ),
  163: informational('how other implementations recognise local-node traffic.'),
  166: choice(
    'a pod that reaches itself through a Service is subject to NetworkPolicy.',
    'selfThroughService',
  ),
  167: choice('traffic of a pod to its own pod IP is always allowed.'),
  168: tested('test/e2e/lab.e2e.test.ts', 'admits what a policy admits'),
  169: tested('test/e2e/demo.e2e.test.ts', 'plays all steps'),
  171: choice(
    'established connections that the new programs deny are cut, tested in test/e2e/dataplane.e2e.test.ts (revocation of established connections).',
  ),
  172: informational('Calico, Antrea and kube-router let established connections be.'),
  173: informational('kube-network-policies re-evaluates conntrack entries.'),
  174: open(
    'enforcement of domain names does not exist: a domainNames peer makes a verdict unknown.',
  ),
  175: choice(
    'ipBlock is compared with the address the packet bears at the pod.',
    'ipBlockAddress',
  ),
  176: choice(
    'egress ipBlocks are compared with the backend, after the service proxy.',
    'ipBlockAddress',
  ),
  180: choice('the target port is compared, because evaluation is after destination NAT.'),
  181: informational('AWS VPC CNI filters before DNAT.'),
  184: choice('the second option: a hostNetwork pod is traffic of its node.', 'hostNetworkPods'),
  187: informational(
    'Calico, Antrea, kube-router, AWS and kube-network-policies take the second option.',
  ),
  189: notApplicable(
    'permitted: a running pod may see forbidden traffic until the policy is handled.',
  ),
  190: tested(
    'test/e2e/lab-ready.e2e.test.ts',
    'the first connection to an allowed pod works, none to a forbidden one',
  ),
  191: tested(
    'test/e2e/lab-ready.e2e.test.ts',
    'the first connection to an allowed pod works, none to a forbidden one',
  ),
  192: notApplicable('containers of a pod share the network namespace that the rules apply to.'),
  193: notApplicable('permits nodes to differ for a while.'),
  194: notApplicable('a duty of pods.'),
  195: choice(
    'finished pods (Succeeded, Failed) are neither subjects nor peers.',
    'terminatedPods',
  ),
  196: choice('a terminating pod keeps its address and its policies until it is gone.'),
  197: informational('AWS VPC CNI lets new pods’ traffic through at first.'),
  200: choice(
    'for an isolated pod, rules without ports admit ICMP and other protocols, and nothing else does.',
    'otherProtocols',
  ),
  202: informational('what others do with ICMP.'),
  203: notApplicable('podwall supports SCTP (S130, S131).'),
  204: tested('test/e2e/dataplane.e2e.test.ts', 'IPv6 neighbour discovery works'),
  205: choice('an ipBlock limits its family; isolation covers both (S206–S208).'),
  209: notApplicable('lists what NetworkPolicy v1 cannot express.'),
  212: open('second-hand wording of `kubectl describe`; `podwall explain` uses its own words.'),

  // ClusterNetworkPolicy
  216: notApplicable('no condition types are defined.'),
  218: notApplicable('what the upstream bundle ships.'),
  221: choice(
    'podwall reads the experimental channel, so `nodes` and `domainNames` are known fields and are not pruned.',
  ),
  265: informational('kube-network-policies and Calico on `nodes` and `domainNames`.'),
  267: choice(
    'the whole rule fails closed: an Accept rule with a peer that cannot be read matches nothing, a Deny or Pass rule becomes a deny of everything in its place and direction.',
  ),
  268: choice('a selector with an unknown operator fails closed like an unknown peer (S266).'),
  274: choice('every container port of that name counts, with its number and protocol.'),
  275: informational('kube-network-policies does the same.'),
  283: tested('test/e2e/random-clusters.e2e.test.ts', 'compared at least 300 packet cases'),
  289: choice('of equal priorities the lower name applies first.', 'equalPriority'),
  293: choice('decided per direction.', 'baselineSkip'),
  300: tested('test/e2e/random-clusters.e2e.test.ts', 'compared at least 300 packet cases'),
  301: choice(
    'Deny cuts established connections, as in S171; related ICMP of a denied connection has no connection to belong to.',
  ),
  302: notApplicable('other mechanisms are outside podwall’s model.'),
  305: open(
    'an evaluation towards a Service address is unknown; `podwall why` resolves the Service first.',
  ),
  306: notApplicable('which probes the upstream suite sends.'),
  307: choice('ClusterNetworkPolicy applies to traffic of a pod to its own node; no exemption.'),
  312: open('enforcement of domain names does not exist.'),
  313: open('enforcement of domain names does not exist.'),
  314: open('enforcement of domain names does not exist.'),
  315: open('enforcement of domain names does not exist.'),
  316: open('enforcement of domain names does not exist.'),
  317: open('enforcement of domain names does not exist.'),
  318: open('enforcement of domain names does not exist.'),
  319: open('enforcement of domain names does not exist.'),
  320: notApplicable('how upstream groups its conformance tests.'),
  321: open('the upstream conformance suite has not been run against podwall.'),
  344: notApplicable('how v1alpha2 came from v1alpha1.'),
  346: open('podwall reads both versions and has no translator.'),
  349: notApplicable('the upstream enhancement offers nothing to implement.'),
  350: informational('policy-assistant evaluates sameLabels.'),
  351: informational('policy-assistant evaluates notSameLabels.'),
  352: informational('Antrea’s own ClusterNetworkPolicy.'),
  353: notApplicable('podwall offers no tenancy peers.'),
  359: choice(
    'packets of accepted connections are not judged again until the programs change, then they are (S171).',
  ),

  // Index of what is undefined
  360: choice('see S161.', 'podToOwnNode'),
  361: choice('see S166.', 'selfThroughService'),
  362: choice('see S175.', 'ipBlockAddress'),
  363: choice('see S171.'),
  364: choice('see S184.', 'hostNetworkPods'),
  365: choice('see S200 and S122.', 'otherProtocols'),
  366: choice('see S205.'),
  367: choice('see S136.'),
  368: choice('see S195 and S196.', 'terminatedPods'),
  369: choice('see S159.'),
  370: choice('see S289.', 'equalPriority'),
  371: choice('see S293.', 'baselineSkip'),
  372: choice('see S267 and S268.'),
  373: open('status conditions are not written.'),
  374: choice(
    'a node or hostNetwork pod matches ipBlock, networks and nodes peers by its address, and nothing else.',
  ),
  375: tested(
    'test/e2e/agent.e2e.test.ts',
    'a policy event denies packets, an allow event lets them pass',
  ),
  388: tested('test/e2e/random-clusters.e2e.test.ts', 'compared at least 300 packet cases'),
};
