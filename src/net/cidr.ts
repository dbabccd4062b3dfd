/**
 * Networks written as `address/prefix-length`, read as leniently or as strictly as the API server
 * does. Must not know of policies; which mode applies is the caller's business.
 */
import { compareAddresses, formatAddress, parseAddress, parseAddressSloppy } from './address.ts';
import type { Address, Family } from './address.ts';

export interface Cidr {
  readonly family: Family;
  /** Network address: host bits are cleared (S73). */
  readonly first: Address;
  readonly last: Address;
  readonly prefix: number;
  /**
   * Prefix length in IPv6 terms (96–128) when the text was an IPv4-mapped network, which is the IPv4
   * network it maps (`::ffff:10.0.0.0/104` is 10.0.0.0/8), as Go's net.IPNet has it. S63 compares
   * prefix lengths as written.
   */
  readonly mappedPrefix?: number;
}

export type CidrResult =
  | {
      readonly ok: true;
      readonly cidr: Cidr;
      /** The address as written, host bits kept. */
      readonly address: Address;
      /** Why strict parsing refuses what lenient parsing accepted (S68). */
      readonly strictFault?: string;
    }
  | { readonly ok: false; readonly fault: string };

/** The API server's words for a text that is no CIDR in any mode (S69). */
const NOT_A_CIDR = 'must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)';

/**
 * Parses a CIDR. Lenient (default) accepts what Go's ParseCIDRSloppy accepts: leading zeros, host
 * bits, IPv4-mapped IPv6 (S67, S70). `strict` refuses those too (S68). Faults are the API server's
 * words.
 */
export function parseCidr(text: string, options?: { readonly strict?: boolean }): CidrResult {
  const slash = text.indexOf('/');
  if (slash < 0) return { ok: false, fault: NOT_A_CIDR };
  const address = parseAddressSloppy(text.slice(0, slash));
  const bits = text.slice(slash + 1);
  if (address === undefined || !/^[0-9]+$/.test(bits)) return { ok: false, fault: NOT_A_CIDR };
  const length = Number(bits);
  if (length > (address.family === 4 ? 32 : 128)) return { ok: false, fault: NOT_A_CIDR };

  const strictFault = faultOfStrictParsing(text.slice(0, slash), bits, address, length);
  if (strictFault !== undefined && options?.strict === true)
    return { ok: false, fault: strictFault };
  const cidr = network(address, length);
  return strictFault === undefined
    ? { ok: true, cidr, address }
    : { ok: true, cidr, address, strictFault };
}

function faultOfStrictParsing(
  addressText: string,
  bits: string,
  address: Address,
  length: number,
): string | undefined {
  if (parseAddress(addressText) === undefined || (bits.length > 1 && bits.startsWith('0')))
    return 'must not have leading 0s in IP or prefix length';
  if (isMapped(address)) return 'must not have an IPv4-mapped IPv6 address';
  if (maskDown(address, length).value !== address.value)
    return 'must not have bits set beyond the prefix length';
  return undefined;
}

/** The network of `length` bits around an address. IPv4-mapped networks become IPv4 ones. */
function network(address: Address, length: number): Cidr {
  const first = maskDown(address, length);
  if (first.family === 6 && isMapped(first) && length >= 96) {
    const v4: Address = { family: 4, value: Number(first.value & 0xffffffffn) };
    return {
      family: 4,
      first: v4,
      last: maskUp(v4, length - 96),
      prefix: length - 96,
      mappedPrefix: length,
    };
  }
  return { family: address.family, first, last: maskUp(first, length), prefix: length };
}

/** The network that holds an address at a prefix length within the bounds of its family. */
export function cidrOf(address: Address, prefix: number): Cidr {
  const first = maskDown(address, prefix);
  return { family: address.family, first, last: maskUp(first, prefix), prefix };
}

function isMapped(address: Address): boolean {
  return address.family === 6 && address.value >> 32n === 0xffffn;
}

function maskDown(address: Address, length: number): Address {
  if (address.family === 4)
    return { family: 4, value: address.value - (address.value % 2 ** (32 - length)) };
  const host = BigInt(128 - length);
  return { family: 6, value: (address.value >> host) << host };
}

function maskUp(first: Address, length: number): Address {
  if (first.family === 4) return { family: 4, value: first.value + 2 ** (32 - length) - 1 };
  return { family: 6, value: first.value + (1n << BigInt(128 - length)) - 1n };
}

/** Canonical text, `10.0.0.0/8` or `2001:db8::/32`. */
export function formatCidr(cidr: Cidr): string {
  return `${formatAddress(cidr.first)}/${cidr.prefix}`;
}

/** Whether every address of `inner` is in `outer`; equal networks contain each other. */
export function cidrContains(outer: Cidr, inner: Cidr): boolean {
  return (
    outer.family === inner.family &&
    compareAddresses(outer.first, inner.first) <= 0 &&
    compareAddresses(outer.last, inner.last) >= 0
  );
}

/**
 * The API server's warnings for an accepted CIDR that is ambiguous or not canonical (S72), without
 * the field path that precedes them. Empty for a text that does not parse.
 */
export function cidrWarnings(text: string): string[] {
  const result = parseCidr(text);
  if (!result.ok) return [];
  const warnings: string[] = [];
  const { address, cidr } = result;
  const slash = text.indexOf('/');
  const bits = text.slice(slash + 1);
  const length = Number(bits);
  const quoted = JSON.stringify(text);
  const preferred = JSON.stringify(formatCidr(cidr));
  if (maskDown(address, length).value !== address.value) {
    // Go prints a mapped address in dotted form but counts its 128 bits.
    const plain = isMapped(address)
      ? formatAddress(address).slice('::ffff:'.length)
      : formatAddress(address);
    const single = JSON.stringify(`${plain}/${address.family === 4 ? 32 : 128}`);
    warnings.push(
      `CIDR value ${quoted} is ambiguous in this context (should be ${preferred} or ${single}?)`,
    );
  }
  const standard =
    parseAddress(text.slice(0, slash)) !== undefined &&
    !isMapped(address) &&
    (bits.length === 1 || !bits.startsWith('0'));
  if (!standard)
    warnings.push(
      `non-standard CIDR value ${quoted} will be considered invalid in a future Kubernetes release: use ${preferred}`,
    );
  if (warnings.length === 0 && address.family === 6 && formatCidr(cidr) !== text)
    warnings.push(
      `IPv6 CIDR value ${quoted} should be in RFC 5952 canonical format (${preferred})`,
    );
  return warnings;
}
