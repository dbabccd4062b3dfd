/**
 * IP addresses as numbers: IPv4 as an unsigned 32-bit number, IPv6 as a bigint. Must not know of
 * networks or sets.
 */

export type Family = 4 | 6;

export type Address =
  { readonly family: 4; readonly value: number } | { readonly family: 6; readonly value: bigint };

const ZERO = 48;
const NINE = 57;
const DOT = 46;
const COLON = 58;

/**
 * Parses an address as strictly as Go's `netip.ParseAddr` without zones: four decimal octets without
 * leading zeros, or IPv6 with groups of at most four digits. An IPv4-mapped address
 * (`::ffff:10.0.0.1`) stays an IPv6 address here.
 */
export function parseAddress(text: string): Address | undefined {
  return parse(text, false);
}

/**
 * Parses an address as Go before 1.17 did and the API server still does for stored objects (S67):
 * leading zeros are decimal (`010.0.0.1` is 10.0.0.1), and groups of IPv6 may have more than four
 * digits if they still fit 16 bits.
 */
export function parseAddressSloppy(text: string): Address | undefined {
  return parse(text, true);
}

function parse(text: string, sloppy: boolean): Address | undefined {
  const v4 = parseV4(text, 0, sloppy);
  if (v4 !== undefined) return { family: 4, value: v4 };
  if (!text.includes(':')) return undefined;
  const v6 = parseV6(text, sloppy);
  return v6 === undefined ? undefined : { family: 6, value: v6 };
}

/** Reads `a.b.c.d` from `start` to the end of the text. */
function parseV4(text: string, start: number, sloppy: boolean): number | undefined {
  let value = 0;
  let octets = 0;
  let octet = 0;
  let digits = 0;
  for (let i = start; i <= text.length; i++) {
    const code = i < text.length ? text.charCodeAt(i) : DOT;
    if (code >= ZERO && code <= NINE) {
      if (!sloppy && digits > 0 && octet === 0) return undefined;
      octet = octet * 10 + (code - ZERO);
      if (octet > 255) return undefined;
      digits++;
    } else if (code === DOT) {
      if (digits === 0 || octets === 4) return undefined;
      value = value * 256 + octet;
      octets++;
      octet = 0;
      digits = 0;
    } else {
      return undefined;
    }
  }
  return octets === 4 ? value : undefined;
}

function hexDigit(code: number): number {
  if (code >= ZERO && code <= NINE) return code - ZERO;
  const lower = code | 32;
  return lower >= 97 && lower <= 102 ? lower - 87 : -1;
}

function parseV6(text: string, sloppy: boolean): bigint | undefined {
  const groups: number[] = [];
  let ellipsis = -1;
  let i = 0;
  if (text.startsWith('::')) {
    ellipsis = 0;
    i = 2;
  }
  while (i < text.length) {
    if (groups.length === 8) return undefined;
    const start = i;
    let group = 0;
    for (; i < text.length; i++) {
      const digit = hexDigit(text.charCodeAt(i));
      if (digit < 0) break;
      group = group * 16 + digit;
      if (group > 0xffff) return undefined;
    }
    if (i === start || (!sloppy && i - start > 4)) return undefined;
    if (text.charCodeAt(i) === DOT) {
      if (ellipsis < 0 ? groups.length !== 6 : groups.length > 6) return undefined;
      const v4 = parseV4(text, start, sloppy);
      if (v4 === undefined) return undefined;
      groups.push(Math.floor(v4 / 65536), v4 % 65536);
      i = text.length;
      break;
    }
    groups.push(group);
    if (i === text.length) break;
    // A single colon must be followed by more; a double one stands for zeros, once.
    if (text.charCodeAt(i) !== COLON || i + 1 === text.length) return undefined;
    i++;
    if (text.charCodeAt(i) === COLON) {
      if (ellipsis >= 0) return undefined;
      ellipsis = groups.length;
      i++;
    }
  }
  if (groups.length < 8) {
    if (ellipsis < 0) return undefined;
    groups.splice(ellipsis, 0, ...Array.from({ length: 8 - groups.length }, () => 0));
  } else if (ellipsis >= 0) {
    return undefined;
  }
  let value = 0n;
  for (const group of groups) value = (value << 16n) | BigInt(group);
  return value;
}

/** Canonical text: RFC 5952 for IPv6, with IPv4-mapped addresses as `::ffff:10.0.0.1`. */
export function formatAddress(address: Address): string {
  return address.family === 4 ? formatV4(address.value) : formatV6(address.value);
}

function formatV4(value: number): string {
  return `${value >>> 24}.${(value >>> 16) & 255}.${(value >>> 8) & 255}.${value & 255}`;
}

function formatV6(value: bigint): string {
  if (value >> 32n === 0xffffn) return `::ffff:${formatV4(Number(value & 0xffffffffn))}`;
  const groups: number[] = [];
  for (let shift = 112n; shift >= 0n; shift -= 16n) groups.push(Number((value >> shift) & 0xffffn));
  let longestAt = -1;
  let longest = 1; // RFC 5952, 4.2.2: one zero group is not shortened.
  for (let i = 0; i < 8;) {
    let end = i;
    while (end < 8 && groups[end] === 0) end++;
    if (end - i > longest) {
      longest = end - i;
      longestAt = i;
    }
    i = end + 1;
  }
  if (longestAt < 0) return hex(groups);
  return `${hex(groups.slice(0, longestAt))}::${hex(groups.slice(longestAt + longest))}`;
}

function hex(groups: readonly number[]): string {
  return groups.map((group) => group.toString(16)).join(':');
}

export function sameAddress(a: Address, b: Address): boolean {
  return a.family === b.family && a.value === b.value;
}

/** Total order: IPv4 before IPv6, then by value. */
export function compareAddresses(a: Address, b: Address): number {
  if (a.family !== b.family) return a.family - b.family;
  return a.value < b.value ? -1 : a.value > b.value ? 1 : 0;
}

/** The IPv4 address inside `::ffff:a.b.c.d`; any other address unchanged. */
export function unmapAddress(address: Address): Address {
  if (address.family === 6 && address.value >> 32n === 0xffffn)
    return { family: 4, value: Number(address.value & 0xffffffffn) };
  return address;
}
