/**
 * Reads what `nft list table` prints of podwall's own tables back into a state. It knows the few
 * forms that podwall itself writes, not nftables at large.
 */
import { formatAddress, parseAddress } from '../net/address.ts';
import { formatCidr, parseCidr } from '../net/cidr.ts';
import type { Family } from '../net/address.ts';
import type { Direction } from '../policy/compiled.ts';
import type { Drop } from './model.ts';
import { dispatchMap, epochGroup, families, formOf, localGroup, observedGroup } from './render.ts';
import { emptyTable } from './state.ts';
import type { TableState } from './state.ts';

interface Block {
  readonly kind: 'set' | 'map' | 'chain';
  readonly name: string;
  readonly lines: string[];
  elements: string[];
}

/** Cuts a listing into its sets, maps and chains. */
export function blocksOf(listing: string): Block[] {
  const blocks: Block[] = [];
  let block: Block | undefined;
  let elements: string | undefined;
  for (const raw of listing.split('\n')) {
    const line = raw.trim();
    if (elements !== undefined) {
      elements += ` ${line}`;
    } else if (block === undefined) {
      const opened = /^(set|map|chain) (\S+) \{$/.exec(line);
      if (opened !== null)
        block = {
          kind: opened[1] as Block['kind'],
          name: opened[2] as string,
          lines: [],
          elements: [],
        };
      continue;
    } else if (line === '}') {
      blocks.push(block);
      block = undefined;
      continue;
    } else if (block.kind !== 'chain' && line.startsWith('elements = {')) {
      elements = line;
    } else {
      if (line !== '') block.lines.push(line);
      continue;
    }
    if (block !== undefined && elements.endsWith('}')) {
      block.elements = elements
        .slice('elements = {'.length, -1)
        .split(',')
        .map((element) => element.trim())
        .filter((element) => element !== '');
      elements = undefined;
    }
  }
  return blocks;
}

function canonical(text: string): string {
  const address = parseAddress(text);
  return address === undefined ? text : formatAddress(address);
}

/** nft prints a range as a network where it is one; podwall writes `from-to`. */
function canonicalRange(text: string): string {
  if (text.includes('-')) return text.split('-').map(canonical).join('-');
  const parsed = parseCidr(text);
  if (!parsed.ok) return canonical(text);
  return `${formatAddress(parsed.cidr.first)}-${formatAddress(parsed.cidr.last)}`;
}

/** nft prints a range of one address as the bare address. */
function canonicalCidr(text: string): string {
  const parsed = parseCidr(text.includes('/') ? text : `${text}/${text.includes(':') ? 128 : 32}`);
  return parsed.ok ? formatCidr(parsed.cidr) : text;
}

/** State of the table in a listing of it. Objects that podwall does not know are left out. */
export function readTable(table: string, listing: string): TableState {
  const state = emptyTable(table);
  const frameRules = new Map<string, number>();
  /** What the form that reads packets holds, under the names of the other form. */
  const packet = emptyTable(table);
  for (const block of blocksOf(listing)) {
    const { form, name } = formOf(block.name);
    if (block.kind === 'chain') {
      const known = form === 'packet' ? packet : state;
      readChain(known, { ...block, name });
      const rules = block.lines.filter((line) => !line.startsWith('type ')).length;
      if (!known.chains.has(name)) frameRules.set(block.name, rules);
    } else readSet(form === 'packet' ? packet : state, { ...block, name });
  }
  state.frameRules = frameRules;
  state.formsDiffer = shapeOf(state) !== shapeOf(packet);
  if (dispatchOf(state) !== dispatchOf(packet)) state.packetDispatch = packet.dispatch;
  return state;
}

/** Equal for the two forms of one program, as far as it never changes. */
function shapeOf({ chains, portMaps }: TableState): string {
  const lines: string[] = [];
  for (const [name, { refs, ruleCount }] of chains)
    lines.push([name, ruleCount, ...[...refs].sort()].join(' '));
  for (const [name, { entries }] of portMaps)
    for (const [port, target] of entries) lines.push(`${name} ${port} ${target}`);
  return lines.sort().join('\n');
}

function dispatchOf({ dispatch }: TableState): string {
  const lines: string[] = [];
  for (const direction of ['Egress', 'Ingress'] as const)
    for (const family of families)
      for (const [address, target] of dispatch[direction][family])
        lines.push(`${direction} ${address} ${target}`);
  return lines.sort().join('\n');
}

function readChain(state: TableState, { name, lines }: Block): void {
  if (name.startsWith('frame_')) state.frameId = name;
  else if (name === 'h_forward') state.hooked = true;
  else if (name === 'c_in')
    state.ranges = lines
      .flatMap((line) => /^ct reply ip6? saddr (\S+) goto u_in$/.exec(line)?.[1] ?? [])
      .map(canonicalCidr)
      .sort()
      .join(' ');
  else if (/^[eik]_[0-9a-f]{24}$/.test(name)) {
    const refs = new Set<string>();
    for (const line of lines)
      for (const found of line.matchAll(/(?:goto |jump |@)(\w+)/g))
        refs.add(formOf(found[1] as string).name);
    state.chains.set(name, { refs, ruleCount: lines.length });
  }
}

function readSet(state: TableState, { name, elements }: Block): void {
  for (const family of families) {
    for (const direction of ['Egress', 'Ingress'] as const)
      if (name === dispatchMap(direction, family))
        for (const [address, target] of verdicts(elements))
          state.dispatch[direction][family].set(canonical(address), target);
    if (name === localGroup(family))
      for (const element of elements) state.locals[family].add(canonical(element));
  }
  if (name === epochGroup) state.epoch = Number(elements[0] ?? 0);
  const group = /^([sfr])([46])_[0-9a-f]{24}$/.exec(name);
  if (group !== null) {
    const kind = group[1] === 'r' ? 'ranges' : 'members';
    state.groups.set(name, {
      family: Number(group[2]) as Family,
      kind,
      elements: new Set(elements.map(kind === 'ranges' ? canonicalRange : canonical)),
    });
  } else if (/^p_[0-9a-f]{24}$/.test(name)) {
    const entries = new Map(verdicts(elements).map(([port, target]) => [Number(port), target]));
    state.portMaps.set(name, { refs: new Set(entries.values()), entries });
  }
}

function verdicts(elements: readonly string[]): [string, string][] {
  return elements.flatMap((element) => {
    const found = /^(\S+) : goto (\S+)$/.exec(element);
    return found === null ? [] : [[found[1] as string, formOf(found[2] as string).name]];
  });
}

/** Denied flows in a listing of the observing sets. */
export function readDrops(listing: string): Drop[] {
  const drops: Drop[] = [];
  for (const { name, elements } of blocksOf(listing)) {
    const place = observedPlace(name);
    if (place === undefined) continue;
    for (const element of elements) {
      const found = /^(.*?) counter packets (\d+) /.exec(element);
      const parts = (found?.[1] ?? '').split(' . ');
      const [source, destination, protocol, port] = parts;
      if (source === undefined || destination === undefined || protocol === undefined) continue;
      drops.push({
        family: place.family,
        direction: place.direction,
        source: canonical(source),
        destination: canonical(destination),
        protocol: place.ported ? protocol.toUpperCase() : protocol,
        ...(port === undefined ? {} : { port: Number(port) }),
        packets: Number(found?.[2]),
        ...(place.audited ? { audited: true } : {}),
      });
    }
  }
  return drops;
}

function observedPlace(
  name: string,
): { direction: Direction; family: Family; ported: boolean; audited: boolean } | undefined {
  for (const direction of ['Egress', 'Ingress'] as const)
    for (const family of families)
      for (const ported of [true, false])
        for (const audited of [true, false])
          if (name === observedGroup(direction, family, ported, audited))
            return { direction, family, ported, audited };
  return undefined;
}
