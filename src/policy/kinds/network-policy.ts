/**
 * NetworkPolicy, networking.k8s.io/v1: defaults, validation and compilation as the API server and
 * the API's text have them. Must not know of pods, manifests or the other policy kinds.
 */
import {
  forbidden,
  invalid,
  notSupported,
  required,
  type FieldError,
} from '../../k8s/field-error.ts';
import { isValidPortName, isValidPortNumber } from '../../k8s/names.ts';
import { compileSelector, selectorEverything } from '../../k8s/selector.ts';
import type {
  IPBlock,
  KubeObject,
  LabelSelector,
  NetworkPolicyEgressRule,
  NetworkPolicyIngressRule,
  NetworkPolicyPeer,
  NetworkPolicyPort,
  NetworkPolicySpec,
} from '../../k8s/types.ts';
import { validateLabelSelector, validateObjectMeta } from '../../k8s/validation.ts';
import { addressSetFrom, addressSetOf, subtract } from '../../net/address-set.ts';
import { cidrWarnings, parseCidr, type Cidr } from '../../net/cidr.ts';
import { protocols, type Protocol } from '../../net/connection-set.ts';
import type { SourceRange } from '../../k8s/diagnostic.ts';
import type { CompiledPeer, CompiledPolicy, CompiledPort, CompiledRule } from '../compiled.ts';
import { networkPolicyMeaningWithout } from '../dropped-fields.ts';
import { labelSelectorSchema, objectSchema } from '../object-schema.ts';
import type { FieldSchema, PolicyKind, PolicyWarning, ValidationOptions } from '../policy-kind.ts';
import { policyRefOf } from '../policy-ref.ts';

const string: FieldSchema = { type: 'string' };

const peersSchema: FieldSchema = {
  type: 'list',
  items: {
    type: 'object',
    fields: {
      podSelector: labelSelectorSchema,
      namespaceSelector: labelSelectorSchema,
      ipBlock: {
        type: 'object',
        fields: { cidr: string, except: { type: 'list', items: string } },
      },
    },
  },
};

const portsSchema: FieldSchema = {
  type: 'list',
  items: {
    type: 'object',
    fields: { protocol: string, port: { type: 'int-or-string' }, endPort: { type: 'integer' } },
  },
};

const schema: FieldSchema = objectSchema({
  spec: {
    type: 'object',
    fields: {
      podSelector: labelSelectorSchema,
      policyTypes: { type: 'list', items: string },
      ingress: {
        type: 'list',
        items: { type: 'object', fields: { from: peersSchema, ports: portsSchema } },
      },
      egress: {
        type: 'list',
        items: { type: 'object', fields: { to: peersSchema, ports: portsSchema } },
      },
    },
  },
});

/** One direction's rules with the two names of the peer list made one. */
interface Rule {
  readonly path: string;
  readonly peersPath: string;
  readonly peers: readonly NetworkPolicyPeer[];
  readonly ports: readonly NetworkPolicyPort[];
}

/** Null where Go decodes null: an absent list, an empty item. */
function itemsOf<T extends object>(list: readonly (T | null)[] | null | undefined): T[] {
  return (list ?? []).map((item) => item ?? ({} as T));
}

function specOf(object: KubeObject): NetworkPolicySpec {
  return object.spec ?? {};
}

function rulesOf(spec: NetworkPolicySpec, direction: 'Ingress' | 'Egress'): Rule[] {
  const field = direction === 'Ingress' ? 'ingress' : 'egress';
  const peerField = direction === 'Ingress' ? 'from' : 'to';
  const rules = itemsOf<NetworkPolicyIngressRule & NetworkPolicyEgressRule>(spec[field]);
  return rules.map((rule, i) => ({
    path: `spec.${field}[${i}]`,
    peersPath: `spec.${field}[${i}].${peerField}`,
    peers: itemsOf(rule[peerField]),
    ports: itemsOf(rule.ports),
  }));
}

// --- defaults ---------------------------------------------------------------------------------

/** S7 and S8; nothing else is ever filled in (S14). */
function applyDefaults(object: KubeObject): KubeObject {
  const given = specOf(object);
  const spec: NetworkPolicySpec = { ...given };
  if (given.ingress !== undefined && given.ingress !== null) {
    spec.ingress = itemsOf(given.ingress).map((rule) => withDefaultProtocols(rule));
  }
  if (given.egress !== undefined && given.egress !== null) {
    spec.egress = itemsOf(given.egress).map((rule) => withDefaultProtocols(rule));
  }
  if ((given.policyTypes ?? []).length === 0) {
    // Only a rule counts: `egress: []` is the same as no egress at all (S9, S11).
    spec.policyTypes = (given.egress ?? []).length > 0 ? ['Ingress', 'Egress'] : ['Ingress'];
  }
  return { ...object, metadata: object.metadata ?? {}, spec };
}

function withDefaultProtocols<R extends { ports?: NetworkPolicyPort[] | null }>(rule: R): R {
  if (rule.ports === undefined || rule.ports === null) return rule;
  const ports = itemsOf(rule.ports).map((port) =>
    port.protocol === undefined || port.protocol === null ? { ...port, protocol: 'TCP' } : port,
  );
  return { ...rule, ports };
}

// --- validation -------------------------------------------------------------------------------

interface Checks {
  readonly strictCidr: boolean;
  readonly allowInvalidValues: boolean;
  /** CIDRs of the stored object, which stay acceptable (S71). */
  readonly knownCidrs: ReadonlySet<string>;
}

function validate(object: KubeObject, options: ValidationOptions = {}): FieldError[] {
  const { old } = options;
  const errors = validateObjectMeta(object.metadata, {
    namespaced: true,
    ...(old === undefined ? {} : { isUpdate: true, old: old.metadata }),
  });
  const checks: Checks = {
    strictCidr: options.strictCidr === true,
    allowInvalidValues:
      old !== undefined &&
      validateLabelSelector(specOf(old).podSelector, 'spec.podSelector').length > 0,
    knownCidrs: old === undefined ? new Set() : new Set(cidrsOf(specOf(old))),
  };
  validateSpec(specOf(object), checks, errors);
  return errors;
}

function cidrsOf(spec: NetworkPolicySpec): string[] {
  const cidrs: string[] = [];
  for (const rule of [...rulesOf(spec, 'Ingress'), ...rulesOf(spec, 'Egress')]) {
    for (const { ipBlock } of rule.peers) {
      if (ipBlock === undefined || ipBlock === null) continue;
      cidrs.push(ipBlock.cidr ?? '', ...(ipBlock.except ?? []));
    }
  }
  return cidrs;
}

function validateSpec(spec: NetworkPolicySpec, checks: Checks, errors: FieldError[]): void {
  pushSelectorErrors(spec.podSelector, 'spec.podSelector', checks, errors);
  for (const rule of [...rulesOf(spec, 'Ingress'), ...rulesOf(spec, 'Egress')]) {
    rule.ports.forEach((port, i) => validatePort(port, `${rule.path}.ports[${i}]`, errors));
    rule.peers.forEach((peer, i) => validatePeer(peer, `${rule.peersPath}[${i}]`, checks, errors));
  }
  const types = spec.policyTypes ?? [];
  if (types.length > 2) {
    errors.push(invalid('spec.policyTypes', types, 'may not specify more than two policyTypes'));
    return;
  }
  types.forEach((given: string | null, i) => {
    const type = given ?? '';
    if (type !== 'Ingress' && type !== 'Egress') {
      errors.push(notSupported(`spec.policyTypes[${i}]`, type, ['Ingress', 'Egress']));
    }
  });
}

function pushSelectorErrors(
  selector: LabelSelector | null | undefined,
  path: string,
  checks: Checks,
  errors: FieldError[],
): void {
  const { allowInvalidValues } = checks;
  errors.push(...validateLabelSelector(selector, path, { allowInvalidValues }));
}

function validatePort(port: NetworkPolicyPort, path: string, errors: FieldError[]): void {
  const protocol = port.protocol ?? undefined;
  if (protocol !== undefined && !isProtocol(protocol)) {
    errors.push(notSupported(`${path}.protocol`, protocol, ['TCP', 'UDP', 'SCTP']));
  }
  const endPort = port.endPort ?? undefined;
  const number = port.port ?? undefined;
  if (number === undefined) {
    if (endPort !== undefined) {
      errors.push(
        invalid(`${path}.endPort`, endPort, 'may not be specified when `port` is not specified'),
      );
    }
  } else if (typeof number === 'number') {
    for (const fault of isValidPortNumber(number)) {
      errors.push(invalid(`${path}.port`, number, fault));
    }
    if (endPort === undefined) return;
    if (endPort < number) {
      errors.push(invalid(`${path}.endPort`, endPort, 'must be greater than or equal to `port`'));
    }
    for (const fault of isValidPortNumber(endPort)) {
      errors.push(invalid(`${path}.endPort`, endPort, fault));
    }
  } else {
    if (endPort !== undefined) {
      errors.push(
        invalid(`${path}.endPort`, endPort, 'may not be specified when `port` is non-numeric'),
      );
    }
    for (const fault of isValidPortName(number)) {
      errors.push(invalid(`${path}.port`, number, fault));
    }
  }
}

function isProtocol(text: string): text is Protocol {
  return (protocols as readonly string[]).includes(text);
}

function validatePeer(
  peer: NetworkPolicyPeer,
  path: string,
  checks: Checks,
  errors: FieldError[],
): void {
  const { podSelector = null, namespaceSelector = null, ipBlock = null } = peer;
  if (podSelector !== null) {
    pushSelectorErrors(podSelector, `${path}.podSelector`, checks, errors);
  }
  if (namespaceSelector !== null) {
    pushSelectorErrors(namespaceSelector, `${path}.namespaceSelector`, checks, errors);
  }
  if (ipBlock !== null) validateIpBlock(ipBlock, `${path}.ipBlock`, checks, errors);
  if (podSelector === null && namespaceSelector === null) {
    if (ipBlock === null) errors.push(required(path, 'must specify a peer'));
  } else if (ipBlock !== null) {
    errors.push(forbidden(path, 'may not specify both ipBlock and another peer'));
  }
}

function validateIpBlock(block: IPBlock, path: string, checks: Checks, errors: FieldError[]): void {
  const text = block.cidr ?? '';
  if (text === '') {
    errors.push(required(`${path}.cidr`));
    return;
  }
  const cidr = validateCidr(text, `${path}.cidr`, checks, errors);
  if (cidr === undefined) return;
  (block.except ?? []).forEach((given: string | null, i) => {
    const exceptText = given ?? '';
    const exceptPath = `${path}.except[${i}]`;
    const except = validateCidr(exceptText, exceptPath, checks, errors);
    if (except !== undefined && !isStrictSubset(except, cidr)) {
      errors.push(invalid(exceptPath, exceptText, 'must be a strict subset of `cidr`'));
    }
  });
}

/** Returns the leniently read network even when the strict rules refuse it (S61). */
function validateCidr(
  text: string,
  path: string,
  checks: Checks,
  errors: FieldError[],
): Cidr | undefined {
  const result = parseCidr(text);
  if (!result.ok) {
    errors.push(invalid(path, text, result.fault));
    return undefined;
  }
  if (checks.strictCidr && result.strictFault !== undefined && !checks.knownCidrs.has(text)) {
    errors.push(invalid(path, text, result.strictFault));
  }
  return result.cidr;
}

/** The server's own test: the first address lies inside, and the prefix, as written, is longer. */
function isStrictSubset(except: Cidr, cidr: Cidr): boolean {
  return (
    except.family === cidr.family &&
    except.first.value >= cidr.first.value &&
    except.first.value <= cidr.last.value &&
    (cidr.mappedPrefix ?? cidr.prefix) < (except.mappedPrefix ?? except.prefix)
  );
}

// --- warnings ---------------------------------------------------------------------------------

/** For each ambiguous or non-standard CIDR (S72). */
function warnings(object: KubeObject): PolicyWarning[] {
  const found: PolicyWarning[] = [];
  const add = (path: string, text: string): void => {
    for (const warning of cidrWarnings(text)) {
      found.push({ code: 'ambiguous-cidr', path, text: warning });
    }
  };
  const spec = specOf(object);
  for (const rule of [...rulesOf(spec, 'Ingress'), ...rulesOf(spec, 'Egress')]) {
    rule.peers.forEach(({ ipBlock }, i) => {
      if (ipBlock === undefined || ipBlock === null) return;
      const path = `${rule.peersPath}[${i}].ipBlock`;
      add(`${path}.cidr`, ipBlock.cidr ?? '');
      (ipBlock.except ?? []).forEach((text, k) => add(`${path}.except[${k}]`, text ?? ''));
    });
  }
  return found;
}

// --- compilation ------------------------------------------------------------------------------

function compile(object: KubeObject, source?: SourceRange): CompiledPolicy {
  const spec = specOf(object);
  const namespace = object.metadata.namespace ?? '';
  const types = spec.policyTypes ?? [];
  const isolates = { Ingress: types.includes('Ingress'), Egress: types.includes('Egress') };
  // Rules of a direction that is not listed have no effect (S78).
  const compileDirection = (direction: 'Ingress' | 'Egress'): CompiledRule[] =>
    isolates[direction] ? rulesOf(spec, direction).map((rule) => compileRule(rule, namespace)) : [];
  return {
    ref: policyRefOf(object, true, source),
    tier: 'NetworkPolicy',
    priority: 0,
    subject: {
      namespaces: { name: namespace },
      // Absent and null mean the same as `{}` here and only here (S6).
      pods: compileSelector(spec.podSelector ?? {}),
    },
    isolates,
    rules: { Ingress: compileDirection('Ingress'), Egress: compileDirection('Egress') },
  };
}

function compileRule(rule: Rule, namespace: string): CompiledRule {
  return {
    action: 'Accept',
    path: rule.path,
    // An empty list is an absent one: everyone, everything (S102, S121).
    peers:
      rule.peers.length === 0
        ? 'any'
        : rule.peers.map((peer, i) => compilePeer(peer, `${rule.peersPath}[${i}]`, namespace)),
    ports:
      rule.ports.length === 0
        ? 'any'
        : rule.ports.map((port, i) => compilePort(port, `${rule.path}.ports[${i}]`)),
  };
}

function compilePeer(peer: NetworkPolicyPeer, path: string, namespace: string): CompiledPeer {
  const { podSelector = null, namespaceSelector = null, ipBlock = null } = peer;
  if (ipBlock !== null) return compileIpBlock(ipBlock, path);
  if (podSelector === null && namespaceSelector === null) {
    return { kind: 'unusable', path, reason: 'the peer names nobody' };
  }
  return {
    kind: 'pods',
    path,
    matcher: {
      namespaces:
        namespaceSelector === null
          ? { name: namespace }
          : { selector: compileSelector(namespaceSelector) },
      pods: podSelector === null ? selectorEverything : compileSelector(podSelector),
    },
  };
}

function compileIpBlock(block: IPBlock, path: string): CompiledPeer {
  const text = block.cidr ?? '';
  const cidr = parseCidr(text);
  if (!cidr.ok) return { kind: 'unusable', path, reason: `${text} is not a CIDR` };
  const excepts: Cidr[] = [];
  for (const except of block.except ?? []) {
    const result = parseCidr(except);
    if (result.ok) excepts.push(result.cidr);
  }
  const written = block.except ?? [];
  return {
    kind: 'addresses',
    path,
    set: subtract(addressSetOf(cidr.cidr), addressSetFrom(excepts)),
    text: written.length === 0 ? text : `${text} except ${written.join(', ')}`,
  };
}

function compilePort(port: NetworkPolicyPort, path: string): CompiledPort {
  const given = port.protocol ?? 'TCP';
  const protocol: Protocol = isProtocol(given) ? given : 'TCP';
  const number = port.port ?? null;
  if (number === null) return { kind: 'range', path, protocol, from: 1, to: 65535 };
  // A string is a name even if it is all digits (S23).
  if (typeof number === 'string') return { kind: 'named', path, protocol, name: number };
  return { kind: 'range', path, protocol, from: number, to: port.endPort ?? number };
}

export const networkPolicy: PolicyKind = {
  apiVersion: 'networking.k8s.io/v1',
  kind: 'NetworkPolicy',
  plural: 'networkpolicies',
  shortNames: ['netpol'],
  namespaced: true,
  tier: 'NetworkPolicy',
  schema,
  applyDefaults,
  validate,
  warnings,
  meaningWithout: networkPolicyMeaningWithout,
  compile,
};
