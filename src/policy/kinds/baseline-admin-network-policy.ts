/**
 * BaselineAdminNetworkPolicy, policy.networking.k8s.io/v1alpha1: schema and rules of its CRD, and
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
import type { KubeObject } from '../../k8s/types.ts';
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
    actions: ['Allow', 'Deny'],
    domainNames: false,
    namedPortMessage:
      'networks/nodes peer cannot be set with namedPorts since there are no namedPorts for networks/nodes',
  };
  return clusterObjectNode(
    {
      type: 'object',
      properties: {
        subject: adminSubjectNode,
        ingress: adminRulesNode('from', options),
        egress: adminRulesNode('to', options),
      },
      required: ['subject'],
    },
    [
      {
        message:
          'Only one baseline admin network policy with metadata.name="default" can be created in the cluster',
        holds: (value) => (value as KubeObject).metadata?.name === 'default',
      },
    ],
  );
}

const nodes: Readonly<Record<Channel, CrdNode>> = {
  standard: objectNode('standard'),
  experimental: objectNode('experimental'),
};

export const baselineAdminNetworkPolicy: PolicyKind = {
  apiVersion: 'policy.networking.k8s.io/v1alpha1',
  kind: 'BaselineAdminNetworkPolicy',
  plural: 'baselineadminnetworkpolicies',
  shortNames: ['banp'],
  namespaced: false,
  tier: 'Baseline',
  schema: fieldSchemaOf(nodes.experimental),
  schemaFor: (channel) => fieldSchemaOf(nodes[channel]),
  typesAreFieldErrors: true,
  applyDefaults: (object) => applyClusterDefaults(object, nodes.experimental),
  validate: (object, options) =>
    validateClusterObject(object, nodes[options?.channel ?? 'experimental'], options),
  warnings: (object) => clusterWarnings(object, 'Allow'),
  meaningWithout: clusterMeaningWithout,
  compile: (object, source) => ({
    ...compileClusterPolicy<AdminRule>(
      object,
      'Baseline',
      { acceptAction: 'Allow', compilePorts: compileAdminPorts },
      source,
    ),
    // There is no such field (S340), whatever an object that was not pruned may hold.
    priority: 0,
  }),
};
