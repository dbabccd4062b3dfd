/**
 * AdminNetworkPolicy, policy.networking.k8s.io/v1alpha1: schema and rules of its CRD, and
 * compilation. Must not know of pods, manifests or the other policy kinds.
 */
import {
  applyClusterDefaults,
  clusterObjectNode,
  clusterWarnings,
  compileClusterPolicy,
  validateClusterObject,
  type Channel,
} from '../cluster-policy-parts.ts';
import { fieldSchemaOf, type CrdNode } from '../crd-schema.ts';
import { clusterMeaningWithout } from '../dropped-fields.ts';
import type { PolicyKind } from '../policy-kind.ts';
import {
  adminRulesNode,
  adminSubjectNode,
  compileAdminPorts,
  type AdminRule,
} from '../v1alpha1-parts.ts';

function objectNode(channel: Channel): CrdNode {
  const options = {
    channel,
    actions: ['Allow', 'Deny', 'Pass'],
    domainNames: true,
    namedPortMessage:
      'networks/nodes/domainNames peer cannot be set with namedPorts since there are no namedPorts for networks/nodes/domainNames',
  };
  return clusterObjectNode({
    type: 'object',
    properties: {
      priority: { type: 'integer', minimum: 0, maximum: 1000 },
      subject: adminSubjectNode,
      ingress: adminRulesNode('from', options),
      egress: adminRulesNode('to', options),
    },
    required: ['priority', 'subject'],
  });
}

const nodes: Readonly<Record<Channel, CrdNode>> = {
  standard: objectNode('standard'),
  experimental: objectNode('experimental'),
};

export const adminNetworkPolicy: PolicyKind = {
  apiVersion: 'policy.networking.k8s.io/v1alpha1',
  kind: 'AdminNetworkPolicy',
  plural: 'adminnetworkpolicies',
  shortNames: ['anp'],
  namespaced: false,
  tier: 'Admin',
  schema: fieldSchemaOf(nodes.experimental),
  schemaFor: (channel) => fieldSchemaOf(nodes[channel]),
  typesAreFieldErrors: true,
  applyDefaults: (object) => applyClusterDefaults(object, nodes.experimental),
  validate: (object, options) =>
    validateClusterObject(object, nodes[options?.channel ?? 'experimental'], options),
  warnings: (object) => clusterWarnings(object, 'Allow'),
  meaningWithout: clusterMeaningWithout,
  compile: (object, source) =>
    compileClusterPolicy<AdminRule>(
      object,
      'Admin',
      { acceptAction: 'Allow', compilePorts: compileAdminPorts },
      source,
    ),
};
