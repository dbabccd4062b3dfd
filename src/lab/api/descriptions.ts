/**
 * What `kubectl explain` says about types and fields: short texts of podwall's own, for the policy
 * kinds in full and for other kinds where the lab does something with a field. Data only; the
 * specification is what counts.
 */
import { policyFields } from './descriptions-policy.ts';

/** Texts of fields by type; the empty name is the type itself. */
type Texts = Readonly<Record<string, Readonly<Record<string, string>>>>;

/** Fields that mean the same wherever they are. */
const everywhere: Readonly<Record<string, string>> = {
  apiVersion: 'Version of the schema this object is written in.',
  kind: 'Which kind of object this is.',
  metadata: 'Name, namespace, labels and what the server keeps about the object.',
  spec: 'What is wanted.',
  status: 'What is there; written by the server.',
};

const workload = (what: string): Readonly<Record<string, string>> => ({
  '': `What a ${what} shall keep running.`,
  selector: 'Labels of the pods that belong to it; must match the labels of the template.',
  template: 'The pod to make copies of.',
  minReadySeconds: 'Kept and ignored by the lab.',
  revisionHistoryLimit: 'How many old revisions are kept.',
});

const texts: Texts = {
  'meta.v1.ObjectMeta': {
    '': 'What every object has.',
    name: 'Unique in its namespace and for its kind.',
    generateName: 'Beginning of a name that the server completes when there is no name.',
    namespace: 'Where the object is; empty for objects of the whole cluster.',
    selfLink: 'No longer used.',
    uid: 'Identity of this object; another object of the same name has another.',
    resourceVersion: 'Changes with every write; opaque. A write that names an old one gets 409.',
    generation: 'Grows when the spec changes.',
    creationTimestamp: 'When the server made it.',
    deletionTimestamp: 'Set when its deletion was asked for; it goes when nothing holds it.',
    deletionGracePeriodSeconds: 'Seconds it may take to end.',
    labels: 'Names and values that selectors choose by. Policies choose pods by them.',
    annotations: 'Names and values for people and programs; nothing selects by them.',
    ownerReferences: 'Objects this one goes with.',
    finalizers: 'Names that have to be removed before the object goes.',
    managedFields: 'Who set which field, for server-side apply.',
  },
  'meta.v1.OwnerReference': {
    '': 'An object that owns this one, in the same namespace or of the whole cluster.',
    name: 'Name of the owner.',
    uid: 'Identity of the owner.',
    controller: 'The owner manages this object.',
    blockOwnerDeletion: 'A foreground deletion of the owner waits for this object.',
  },
  'meta.v1.ManagedFieldsEntry': {
    '': 'Fields that one manager set with one kind of operation.',
    manager: 'Who.',
    operation: 'Apply or Update.',
    time: 'When.',
    fieldsType: 'Always FieldsV1.',
    fieldsV1: 'Which fields.',
    subresource: 'Through which subresource; empty for the object itself.',
  },
  'meta.v1.LabelSelector': {
    '': 'Chooses by labels; all requirements have to hold. An empty selector chooses everything.',
    matchLabels: 'Labels that have to be there with exactly these values.',
    matchExpressions: 'Requirements beyond equality.',
  },
  'meta.v1.LabelSelectorRequirement': {
    '': 'One requirement of a selector.',
    key: 'Name of the label.',
    operator: 'In, NotIn, Exists or DoesNotExist. NotIn also holds where the label is absent.',
    values: 'For In and NotIn, at least one; for the others none.',
  },
  'networking.v1.NetworkPolicy': {
    '':
      'Says which connections the pods of one namespace may have. Pods that no policy chooses for a ' +
      'direction may have all connections of that direction; pods that one chooses, only those that some ' +
      'policy admits. Policies add up and never deny; their order does not matter.',
  },
  'networking.v1.NetworkPolicySpec': {
    '': 'Whom the policy is about and what it admits.',
    podSelector:
      'Pods of the namespace of the policy that it is about. An empty selector: all of them. hostNetwork ' +
      'pods are never meant.',
    policyTypes:
      'Directions the policy isolates: Ingress, Egress or both. Absent: Ingress, and Egress as well if ' +
      'there are egress rules.',
    ingress:
      'Connections to the pods that are admitted, one rule or another. No rule: none. Counts only with ' +
      'Ingress in policyTypes.',
    egress:
      'Connections from the pods that are admitted, one rule or another. No rule: none, DNS included. ' +
      'Counts only with Egress in policyTypes.',
  },
  'networking.v1.NetworkPolicyIngressRule': {
    '': 'Admits connections that come from one of `from` to one of `ports`.',
    from: 'Who may connect, one or another. Absent or empty: everybody.',
    ports: 'Where they may connect, one or another. Absent or empty: every port and protocol.',
  },
  'networking.v1.NetworkPolicyEgressRule': {
    '': 'Admits connections that go to one of `to` at one of `ports`.',
    to: 'Whither, one or another. Absent or empty: everywhere.',
    ports: 'Which ports there, one or another. Absent or empty: every port and protocol.',
  },
  'networking.v1.NetworkPolicyPeer': {
    '':
      'Pods or addresses. podSelector and namespaceSelector in one peer have to hold together; as two ' +
      'peers, one or the other. ipBlock stands alone.',
    podSelector:
      'Pods with these labels, in the namespace of the policy or, with namespaceSelector, in those it chooses.',
    namespaceSelector:
      'Namespaces with these labels; all their pods unless podSelector narrows them. An empty selector: ' +
      'all namespaces.',
    ipBlock: 'Addresses, mostly outside the cluster.',
  },
  'networking.v1.NetworkPolicyPort': {
    '': 'Ports of one protocol.',
    protocol: 'TCP, UDP or SCTP; absent: TCP.',
    port:
      'A number, or the name of a port in the spec of the pod that is connected to. Absent: every port of ' +
      'the protocol. Ports are those of pods, not of services.',
    endPort: 'Last port of a range that begins with port, which has to be a number.',
  },
  'networking.v1.IPBlock': {
    '': 'Addresses of a network without some of its parts.',
    cidr: 'The network, for example 192.168.1.0/24 or 2001:db8::/64.',
    except: 'Networks inside cidr that are left out.',
  },
  'core.v1.Namespace': { '': 'Room for names. Policies choose namespaces by their labels.' },
  'core.v1.NamespaceSpec': {
    '': 'What holds the namespace.',
    finalizers: 'kubernetes, until empty.',
  },
  'core.v1.NamespaceStatus': { '': 'Its phase.', phase: 'Active or Terminating.' },
  'core.v1.Node': { '': 'A machine that pods run on; in the lab a network namespace.' },
  'core.v1.Pod': {
    '':
      'Containers that share a network namespace and its addresses. In the lab every pod is a real network ' +
      'namespace; its containers run programs of this machine or answer on their ports.',
  },
  'core.v1.PodTemplateSpec': { '': 'The pod a workload makes copies of.' },
  'core.v1.PodSpec': {
    '': 'What runs in the pod, and where.',
    containers: 'What runs in it; at least one.',
    initContainers: 'What runs before, one after the other.',
    ephemeralContainers: 'Added to a running pod, for kubectl debug.',
    restartPolicy: 'Always, OnFailure or Never.',
    terminationGracePeriodSeconds: 'Time to end before it is killed; default 30.',
    nodeName: 'The node it runs on; set by the scheduler.',
    nodeSelector: 'Labels its node must have.',
    hostNetwork:
      'It uses the network of its node. Policies never choose it, and see it as the node it runs on.',
    tolerations: 'Taints of nodes that it bears.',
    hostname: 'Its host name; with subdomain and a headless service also in DNS.',
    subdomain: 'Name of the headless service for its DNS name.',
    serviceAccountName: 'Kept; the lab hands out no token.',
    volumes: 'Kept and ignored by the lab.',
    dnsPolicy: 'Kept; the lab always uses ClusterFirst.',
  },
  'core.v1.Container': {
    '': 'A program or a listener of the pod.',
    name: 'Unique in the pod.',
    image: 'Kept; the lab pulls nothing.',
    command: 'The program. The lab runs it when this machine has it.',
    args: 'Its arguments.',
    env: 'Environment variables; the lab sets literal values.',
    ports:
      'Ports it listens on. Policies may name them; in the lab a container without a command answers on ' +
      'each with the name of the pod.',
    readinessProbe: 'Kept and ignored by the lab.',
    livenessProbe: 'Kept and ignored by the lab.',
    resources: 'Kept and ignored by the lab.',
    volumeMounts: 'Kept and ignored by the lab.',
    stdin: 'Keep standard input open.',
    tty: 'Give it a terminal.',
  },
  'core.v1.ContainerPort': {
    '': 'A port the container listens on.',
    containerPort: 'Its number, 1 to 65535.',
    name: 'A name that policies and services may use in place of the number.',
    protocol: 'TCP, UDP or SCTP; default TCP.',
    hostPort: 'Kept and ignored by the lab.',
    hostIP: 'Kept and ignored by the lab.',
  },
  'core.v1.EnvVar': {
    '': 'An environment variable.',
    name: 'Its name.',
    value: 'Its value.',
    valueFrom: 'Kept and ignored by the lab.',
  },
  'core.v1.PodStatus': {
    '': 'What has become of the pod.',
    phase: 'Pending, Running, Succeeded or Failed.',
    podIP: 'Its first address.',
    podIPs: 'Its addresses, one of each family.',
    hostIP: 'Address of its node.',
    conditions: 'Ready is true when policies are in force on every node and it answers.',
    containerStatuses: 'State of each container.',
  },
  'core.v1.Service': {
    '':
      'A name and an address for pods that come and go. Policies never see it: they judge the pod and the ' +
      'port behind it.',
  },
  'core.v1.ServiceSpec': {
    '': 'Which pods, and how they are reached.',
    selector: 'Labels of the pods behind it.',
    ports: 'Ports of the service and where they lead.',
    type: 'ClusterIP, NodePort, LoadBalancer (no address is given) or ExternalName.',
    clusterIP: 'Its address; None for a headless service, whose name leads to the pods.',
    clusterIPs: 'Its addresses, one of each family.',
    ipFamilies: 'IPv4, IPv6, or both in order.',
    ipFamilyPolicy: 'SingleStack, PreferDualStack or RequireDualStack.',
    publishNotReadyAddresses: 'Pods that are not ready are endpoints too.',
    sessionAffinity: 'Kept and ignored by the lab.',
    externalIPs: 'Kept and ignored by the lab.',
    externalName: 'A name elsewhere; kept and ignored by the lab.',
    externalTrafficPolicy: 'Kept and ignored by the lab.',
    internalTrafficPolicy: 'Kept and ignored by the lab.',
  },
  'core.v1.ServicePort': {
    '': 'A port of the service.',
    name: 'Needed when there are several.',
    protocol: 'TCP, UDP or SCTP; default TCP.',
    port: 'Where the service is reached.',
    targetPort: 'Port of the pods, a number or a name; default: the same number.',
    nodePort: 'Port of every node that leads there, 30000 to 32767.',
    appProtocol: 'Kept.',
  },
  'core.v1.ConfigMap': { '': 'Data for programs; the lab mounts none.', data: 'Texts by name.' },
  'core.v1.Secret': {
    '': 'Data for programs; the lab mounts none.',
    data: 'Values by name, in base64.',
    stringData: 'Values as text; written, never read.',
    type: 'What it is for; default Opaque.',
  },
  'core.v1.ServiceAccount': { '': 'A name for programs; the lab hands out no tokens.' },
  'core.v1.Event': { '': 'Something that happened to an object; kept for an hour.' },
  'events.v1.Event': { '': 'Something that happened to an object; kept for an hour.' },
  'discovery.v1.EndpointSlice': {
    '': 'The pods behind a service, of one address family. The lab writes them itself.',
    addressType: 'IPv4 or IPv6.',
    endpoints: 'Addresses with their conditions.',
    ports: 'Ports of the pods.',
  },
  'apps.v1.Deployment': { '': 'Copies of a pod, replaced step by step when the template changes.' },
  'apps.v1.DeploymentSpec': {
    ...workload('Deployment'),
    replicas: 'How many; default 1.',
    strategy: 'RollingUpdate (maxSurge, maxUnavailable) or Recreate.',
    paused: 'Changes of the template wait.',
    progressDeadlineSeconds: 'Kept and ignored by the lab.',
  },
  'apps.v1.ReplicaSet': { '': 'Copies of a pod; mostly made by a Deployment.' },
  'apps.v1.ReplicaSetSpec': { ...workload('ReplicaSet'), replicas: 'How many; default 1.' },
  'apps.v1.StatefulSet': {
    '': 'Copies of a pod with numbers that stay, made and removed in order.',
  },
  'apps.v1.StatefulSetSpec': {
    ...workload('StatefulSet'),
    replicas: 'How many; default 1.',
    serviceName: 'Headless service that gives its pods names.',
    podManagementPolicy: 'OrderedReady or Parallel.',
    volumeClaimTemplates: 'Kept and ignored by the lab.',
  },
  'apps.v1.DaemonSet': { '': 'A pod on every node that nodeSelector admits.' },
  'apps.v1.DaemonSetSpec': { ...workload('DaemonSet') },
  'batch.v1.Job': { '': 'Pods that run to an end.' },
  'batch.v1.JobSpec': {
    '': 'What shall run, and how often.',
    template: 'The pod; its restartPolicy is Never or OnFailure.',
    completions: 'How many have to succeed; default 1.',
    parallelism: 'How many at a time; default 1.',
    backoffLimit: 'How many may fail; default 6.',
    suspend: 'No pods are made.',
  },
  'batch.v1.CronJob': { '': 'Jobs at given times. The lab lists none and takes none.' },
  'coordination.v1.Lease': { '': 'Who holds what, for programs that take turns.' },
};

/** Text about a type; undefined when there is none. */
export function describeType(type: string): string | undefined {
  return texts[type]?.[''] ?? policyFields(type)?.[''];
}

/** Text about a field of a type; undefined when there is none. */
export function describeField(type: string, field: string): string | undefined {
  return texts[type]?.[field] ?? policyFields(type)?.[field] ?? everywhere[field];
}
