/**
 * The part of a cluster-wide policy kind that is the same for all of them, around its schema and its
 * ports. Must not know any kind by name.
 */
import type { PolicyKind } from './policy-kind.ts';
import {
  applyClusterDefaults,
  clusterWarnings,
  compileClusterPolicy,
  validateClusterObject,
  type Channel,
  type ClusterKindParts,
  type ClusterRule,
} from './cluster-policy-parts.ts';
import type { Tier } from './compiled.ts';
import { fieldSchemaOf, type CrdNode } from './crd-schema.ts';
import { clusterMeaningWithout } from './dropped-fields.ts';
import type { KubeObject } from '../k8s/types.ts';

export interface ClusterKind<R extends ClusterRule>
  extends
    Pick<PolicyKind, 'apiVersion' | 'kind' | 'plural' | 'shortNames' | 'tier'>,
    ClusterKindParts<R> {
  /** The schema of the whole object, as each channel of the API has it. */
  objectNode(channel: Channel): CrdNode;
  /** The tier of one object; absent: the kind's. */
  tierOf?(object: KubeObject): Exclude<Tier, 'NetworkPolicy'>;
  readonly tier: Exclude<Tier, 'NetworkPolicy'>;
}

export function clusterKind<R extends ClusterRule>(own: ClusterKind<R>): PolicyKind {
  const { apiVersion, kind, plural, shortNames, tier, objectNode, tierOf, ...parts } = own;
  const nodes: Readonly<Record<Channel, CrdNode>> = {
    standard: objectNode('standard'),
    experimental: objectNode('experimental'),
  };
  return {
    apiVersion,
    kind,
    plural,
    shortNames,
    namespaced: false,
    tier,
    schema: fieldSchemaOf(nodes.experimental),
    schemaFor: (channel) => fieldSchemaOf(nodes[channel]),
    typesAreFieldErrors: true,
    applyDefaults: (object) => applyClusterDefaults(object, nodes.experimental),
    validate: (object, options) =>
      validateClusterObject(object, nodes[options?.channel ?? 'experimental'], options),
    warnings: (object) => clusterWarnings(object, parts.acceptAction),
    meaningWithout: clusterMeaningWithout,
    compile: (object, source) =>
      compileClusterPolicy<R>(object, tierOf?.(object) ?? tier, parts, source),
  };
}
