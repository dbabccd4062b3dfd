/**
 * What the three cluster-scoped kinds of policy.networking.k8s.io share: selector, subject, peer and
 * network schemas, and their compilation, failing closed. Must not know any one kind.
 */
import type { SourceRange } from '../k8s/diagnostic.ts';
import { compileSelector, selectorEverything, selectorNothing } from '../k8s/selector.ts';
import type { Selector } from '../k8s/selector.ts';
import type { KubeObject, LabelSelector, ObjectMeta } from '../k8s/types.ts';
import { validateLabelSelector, validateObjectMeta } from '../k8s/validation.ts';
import { formatFieldErrorBody, type FieldError } from '../k8s/field-error.ts';
import { parseAddress } from '../net/address.ts';
import { addressSetFrom } from '../net/address-set.ts';
import { cidrWarnings, parseCidr, type Cidr } from '../net/cidr.ts';
import type {
  Action,
  CompiledPeer,
  CompiledPolicy,
  CompiledPort,
  CompiledRule,
  PodMatcher,
  Tier,
} from './compiled.ts';
import { validateCustomResource, withCrdDefaults, type CrdNode } from './crd-schema.ts';
import { objectMetaSchema } from './object-schema.ts';
import type { PolicyWarning, ValidationOptions } from './policy-kind.ts';
import { policyRefOf } from './policy-ref.ts';

export type Channel = 'standard' | 'experimental';

// --- JSON shapes ------------------------------------------------------------------------------

export interface NamespacedPods {
  namespaceSelector?: LabelSelector;
  podSelector?: LabelSelector;
}

/** A subject, an ingress peer or an egress peer: exactly one field is set. */
export interface ClusterPeer {
  namespaces?: LabelSelector;
  pods?: NamespacedPods;
  networks?: string[];
  nodes?: LabelSelector;
  domainNames?: string[];
}

export interface ClusterRule {
  name?: string;
  action: string;
  from?: ClusterPeer[];
  to?: ClusterPeer[];
}

export interface ClusterSpec<R extends ClusterRule> {
  tier?: string;
  priority?: number;
  subject?: ClusterPeer;
  ingress?: R[];
  egress?: R[];
}

// --- schema -----------------------------------------------------------------------------------

const string: CrdNode = { type: 'string' };

/** Operators, keys and values are not looked at (S250). */
export const selectorNode: CrdNode = {
  type: 'object',
  properties: {
    matchExpressions: {
      type: 'array',
      items: {
        type: 'object',
        properties: { key: string, operator: string, values: { type: 'array', items: string } },
        required: ['key', 'operator'],
      },
    },
    matchLabels: { type: 'object', values: string },
  },
};

/** `pods` of a subject or peer; v1alpha1 requires both selectors (S228, S324). */
export function podsNode(required: readonly string[]): CrdNode {
  return {
    type: 'object',
    properties: { namespaceSelector: selectorNode, podSelector: selectorNode },
    required,
  };
}

export const portNode: CrdNode = { type: 'integer', minimum: 1, maximum: 65535 };

/** S237; `isCIDR` as S238. */
export const networksNode: CrdNode = {
  type: 'array',
  items: {
    type: 'string',
    maxLength: 43,
    rules: [
      {
        message: 'Invalid CIDR format provided',
        holds: (value) => typeof value === 'string' && isCidr(value),
      },
    ],
  },
  minItems: 1,
  maxItems: 25,
  set: true,
};

/** S239; `A-z` is upstream's, and so is what it lets through (S240). */
export const domainNamesNode: CrdNode = {
  type: 'array',
  items: {
    type: 'string',
    pattern:
      /^(\*\.)?([a-zA-z0-9]([-a-zA-Z0-9_]*[a-zA-Z0-9])?\.)+[a-zA-z0-9]([-a-zA-Z0-9_]*[a-zA-Z0-9])?\.?$/,
  },
  minItems: 1,
  maxItems: 25,
  set: true,
};

/**
 * CEL's isCIDR: strict about leading zeros, zones and IPv4-mapped addresses, but it accepts host
 * bits (S238).
 */
export function isCidr(text: string): boolean {
  const slash = text.lastIndexOf('/');
  const address = parseAddress(text.slice(0, slash));
  if (slash < 0 || address === undefined) return false;
  if (address.family === 6 && address.value >> 32n === 0xffffn) return false;
  const bits = text.slice(slash + 1);
  if (!/^(0|[1-9][0-9]{0,2})$/.test(bits)) return false;
  return Number(bits) <= (address.family === 4 ? 32 : 128);
}

/** Exactly one of the given fields. */
export function oneOf(properties: Readonly<Record<string, CrdNode>>): CrdNode {
  return { type: 'object', properties, minProperties: 1, maxProperties: 1 };
}

/** The whole object; status is a subresource, which a write of the object does not touch (S215). */
export function clusterObjectNode(
  spec: CrdNode,
  rules: readonly { message: string; holds(value: unknown): boolean }[] = [],
): CrdNode {
  return {
    type: 'object',
    properties: {
      apiVersion: string,
      kind: string,
      metadata: { type: 'opaque', known: objectMetaSchema },
      spec,
      status: { type: 'opaque', known: { type: 'any' } },
    },
    required: ['metadata', 'spec'],
    rules,
  };
}

// --- validation -------------------------------------------------------------------------------

/** Metadata, then the schema, then the rules, as the server does for custom resources. */
export function validateClusterObject(
  object: KubeObject,
  schema: CrdNode,
  options: ValidationOptions = {},
): FieldError[] {
  const { old } = options;
  const metadata: ObjectMeta | undefined = object.metadata;
  const before = validateObjectMeta(metadata, {
    namespaced: false,
    ...(old === undefined ? {} : { isUpdate: true, old: old.metadata }),
  });
  return validateCustomResource(object, schema, before);
}

/** The schema's defaults; only v1alpha1 has any (S219, S328). */
export function applyClusterDefaults(object: KubeObject, schema: CrdNode): KubeObject {
  return withCrdDefaults(object, schema);
}

// --- warnings ---------------------------------------------------------------------------------

/** Admitted things that do not mean what they seem to: host bits, unusable selectors, S249. */
export function clusterWarnings(object: KubeObject, acceptAction: string): PolicyWarning[] {
  const found: PolicyWarning[] = [];
  const spec = object.spec as ClusterSpec<ClusterRule>;
  const fault = subjectFault(spec.subject ?? {});
  if (fault !== undefined) {
    found.push({
      code: 'unusable-subject',
      path: `spec.subject.${fault.path}`,
      text: `${fault.reason}; no pod is subject to the policy`,
    });
  }
  for (const direction of ['ingress', 'egress'] as const) {
    (spec[direction] ?? []).forEach((rule, i) => {
      const peerField = direction === 'ingress' ? 'from' : 'to';
      (rule[peerField] ?? []).forEach((peer, j) => {
        const path = `spec.${direction}[${i}].${peerField}[${j}]`;
        (peer.networks ?? []).forEach((text, k) => {
          for (const warning of cidrWarnings(text)) {
            found.push({
              code: 'ambiguous-cidr',
              path: `${path}.networks[${k}]`,
              text: warning,
            });
          }
        });
        if (peer.domainNames !== undefined && rule.action !== acceptAction) {
          found.push({
            code: 'domain-names-not-accept',
            path: `${path}.domainNames`,
            text: `domain names are supported in ${acceptAction} rules only; the server does not check it`,
          });
        }
      });
    });
  }
  return found;
}

// --- compilation ------------------------------------------------------------------------------

interface SelectorFault {
  readonly path: string;
  readonly reason: string;
}

/**
 * Why a selector that the CRD admits cannot be used (S250, S268): the same conversion that built-in
 * kinds are validated against fails.
 */
function selectorFault(
  selector: LabelSelector | undefined,
  path: string,
): SelectorFault | undefined {
  const error = validateLabelSelector(selector, path)[0];
  return error === undefined
    ? undefined
    : { path: error.path, reason: `unusable selector: ${formatFieldErrorBody(error)}` };
}

function subjectFault(subject: ClusterPeer): SelectorFault | undefined {
  return (
    selectorFault(subject.namespaces, 'namespaces') ??
    selectorFault(subject.pods?.namespaceSelector, 'pods.namespaceSelector') ??
    selectorFault(subject.pods?.podSelector, 'pods.podSelector')
  );
}

/** An absent namespaceSelector selects every namespace, as an empty one does (S254). */
function orEverything(selector: LabelSelector | undefined): Selector {
  return selector === undefined ? selectorEverything : compileSelector(selector);
}

function podMatcher(peer: ClusterPeer): PodMatcher | undefined {
  if (peer.namespaces !== undefined) {
    return {
      namespaces: { selector: compileSelector(peer.namespaces) },
      pods: selectorEverything,
    };
  }
  if (peer.pods !== undefined) {
    return {
      namespaces: { selector: orEverything(peer.pods.namespaceSelector) },
      pods: orEverything(peer.pods.podSelector),
    };
  }
  return undefined;
}

/**
 * The pods a policy is about. An unusable selector selects none: failing closed is defined for
 * peers, not for subjects, and denying all traffic of every pod would be worse than no policy.
 */
function compileSubject(subject: ClusterPeer): PodMatcher {
  const matcher = subjectFault(subject) === undefined ? podMatcher(subject) : undefined;
  return matcher ?? { namespaces: { selector: selectorNothing }, pods: selectorNothing };
}

function compilePeer(peer: ClusterPeer, path: string): CompiledPeer {
  const fault = subjectFault(peer) ?? selectorFault(peer.nodes, 'nodes');
  if (fault !== undefined) {
    return { kind: 'unusable', path, reason: `${fault.path}: ${fault.reason}` };
  }
  const matcher = podMatcher(peer);
  if (matcher !== undefined) return { kind: 'pods', path, matcher };
  if (peer.networks !== undefined) return compileNetworks(peer.networks, path);
  if (peer.nodes !== undefined) {
    return { kind: 'nodes', path, selector: compileSelector(peer.nodes) };
  }
  if (peer.domainNames !== undefined) {
    return { kind: 'domainNames', path, names: peer.domainNames };
  }
  return { kind: 'unusable', path, reason: 'no field of the peer is known' };
}

function compileNetworks(networks: readonly string[], path: string): CompiledPeer {
  const cidrs: Cidr[] = [];
  for (const text of networks) {
    const result = parseCidr(text);
    if (!result.ok) return { kind: 'unusable', path, reason: `${text} is not a CIDR` };
    cidrs.push(result.cidr);
  }
  return { kind: 'addresses', path, set: addressSetFrom(cidrs), text: networks.join(', ') };
}

/** A port entry that cannot be understood, for the rule to fail closed on. */
export interface UnusablePort {
  readonly kind: 'unusable';
  readonly path: string;
  readonly reason: string;
}

export interface ClusterKindParts<R extends ClusterRule> {
  /** The action written for Accept: `Allow` in v1alpha1. */
  readonly acceptAction: string;
  /** Undefined: the rule does not look at ports. A port may compile to several or to none. */
  compilePorts(rule: R, path: string): (CompiledPort | UnusablePort)[] | undefined;
}

/** Compiles a validated object of any of the three kinds. */
export function compileClusterPolicy<R extends ClusterRule>(
  object: KubeObject,
  tier: Tier,
  parts: ClusterKindParts<R>,
  source?: SourceRange,
): CompiledPolicy {
  const spec = object.spec as ClusterSpec<R>;
  const compileRules = (direction: 'ingress' | 'egress'): CompiledRule[] =>
    (spec[direction] ?? []).map((rule, i) =>
      compileRule(rule, direction, `spec.${direction}[${i}]`, parts),
    );
  return {
    ref: policyRefOf(object, false, source),
    tier,
    priority: spec.priority ?? 0,
    subject: compileSubject(spec.subject ?? {}),
    isolates: { Ingress: false, Egress: false },
    rules: { Ingress: compileRules('ingress'), Egress: compileRules('egress') },
  };
}

function compileRule<R extends ClusterRule>(
  rule: R,
  direction: 'ingress' | 'egress',
  path: string,
  parts: ClusterKindParts<R>,
): CompiledRule {
  const peerField = direction === 'ingress' ? 'from' : 'to';
  const peers = (rule[peerField] ?? []).map((peer, i) =>
    compilePeer(peer, `${path}.${peerField}[${i}]`),
  );
  const ports = parts.compilePorts(rule, path);
  const action = actionOf(rule.action, parts.acceptAction);
  const name = rule.name === undefined ? {} : { name: rule.name };
  const unusable: CompiledPeer[] = [
    ...peers.filter((peer) => peer.kind === 'unusable'),
    ...(ports ?? []).filter((port) => port.kind === 'unusable'),
  ];
  // The whole rule fails closed, not the peer alone: Accept matches nothing, Deny and Pass become
  // "deny all" in this place and direction (S266, S267).
  if (unusable.length > 0) {
    return {
      action: action === 'Accept' ? 'Accept' : 'Deny',
      path,
      ...name,
      peers: unusable,
      ports: 'any',
    };
  }
  return {
    action,
    path,
    ...name,
    peers,
    ports: ports === undefined ? 'any' : ports.filter((port) => port.kind !== 'unusable'),
  };
}

function actionOf(action: string, acceptAction: string): Action {
  if (action === acceptAction) return 'Accept';
  return action === 'Pass' ? 'Pass' : 'Deny';
}
