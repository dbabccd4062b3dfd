/**
 * Hands out cluster addresses and node ports for services from fixed ranges.
 */
import type { AddressAllocator } from './resource.ts';

export interface ServiceRanges {
  /** `10.96.0.0/16` is `10.96` with 65,534 addresses. */
  readonly ipv4?: { readonly prefix: readonly [number, number] };
  /** The first seven groups, `fd00:10:96::`. */
  readonly ipv6?: { readonly prefix: string };
}

export const defaultServiceRanges: ServiceRanges = { ipv4: { prefix: [10, 96] } };
export const dualServiceRanges: ServiceRanges = {
  ipv4: { prefix: [10, 96] },
  ipv6: { prefix: 'fd00:10:96::' },
};

/** The first address of each family is kept for the service `kubernetes`. */
export function createAddressAllocator(ranges: ServiceRanges): AddressAllocator {
  const next = { IPv4: 2, IPv6: 2 };
  let nextPort = 30_000;
  const { ipv4, ipv6 } = ranges;
  const text = (family: 'IPv4' | 'IPv6', index: number): string | undefined => {
    if (family === 'IPv4')
      return ipv4 ? `${ipv4.prefix.join('.')}.${index >> 8}.${index & 255}` : undefined;
    return ipv6 ? `${ipv6.prefix}${index.toString(16)}` : undefined;
  };
  return {
    families: [...(ipv4 ? (['IPv4'] as const) : []), ...(ipv6 ? (['IPv6'] as const) : [])],
    clusterIp(family, used) {
      for (let tries = 0; tries < 65_533; tries += 1) {
        const index = next[family];
        next[family] = index >= 65_534 ? 2 : index + 1;
        const ip = text(family, index);
        if (ip === undefined) return undefined;
        if (!used.has(ip)) return ip;
      }
      return undefined;
    },
    contains: (ip) =>
      (ipv4 !== undefined && ip.startsWith(`${ipv4.prefix.join('.')}.`)) ||
      (ipv6 !== undefined && ip.startsWith(ipv6.prefix)),
    nodePort(used) {
      for (let tries = 0; tries < 2768; tries += 1) {
        const port = nextPort;
        nextPort = port >= 32_767 ? 30_000 : port + 1;
        if (!used.has(port)) return port;
      }
      return undefined;
    },
  };
}
