/**
 * AdminNetworkPolicy, policy.networking.k8s.io/v1alpha1: schema and rules of its CRD, and
 * compilation. Must not know of pods, manifests or the other policy kinds.
 */
import { clusterKind } from '../cluster-kind.ts';
import { clusterObjectNode, type Channel } from '../cluster-policy-parts.ts';
import type { CrdNode } from '../crd-schema.ts';
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

export const adminNetworkPolicy: PolicyKind = clusterKind<AdminRule>({
  apiVersion: 'policy.networking.k8s.io/v1alpha1',
  kind: 'AdminNetworkPolicy',
  plural: 'adminnetworkpolicies',
  shortNames: ['anp'],
  tier: 'Admin',
  objectNode,
  acceptAction: 'Allow',
  compilePorts: compileAdminPorts,
});
