/**
 * What a policy means once an unknown field has been dropped from it, in words (S4, S220). A wrong
 * name rarely makes a policy fail on a server that is not strict; it makes it mean something else.
 * Must not know how the words are shown.
 */
import type { KubeObject } from '../k8s/types.ts';

type Part = Readonly<Record<string, unknown>>;

/** The object in which an unknown field stands; its path has only names and list indexes. */
function parentOf(object: KubeObject, path: string): { path: string; part: Part } | undefined {
  const dot = path.lastIndexOf('.');
  const parentPath = dot < 0 ? '' : path.slice(0, dot);
  let part: unknown = object;
  for (const step of parentPath.match(/[^.[\]]+/g) ?? []) {
    if (typeof part !== 'object' || part === null) return undefined;
    part = (part as Part)[step];
  }
  return typeof part === 'object' && part !== null
    ? { path: parentPath, part: part as Part }
    : undefined;
}

function has(part: Part, name: string): boolean {
  return part[name] !== undefined && part[name] !== null;
}

function hasItems(part: Part, name: string): boolean {
  const list = part[name];
  return Array.isArray(list) && list.length > 0;
}

/** As {@link clusterMeaningWithout}, for NetworkPolicy v1. */
export function networkPolicyMeaningWithout(object: KubeObject, path: string): string | undefined {
  const parent = parentOf(object, path);
  if (parent === undefined) return undefined;
  const { part } = parent;
  if (parent.path === '') {
    return has(part, 'spec')
      ? undefined
      : 'the object has no spec, so it denies all ingress to every pod of its namespace';
  }
  if (parent.path === 'spec') return specMeaning(part);
  if (/\.ports\[\d+\]$/.test(parent.path)) return portMeaning(part);
  if (/\.(from|to)\[\d+\]$/.test(parent.path)) return peerMeaning(part);
  if (parent.path.endsWith('.ipBlock')) {
    if (!has(part, 'cidr')) return 'the block has no cidr, which is refused';
    return has(part, 'except') ? undefined : 'nothing is taken out of the block';
  }
  const rule = /^spec\.(ingress|egress)\[\d+\]$/.exec(parent.path);
  if (rule !== null) return ruleMeaning(part, rule[1] === 'ingress');
  return selectorMeaning(parent.path, part);
}

function specMeaning(spec: Part): string | undefined {
  const types = Array.isArray(spec['policyTypes']) ? (spec['policyTypes'] as unknown[]) : [];
  const said: string[] = [];
  if (!has(spec, 'podSelector')) said.push('the policy selects every pod of its namespace');
  if (!hasItems(spec, 'ingress') && (types.length === 0 || types.includes('Ingress'))) {
    said.push('no ingress rule is left, so all ingress to the selected pods is denied');
  }
  if (!hasItems(spec, 'egress') && types.includes('Egress')) {
    said.push('no egress rule is left, so all egress of the selected pods is denied');
  }
  return said.length === 0 ? undefined : said.join('; ');
}

function ruleMeaning(rule: Part, ingress: boolean): string | undefined {
  const peers = hasItems(rule, ingress ? 'from' : 'to');
  const ports = hasItems(rule, 'ports');
  const everyone = ingress ? 'every source' : 'every destination';
  if (!peers && !ports) return `the rule allows everything, for ${everyone}`;
  if (!peers) return `the rule allows ${everyone}`;
  return ports ? undefined : 'the rule allows every port of every protocol';
}

function portMeaning(port: Part): string | undefined {
  const protocol = has(port, 'protocol') ? String(port['protocol']) : 'TCP';
  if (!has(port, 'port')) return `the entry allows all ${protocol} ports`;
  const end = has(port, 'endPort') ? `–${String(port['endPort'])}` : '';
  return `the entry allows ${protocol} port ${String(port['port'])}${end} only`;
}

function peerMeaning(peer: Part): string | undefined {
  if (has(peer, 'ipBlock')) return undefined;
  if (has(peer, 'podSelector')) {
    return has(peer, 'namespaceSelector')
      ? undefined
      : "the peer selects pods of the policy's own namespace only";
  }
  return has(peer, 'namespaceSelector')
    ? 'the peer selects every pod of the selected namespaces'
    : 'the peer is empty, which is refused';
}

function selectorMeaning(path: string, selector: Part): string | undefined {
  const field = /\.(podSelector|namespaceSelector|namespaces|nodes)$/.exec(path)?.[1];
  if (field === undefined || has(selector, 'matchLabels') || has(selector, 'matchExpressions')) {
    return undefined;
  }
  const all = field === 'podSelector' ? 'pod' : field === 'nodes' ? 'node' : 'namespace';
  return `the selector is empty and selects every ${all}`;
}

/**
 * What is left to say about a cluster-scoped policy without its unknown field at `path`, as a
 * sentence part; undefined when nothing that matters changes.
 */
export function clusterMeaningWithout(object: KubeObject, path: string): string | undefined {
  const parent = parentOf(object, path);
  if (parent === undefined) return undefined;
  const { part } = parent;
  if (/^spec\.(ingress|egress)\[\d+\]$/.test(parent.path)) {
    if (!has(part, 'from') && !has(part, 'to')) return 'the rule has no peers, which is refused';
    return has(part, 'protocols') || has(part, 'ports')
      ? undefined
      : 'the rule applies to every port of every protocol';
  }
  if (/^spec\.subject$|\.(from|to|protocols|ports)\[\d+\]$/.test(parent.path)) {
    // The dropped field itself is one of the keys.
    return Object.keys(part).length > 1 ? undefined : 'nothing is left in it, which is refused';
  }
  return selectorMeaning(parent.path, part);
}
