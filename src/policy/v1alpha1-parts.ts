/**
 * What AdminNetworkPolicy and BaselineAdminNetworkPolicy share: rule and port schemas of v1alpha1
 * (bundle v0.1.7) and the compilation of ports. Must not know either kind.
 */
import { protocols, type Protocol } from '../net/connection-set.ts';
import {
  domainNamesNode,
  networksNode,
  oneOf,
  podsNode,
  portNode,
  selectorNode,
  type Channel,
  type ClusterRule,
  type UnusablePort,
} from './cluster-policy-parts.ts';
import type { CompiledPort } from './compiled.ts';
import type { CrdNode } from './crd-schema.ts';

interface PortEntry {
  portNumber?: { protocol?: string; port: number };
  portRange?: { protocol?: string; start: number; end: number };
  namedPort?: string;
}

export interface AdminRule extends ClusterRule {
  ports?: PortEntry[];
}

export interface AdminRuleOptions {
  readonly channel: Channel;
  readonly actions: readonly string[];
  readonly domainNames: boolean;
  /** The message of the experimental rule on named ports, which differs by kind (S332). */
  readonly namedPortMessage: string;
}

const podsV1: CrdNode = podsNode(['namespaceSelector', 'podSelector']);

export const adminSubjectNode: CrdNode = oneOf({ namespaces: selectorNode, pods: podsV1 });

/** Any text: the schema does not check the name (S329). */
const protocolNode: CrdNode = { type: 'string', default: 'TCP' };

function portsNode(channel: Channel): CrdNode {
  return {
    type: 'array',
    items: oneOf({
      portNumber: {
        type: 'object',
        properties: { port: portNode, protocol: protocolNode },
        required: ['port', 'protocol'],
      },
      portRange: {
        type: 'object',
        properties: { end: portNode, protocol: protocolNode, start: portNode },
        required: ['end', 'start'],
      },
      ...(channel === 'experimental' ? { namedPort: { type: 'string' } as const } : {}),
    }),
    minItems: 1,
    maxItems: 100,
  };
}

/** The list of rules of one direction, at most 100 (S325). */
export function adminRulesNode(peerField: 'from' | 'to', options: AdminRuleOptions): CrdNode {
  const { channel } = options;
  const inside = { namespaces: selectorNode, pods: podsV1 };
  const experimental =
    channel === 'experimental'
      ? {
          nodes: selectorNode,
          ...(options.domainNames ? { domainNames: domainNamesNode } : {}),
        }
      : {};
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
        action: { type: 'string', enum: options.actions },
        [peerField]: { type: 'array', items: peer, minItems: 1, maxItems: 100 },
        ports: portsNode(channel),
      },
      required: ['action', peerField],
      rules:
        peerField === 'to' && channel === 'experimental'
          ? [{ message: options.namedPortMessage, holds: namedPortMeetsPods }]
          : [],
    },
    maxItems: 100,
  };
}

function namedPortMeetsPods(value: unknown): boolean {
  const rule = value as AdminRule;
  const outside = (rule.to ?? []).some(
    (peer) =>
      peer.networks !== undefined || peer.nodes !== undefined || peer.domainNames !== undefined,
  );
  return !(outside && (rule.ports ?? []).some((port) => port.namedPort !== undefined));
}

/** A protocol name the schema lets through but nobody knows is unusable; S347 for ranges. */
export function compileAdminPorts(
  rule: AdminRule,
  path: string,
): (CompiledPort | UnusablePort)[] | undefined {
  if (rule.ports === undefined) return undefined;
  const ports: (CompiledPort | UnusablePort)[] = [];
  rule.ports.forEach((entry, i) => {
    const entryPath = `${path}.ports[${i}]`;
    if (entry.namedPort !== undefined) {
      ports.push({ kind: 'named', path: entryPath, name: entry.namedPort });
      return;
    }
    const from = entry.portNumber?.port ?? entry.portRange?.start ?? 0;
    const to = entry.portNumber?.port ?? entry.portRange?.end ?? 0;
    const protocol = (entry.portNumber ?? entry.portRange)?.protocol ?? 'TCP';
    if (!isProtocol(protocol)) {
      ports.push({
        kind: 'unusable',
        path: entryPath,
        reason: `unknown protocol ${JSON.stringify(protocol)}`,
      });
    } else if (from <= to) {
      ports.push({ kind: 'range', path: entryPath, protocol, from, to });
    }
  });
  return ports;
}

function isProtocol(text: string): text is Protocol {
  return (protocols as readonly string[]).includes(text);
}
