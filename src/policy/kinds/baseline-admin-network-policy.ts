/**
 * BaselineAdminNetworkPolicy, policy.networking.k8s.io/v1alpha1: schema and rules of its CRD, and
 * compilation. Must not know of pods, manifests or the other policy kinds.
 */
import type { KubeObject } from '../../k8s/types.ts';
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

const kind = clusterKind<AdminRule>({
  apiVersion: 'policy.networking.k8s.io/v1alpha1',
  kind: 'BaselineAdminNetworkPolicy',
  plural: 'baselineadminnetworkpolicies',
  shortNames: ['banp'],
  tier: 'Baseline',
  objectNode,
  acceptAction: 'Allow',
  compilePorts: compileAdminPorts,
});

export const baselineAdminNetworkPolicy: PolicyKind = {
  ...kind,
  // There is no such field (S340), whatever an object that was not pruned may hold.
  compile: (object, source) => ({ ...kind.compile(object, source), priority: 0 }),
};
