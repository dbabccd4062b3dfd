/**
 * Interprets a table as the kernel does, packet for packet of a new connection: the second
 * implementation behind `--simulate` and the contract tests. Must not know of policies.
 */
import { compareAddresses, formatAddress, parseAddress } from '../net/address.ts';
import type { Address, Family } from '../net/address.ts';
import { containsAddress, addressSetOf } from '../net/address-set.ts';
import { parseCidr } from '../net/cidr.ts';
import type { Protocol } from '../net/connection-set.ts';
import type { Direction } from '../policy/compiled.ts';
import { frameChains } from './model.ts';
import type { Condition, Drop, NodeProgram, Rule } from './model.ts';
import type { Backend } from './backend.ts';
import { applyOperations } from './operations.ts';
import { plan } from './plan.ts';
import { copyTable, emptyTable } from './state.ts';
import type { TableState } from './state.ts';

/** A first packet of a connection, after destination NAT. */
export interface Packet {
  readonly source: Address;
  readonly destination: Address;
  readonly protocol: Protocol | 'other';
  /** Destination port; absent for `other`. */
  readonly port?: number;
}

/** Where the node's kernel meets the packet. */
export type Path = 'forward' | 'from-pod-to-node' | 'from-node';

export type SimulatedVerdict =
  /** `audited`: the direction in which it would have been denied, were it not for audit. */
  | { readonly outcome: 'allowed'; readonly audited?: Direction }
  | { readonly outcome: 'denied'; readonly direction: Direction; readonly unknownPod: boolean };

const allowed: SimulatedVerdict = { outcome: 'allowed' };

/** What `program`'s node does with a packet. Packets that the node itself sends are free (S160). */
export function simulate(
  program: NodeProgram,
  packet: Packet,
  path: Path = 'forward',
): SimulatedVerdict {
  if (path === 'from-node') return allowed;
  return judge(program, stateOf(program), packet, path);
}

const states = new WeakMap<NodeProgram, TableState>();

function stateOf(program: NodeProgram): TableState {
  let state = states.get(program);
  if (state === undefined) {
    state = emptyTable(program.options.table);
    for (const transaction of plan(program, [], 1)) applyOperations(state, transaction.operations);
    states.set(program, state);
  }
  return state;
}

/** As {@link simulate}, for a table between two transactions. `program` gives the frame. */
export function judge(
  program: Pick<NodeProgram, 'frame' | 'options'>,
  state: TableState,
  packet: Packet,
  path: Path = 'forward',
): SimulatedVerdict {
  const verdict = judgeStrictly(program, state, packet, path);
  return verdict.outcome === 'denied' && program.options.mode === 'audit'
    ? { outcome: 'allowed', audited: verdict.direction }
    : verdict;
}

function judgeStrictly(
  program: Pick<NodeProgram, 'frame' | 'options'>,
  state: TableState,
  packet: Packet,
  path: Path,
): SimulatedVerdict {
  const source = formatAddress(packet.source);
  const destination = formatAddress(packet.destination);
  const { family } = packet.source;
  if (family !== packet.destination.family)
    throw new RangeError(`a packet from ${source} to ${destination} cannot be`);
  const inRange = (address: Address): boolean =>
    program.options.unknownPod === 'deny' &&
    rangesOf(state).some((range) => containsAddress(range, address));

  if (path === 'from-pod-to-node' && !state.locals[family].has(source) && !inRange(packet.source))
    return allowed;
  const hairpin =
    program.frame.selfThroughService === 'allow' &&
    source === destination &&
    state.locals[family].has(source);
  const toNode = path === 'from-pod-to-node' && program.frame.podToOwnNode === 'allow';
  const exempt = { Egress: hairpin || toNode, Ingress: hairpin };

  if (judgeLeg(state, 'Egress', packet, exempt.Egress) === 'denied')
    return { outcome: 'denied', direction: 'Egress', unknownPod: false };
  if (!state.dispatch.Egress[family].has(source) && inRange(packet.source))
    return { outcome: 'denied', direction: 'Egress', unknownPod: true };
  if (judgeLeg(state, 'Ingress', packet, exempt.Ingress) === 'denied')
    return { outcome: 'denied', direction: 'Ingress', unknownPod: false };
  const known = state.dispatch.Ingress[family].has(destination);
  if (!known && path === 'forward' && inRange(packet.destination))
    return { outcome: 'denied', direction: 'Ingress', unknownPod: true };
  for (const direction of ['Egress', 'Ingress'] as const)
    if (softened(direction, legEnd(state, direction, packet), exempt[direction]))
      return { outcome: 'allowed', audited: direction };
  return allowed;
}

const exemptChains = {
  Egress: [frameChains.exemptEgress, frameChains.exemptAuditEgress],
  Ingress: [frameChains.exemptIngress, frameChains.exemptAuditIngress],
} as const;

/** Whether the end is one that lets pass what it records. */
function softened(direction: Direction, end: string | undefined, exempt: boolean): boolean {
  return direction === 'Egress'
    ? end === frameChains.auditEgress || (!exempt && end === frameChains.exemptAuditEgress)
    : end === frameChains.auditIngress || (!exempt && end === frameChains.exemptAuditIngress);
}

/**
 * One side's decision; undefined when that side is no local pod.
 *
 * @param exempt whether a setting takes the packet out of NetworkPolicy's hands
 */
export function judgeLeg(
  state: TableState,
  direction: Direction,
  packet: Packet,
  exempt = false,
): 'allowed' | 'denied' | undefined {
  const end = legEnd(state, direction, packet);
  if (end === 'no local pod') return undefined;
  const passes = direction === 'Egress' ? frameChains.ingress : frameChains.accept;
  if (exempt && exemptChains[direction].some((chain) => chain === end)) return 'allowed';
  return end === passes || softened(direction, end, exempt) ? 'allowed' : 'denied';
}

function legEnd(state: TableState, direction: Direction, packet: Packet): string | undefined {
  const address = formatAddress(direction === 'Egress' ? packet.source : packet.destination);
  const chain = state.dispatch[direction][packet.source.family].get(address);
  return chain === undefined ? 'no local pod' : follow(state, chain, packet);
}

const ranges = new WeakMap<TableState, { key: string; sets: ReturnType<typeof addressSetOf>[] }>();

function rangesOf(state: TableState): ReturnType<typeof addressSetOf>[] {
  let held = ranges.get(state);
  if (held?.key !== state.ranges) {
    const sets = state.ranges
      .split(' ')
      .filter((text) => text !== '')
      .flatMap((text) => {
        const parsed = parseCidr(text);
        return parsed.ok ? [addressSetOf(parsed.cidr)] : [];
      });
    held = { key: state.ranges, sets };
    ranges.set(state, held);
  }
  return held.sets;
}

/** The frame chain that a packet ends in; undefined: it ran off a chain, which denies. */
function follow(state: TableState, chain: string, packet: Packet): string | undefined {
  const next = state.chains.get(chain);
  // Chains of the frame, and chains that do not exist, end the walk.
  if (next === undefined) return chain;
  if (next.rules === undefined)
    throw new Error(`chain ${chain} was read from the kernel: its rules are not known`);
  for (const rule of next.rules) {
    const target = outcomeOf(state, rule, packet);
    if (target !== undefined) return follow(state, target, packet);
  }
  return undefined;
}

function outcomeOf(state: TableState, rule: Rule, packet: Packet): string | undefined {
  if (rule.kind === 'goto')
    return rule.when.every((condition) => holds(state, condition, packet))
      ? rule.target
      : undefined;
  if (packet.protocol !== rule.protocol || packet.port === undefined) return undefined;
  return state.portMaps.get(rule.map)?.entries.get(packet.port);
}

function holds(state: TableState, condition: Condition, packet: Packet): boolean {
  switch (condition.kind) {
    case 'protocol':
      return packet.protocol === condition.protocol;
    case 'port':
      return (
        packet.port !== undefined && packet.port >= condition.from && packet.port <= condition.to
      );
    case 'addresses': {
      const address = endOf(condition, packet);
      return address.family === condition.family && between(address, condition.from, condition.to);
    }
    case 'group': {
      const address = endOf(condition, packet);
      const group = state.groups.get(condition.group);
      if (group === undefined || address.family !== condition.family) return false;
      if (group.kind === 'members') return group.elements.has(formatAddress(address));
      for (const element of group.elements) {
        const [from, to] = element.split('-') as [string, string?];
        if (between(address, from, to ?? from)) return true;
      }
      return false;
    }
  }
}

function endOf(condition: { readonly end: 'source' | 'destination' }, packet: Packet): Address {
  return condition.end === 'source' ? packet.source : packet.destination;
}

function between(address: Address, from: string, to: string): boolean {
  const low = parseAddress(from);
  const high = parseAddress(to);
  return (
    low !== undefined &&
    high !== undefined &&
    compareAddresses(low, address) <= 0 &&
    compareAddresses(address, high) <= 0
  );
}

export interface MemoryBackend extends Backend {
  /** Judges a packet and counts it when it is denied. Before the first apply everything passes. */
  send(packet: Packet, path?: Path): SimulatedVerdict;
}

/** A backend without a kernel. */
export function createMemoryBackend(): MemoryBackend {
  let program: NodeProgram | undefined;
  let settled: NodeProgram | undefined;
  let tables: TableState[] = [];
  const drops = new Map<string, Drop & { packets: number }>();
  return {
    apply: async (desired, delta) => {
      const partial = delta !== undefined && delta.from === settled;
      const transactions = plan(desired, tables, 1, partial ? delta : undefined);
      for (const transaction of transactions) {
        if (transaction.operations.some(({ kind }) => kind === 'delete-table')) {
          tables = tables.filter(({ table }) => table !== transaction.table);
          continue;
        }
        let table = tables.find((known) => known.table === transaction.table);
        if (table === undefined) {
          table = emptyTable(transaction.table);
          tables.push(table);
        }
        applyOperations(table, transaction.operations);
      }
      program = desired;
      settled = desired;
      return {
        transactions: transactions.map(({ phase, operations }) => ({
          phase,
          operations: operations.length,
          milliseconds: 0,
        })),
        epoch: tables[0]?.epoch ?? 0,
        reread: false,
        partial,
        enforcedAt: Date.now(),
      };
    },
    drops: async () => [...drops.values()],
    resetDrops: async () => drops.clear(),
    denials: async () => [...drops.values()].reduce((sum, { packets }) => sum + packets, 0),
    read: async () => tables.map(copyTable),
    forget: () => {
      settled = undefined;
    },
    cleanup: async () => {
      tables = [];
      settled = undefined;
      program = undefined;
      drops.clear();
    },
    send: (packet, path = 'forward') => {
      const state = tables.find(({ hooked }) => hooked);
      if (program === undefined || state === undefined || path === 'from-node') return allowed;
      const verdict = judge(program, state, packet, path);
      const against = verdict.outcome === 'denied' ? verdict.direction : verdict.audited;
      if (against !== undefined && program.options.observe)
        count(drops, packet, against, verdict.outcome === 'allowed');
      return verdict;
    },
  };
}

function count(
  drops: Map<string, Drop & { packets: number }>,
  packet: Packet,
  direction: Direction,
  audited: boolean,
): void {
  const source = formatAddress(packet.source);
  const destination = formatAddress(packet.destination);
  const key = [audited, direction, source, destination, packet.protocol, packet.port].join(' ');
  const held = drops.get(key);
  if (held !== undefined) drops.set(key, { ...held, packets: held.packets + 1 });
  else
    drops.set(key, {
      family: packet.source.family satisfies Family,
      direction,
      source,
      destination,
      protocol: packet.protocol,
      ...(packet.port === undefined ? {} : { port: packet.port }),
      packets: 1,
      ...(audited ? { audited: true } : {}),
    });
}
