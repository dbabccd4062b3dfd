/**
 * ClusterNetworkPolicy, policy.networking.k8s.io/v1alpha2: schema and rules of its CRD (bundle
 * v0.2.0), and compilation. Must not know of pods, manifests or the other policy kinds.
 */
import type { KubeObject } from '../../k8s/types.ts';
import { protocols, type Protocol } from '../../net/connection-set.ts';
import {
  clusterObjectNode,
  domainNamesNode,
  networksNode,
  oneOf,
  podsNode,
  portNode,
  selectorNode,
  type Channel,
  type ClusterRule,
  type ClusterSpec,
} from '../cluster-policy-parts.ts';
import { clusterKind } from '../cluster-kind.ts';
import type { CompiledPort } from '../compiled.ts';
import type { CrdNode } from '../crd-schema.ts';
import type { PolicyKind } from '../policy-kind.ts';

interface DestinationPort {
  number?: number;
  range?: { start: number; end: number };
}

interface ProtocolEntry {
  tcp?: { destinationPort?: DestinationPort };
  udp?: { destinationPort?: DestinationPort };
  sctp?: { destinationPort?: DestinationPort };
  destinationNamedPort?: string;
}

interface Rule extends ClusterRule {
  protocols?: ProtocolEntry[];
}

const destinationPort: CrdNode = oneOf({
  number: portNode,
  range: {
    type: 'object',
    properties: { start: portNode, end: portNode },
    required: ['end', 'start'],
    rules: [
      {
        message: 'Start port must be less than End port',
        holds: (value) => {
          const { start, end } = value as { start: number; end: number };
          return start < end;
        },
      },
    ],
  },
});

/** At least one property, so `tcp: {}` does not mean "all of TCP" (S242). */
const protocolNode: CrdNode = {
  type: 'object',
  properties: { destinationPort },
  minProperties: 1,
};

const protocolsNode: CrdNode = {
  type: 'array',
  items: oneOf({
    tcp: protocolNode,
    udp: protocolNode,
    sctp: protocolNode,
    destinationNamedPort: { type: 'string' },
  }),
  minItems: 1,
  maxItems: 25,
};

function namedPortMeetsPods(value: unknown): boolean {
  const rule = value as Rule;
  const outside = (rule.to ?? []).some(
    (peer) =>
      peer.networks !== undefined || peer.nodes !== undefined || peer.domainNames !== undefined,
  );
  const named = (rule.protocols ?? []).some((entry) => entry.destinationNamedPort !== undefined);
  return !(outside && named);
}

function rulesNode(peerField: 'from' | 'to', channel: Channel): CrdNode {
  const pods = podsNode(['podSelector']);
  const inside = { namespaces: selectorNode, pods };
  const experimental =
    channel === 'experimental' ? { nodes: selectorNode, domainNames: domainNamesNode } : {};
  const peer =
    peerField === 'from'
      ? oneOf(inside)
      : oneOf({ ...inside, networks: networksNode, ...experimental });
  return {
    type: 'array',
    items: {
      type: 'object',
      properties: {
        name: { type: 'string', maxLength: 100 },
        action: { type: 'string', enum: ['Accept', 'Deny', 'Pass'] },
        [peerField]: { type: 'array', items: peer, minItems: 1, maxItems: 25 },
        protocols: protocolsNode,
      },
      required: ['action', peerField],
      rules:
        peerField === 'to' && channel === 'experimental'
          ? [
              {
                message:
                  'networks/nodes/domainNames peer cannot be set with namedPorts since there are no namedPorts for networks/nodes/domainNames',
                holds: namedPortMeetsPods,
              },
            ]
          : [],
    },
    maxItems: 25,
  };
}

function objectNode(channel: Channel): CrdNode {
  return clusterObjectNode({
    type: 'object',
    properties: {
      tier: { type: 'string', enum: ['Admin', 'Baseline'] },
      priority: { type: 'integer', minimum: 0, maximum: 1000 },
      subject: oneOf({ namespaces: selectorNode, pods: podsNode(['podSelector']) }),
      ingress: rulesNode('from', channel),
      egress: rulesNode('to', channel),
    },
    required: ['priority', 'subject', 'tier'],
  });
}

function compilePorts(rule: Rule, path: string): CompiledPort[] | undefined {
  if (rule.protocols === undefined) return undefined;
  const ports: CompiledPort[] = [];
  rule.protocols.forEach((entry, i) => {
    const entryPath = `${path}.protocols[${i}]`;
    if (entry.destinationNamedPort !== undefined) {
      ports.push({ kind: 'named', path: entryPath, name: entry.destinationNamedPort });
      return;
    }
    for (const protocol of protocols) {
      const port = entry[protocol.toLowerCase() as Lowercase<Protocol>]?.destinationPort;
      if (port?.number !== undefined) {
        ports.push({
          kind: 'range',
          path: entryPath,
          protocol,
          from: port.number,
          to: port.number,
        });
      } else if (port?.range !== undefined) {
        const { start, end } = port.range;
        ports.push({ kind: 'range', path: entryPath, protocol, from: start, to: end });
      }
    }
  });
  return ports;
}

export const clusterNetworkPolicy: PolicyKind = clusterKind<Rule>({
  apiVersion: 'policy.networking.k8s.io/v1alpha2',
  kind: 'ClusterNetworkPolicy',
  plural: 'clusternetworkpolicies',
  shortNames: ['cnp'],
  tier: 'Admin',
  tierOf: (object: KubeObject) =>
    (object.spec as ClusterSpec<Rule>).tier === 'Baseline' ? 'Baseline' : 'Admin',
  objectNode,
  acceptAction: 'Accept',
  compilePorts,
});
