/**
 * The cluster's DNS: which names services and endpoints have, and answers to queries for their
 * addresses. Pure; must not open sockets. A and AAAA only; there is no upstream, other names do not
 * exist.
 */
import type { KubeObject } from '../k8s/types.ts';
import { familyOf } from './config.ts';

const zone = 'svc.cluster.local';

/** Image of the container that the lab answers DNS for. */
export const dnsImage = 'podwall/cluster-dns';
export const dnsPodId = 'kube-system/coredns';

interface Endpoint {
  readonly addresses?: readonly string[];
  readonly conditions?: { readonly ready?: boolean };
  readonly hostname?: string;
  readonly targetRef?: { readonly name?: string };
}

/** Addresses by lower-case name without the last dot. */
export type DnsNames = ReadonlyMap<string, readonly string[]>;

/** Names of services, of the endpoints of headless ones, and of `hosts`. */
export function clusterNames(
  objects: readonly KubeObject[],
  hosts: readonly { readonly name: string; readonly addresses: readonly string[] }[],
): DnsNames {
  const names = new Map<string, string[]>(
    hosts.map(({ name, addresses }) => [name, [...addresses]]),
  );
  const add = (name: string, addresses: readonly string[]): void => {
    names.set(name, [...(names.get(name) ?? []), ...addresses]);
  };
  const headless = new Set<string>();
  for (const { kind, metadata, spec } of objects) {
    if (kind !== 'Service') continue;
    const { clusterIPs = [] } = (spec ?? {}) as { clusterIPs?: readonly string[] };
    const name = `${metadata.name}.${metadata.namespace}.${zone}`;
    if (clusterIPs.includes('None')) headless.add(name);
    add(name, clusterIPs.includes('None') ? [] : clusterIPs);
  }
  for (const object of objects) {
    if (object.kind !== 'EndpointSlice') continue;
    const { labels, namespace } = object.metadata;
    const service = `${labels?.['kubernetes.io/service-name'] ?? ''}.${namespace}.${zone}`;
    if (!headless.has(service)) continue;
    const { endpoints = [] } = object as unknown as { endpoints?: readonly Endpoint[] };
    for (const { addresses = [], conditions, hostname, targetRef } of endpoints) {
      if (conditions?.ready === false) continue;
      add(service, addresses);
      const own = hostname ?? targetRef?.name;
      if (own !== undefined) add(`${own}.${service}`, addresses);
    }
  }
  return names;
}

const typeA = 1;
const typeAaaa = 28;

/** The answer to one query; undefined when it is none. */
export function answerDns(query: Buffer, names: DnsNames): Buffer | undefined {
  if (query.length < 17 || (query.readUInt16BE(2) & 0x8000) !== 0) return undefined;
  const labels: string[] = [];
  let at = 12;
  for (;;) {
    const length = query[at];
    if (length === undefined || length > 63 || at + length + 5 > query.length) return undefined;
    at += 1;
    if (length === 0) break;
    labels.push(query.toString('latin1', at, at + length).toLowerCase());
    at += length;
  }
  const type = query.readUInt16BE(at);
  const question = query.subarray(12, at + 4);
  const addresses = names.get(labels.join('.'));
  const records = (addresses ?? []).filter(
    (one) => (type === typeA && familyOf(one) === 4) || (type === typeAaaa && familyOf(one) === 6),
  );
  const head = Buffer.alloc(12);
  head.writeUInt16BE(query.readUInt16BE(0), 0);
  // Authoritative answer; recursion as wanted, and offered; NXDOMAIN for a name nobody has.
  const wanted = query.readUInt16BE(2) & 0x0100;
  head.writeUInt16BE(0x8480 | wanted | (addresses === undefined ? 3 : 0), 2);
  head.writeUInt16BE(1, 4);
  head.writeUInt16BE(records.length, 6);
  return Buffer.concat([head, question, ...records.map(record)]);
}

/** Points back at the question's name; lives 5 s. */
function record(address: string): Buffer {
  const bytes =
    familyOf(address) === 4 ? Buffer.from(address.split('.').map(Number)) : bytes6(address);
  const head = Buffer.from([
    0xc0,
    12,
    0,
    bytes.length === 4 ? typeA : typeAaaa,
    0,
    1,
    0,
    0,
    0,
    5,
    0,
    bytes.length,
  ]);
  return Buffer.concat([head, bytes]);
}

function bytes6(address: string): Buffer {
  const [left = '', right] = address.split('::');
  const words = (text: string): number[] =>
    text === '' ? [] : text.split(':').map((word) => Number.parseInt(word, 16));
  const before = words(left);
  const after = words(right ?? '');
  const all = [...before, ...Array<number>(8 - before.length - after.length).fill(0), ...after];
  return Buffer.from(all.flatMap((word) => [word >> 8, word & 255]));
}

/** What a pod of a namespace finds in /etc/resolv.conf. */
export function resolvConf(server: string, namespace: string): string {
  const search = `${namespace}.${zone} ${zone} cluster.local`;
  return `nameserver ${server}\nsearch ${search}\noptions ndots:5\n`;
}
