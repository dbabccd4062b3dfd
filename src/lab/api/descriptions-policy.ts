/**
 * What `kubectl explain` says about the kinds of policy.networking.k8s.io. Data only. Their types are
 * named by the path to them (`policy.v1alpha2.ClusterNetworkPolicy.spec.ingress`), so texts are found
 * by its last step.
 */

type Fields = Readonly<Record<string, string>>;

const kinds: Readonly<Record<string, string>> = {
  ClusterNetworkPolicy:
    'Rules of the administrator for pods of any namespace. The Admin tier is judged before every ' +
    'NetworkPolicy, the Baseline tier after them, for pods that no NetworkPolicy isolates.',
  AdminNetworkPolicy:
    'Rules of the administrator that are judged before every NetworkPolicy (v1alpha1; ClusterNetworkPolicy ' +
    'is its successor).',
  BaselineAdminNetworkPolicy:
    'Rules for pods that no NetworkPolicy isolates. There is one, named default (v1alpha1).',
};

/** What becomes of a connection that a rule matches. */
const actions: Readonly<Record<string, string>> = {
  ClusterNetworkPolicy:
    'Accept admits the connection, Deny refuses it, Pass leaves it to the next tier.',
  AdminNetworkPolicy:
    'Allow admits the connection, Deny refuses it, Pass leaves it to NetworkPolicies.',
  BaselineAdminNetworkPolicy: 'Allow admits the connection, Deny refuses it.',
};

const selector: Fields = {
  matchLabels: 'Labels that have to be there with exactly these values.',
  matchExpressions: 'Requirements beyond equality.',
};

const namespaces =
  'All pods of the namespaces with these labels. An empty selector: all namespaces.';
const pods = 'Pods chosen by their namespace and by their own labels; both have to hold.';

/** By the last step of the path. */
const steps: Readonly<Record<string, Fields>> = {
  spec: {
    '': 'Whom the policy is about and its rules.',
    tier: 'Admin or Baseline.',
    priority:
      'Lower numbers are judged first, 0 to 1000. Two policies of one tier with the same number have ' +
      'no defined order.',
    subject: 'The pods the policy is about.',
    ingress: 'Rules for connections to the subject, in order: the first that matches decides.',
    egress: 'Rules for connections from the subject, in order: the first that matches decides.',
  },
  subject: { '': 'Pods: exactly one of namespaces and pods.', namespaces, pods },
  ingress: {
    '': 'A rule for connections to the subject.',
    name: 'For people; at most 100 characters.',
    from: 'Who connects, one or another; at least one.',
    ports: 'Ports it is about, one or another. Absent: all of them.',
    protocols: 'Protocols and ports it is about, one or another. Absent: all of them.',
  },
  egress: {
    '': 'A rule for connections from the subject.',
    name: 'For people; at most 100 characters.',
    to: 'Where the connection goes, one or another; at least one.',
    ports: 'Ports it is about, one or another. Absent: all of them.',
    protocols: 'Protocols and ports it is about, one or another. Absent: all of them.',
  },
  from: { '': 'Pods: exactly one of its fields.', namespaces, pods },
  to: {
    '': 'Pods, nodes, networks or names: exactly one of its fields.',
    namespaces,
    pods,
    nodes: 'Nodes with these labels, and the hostNetwork pods on them.',
    networks: 'Networks in CIDR notation.',
    domainNames: 'DNS names; only in rules that accept.',
  },
  namespaces: { '': 'Chooses namespaces by their labels.', ...selector },
  namespaceSelector: { '': 'Chooses namespaces by their labels.', ...selector },
  podSelector: { '': 'Chooses pods by their labels.', ...selector },
  nodes: { '': 'Chooses nodes by their labels.', ...selector },
  pods: {
    '': 'Chooses pods by their namespace and by their own labels.',
    namespaceSelector: 'Namespaces of the pods. An empty selector: all namespaces.',
    podSelector: 'Labels of the pods. An empty selector: all pods.',
  },
  matchExpressions: {
    '': 'One requirement of a selector.',
    key: 'Name of the label.',
    operator: 'In, NotIn, Exists or DoesNotExist. NotIn also holds where the label is absent.',
    values: 'For In and NotIn, at least one; for the others none.',
  },
  protocols: {
    '': 'One protocol, or a port by its name: exactly one of its fields.',
    tcp: 'TCP, at all ports or at destinationPort.',
    udp: 'UDP, at all ports or at destinationPort.',
    sctp: 'SCTP, at all ports or at destinationPort.',
    destinationNamedPort: 'Name of a port in the spec of the pod that is connected to.',
  },
  tcp: { '': 'TCP.', destinationPort: 'Port that is connected to. Absent: every port.' },
  udp: { '': 'UDP.', destinationPort: 'Port that is connected to. Absent: every port.' },
  sctp: { '': 'SCTP.', destinationPort: 'Port that is connected to. Absent: every port.' },
  destinationPort: {
    '': 'A port or a range: exactly one of its fields.',
    number: 'One port.',
    range: 'Ports from start to end.',
  },
  range: { '': 'A range of ports.', start: 'First port.', end: 'Last port.' },
  ports: {
    '': 'Ports of one protocol: exactly one of its fields.',
    portNumber: 'One port of a protocol.',
    portRange: 'Ports from start to end of a protocol.',
    namedPort: 'Name of a port in the spec of the pod that is connected to.',
  },
  portNumber: {
    '': 'One port.',
    protocol: 'TCP, UDP or SCTP; absent: TCP.',
    port: 'Its number.',
  },
  portRange: {
    '': 'A range of ports.',
    protocol: 'TCP, UDP or SCTP; absent: TCP.',
    start: 'First port.',
    end: 'Last port.',
  },
};

/** Texts of a type; the empty name is the type itself. */
export function policyFields(type: string): Fields | undefined {
  if (!type.startsWith('policy.')) return undefined;
  const [, , kind = '', ...path] = type.split('.');
  const last = path.at(-1);
  if (last === 'ingress' || last === 'egress')
    return { ...steps[last], action: actions[kind] ?? '' };
  if (last !== undefined) return steps[last];
  const text = kinds[kind];
  return text === undefined ? undefined : { '': text };
}
