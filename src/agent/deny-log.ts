/**
 * Denied flows as JSON lines: polls what the kernel recorded, turns increases into entries that name
 * pods and policies, and keeps the newest for readers. No verdict depends on it, and a flood costs a
 * bounded amount of it. Must not know how the kernel records.
 */
import type { Drop, LocalPod } from '../dataplane/index.ts';
import type { Direction } from '../policy/compiled.ts';

export interface DenyEnd {
  readonly address: string;
  readonly namespace?: string;
  readonly pod?: string;
}

export interface DenyEntry {
  /** When it was read, at most one interval after the packets. */
  readonly time: string;
  readonly node: string;
  /** `audited`: let pass, but an enforced policy would have denied it. */
  readonly verdict: 'denied' | 'audited';
  /** Egress: the source's policies denied it. Ingress: the destination's. */
  readonly direction: Direction;
  readonly source: DenyEnd;
  readonly destination: DenyEnd;
  readonly protocol: string;
  readonly port?: number;
  /** Packets since the last line of this flow. */
  readonly packets: number;
  /** Policies that may deny there; empty: the address has no known pod. */
  readonly policies: readonly string[];
}

/** Stands for entries that were left out. */
export interface DenyGap {
  readonly time: string;
  readonly node: string;
  readonly suppressed: number;
  readonly packets: number;
}

export interface DenyLogOptions {
  readonly node: string;
  readonly drops: () => Promise<readonly Drop[]>;
  /** Denied packets so far; while it stays the same nothing else is read. */
  readonly denials?: () => Promise<number>;
  /** Empties the kernel's record. */
  readonly resetDrops: () => Promise<void>;
  /** Local pods by address. */
  readonly pods: () => ReadonlyMap<string, LocalPod>;
  /** `namespace/name` of pods elsewhere, for those of the addresses that are known. */
  readonly names?: (addresses: ReadonlySet<string>) => ReadonlyMap<string, DenyEnd>;
  readonly onFlow?: (entry: DenyEntry, isNew: boolean) => void;
  /** Entries a poll at most; the rest becomes one gap. Default 200. */
  readonly maxEntries?: number;
  /** Lines kept for readers. Default 1000. */
  readonly keep?: number;
  /** Records in the kernel above which it is emptied after reading. Default 8192. */
  readonly maxFlows?: number;
  readonly now?: () => Date;
}

export interface DenyLog {
  /** Reads once. Rejects as `drops` does; what it missed is in the next one. */
  poll(): Promise<void>;
  /** The newest lines, oldest first. */
  recent(): readonly string[];
  /** Calls back with each new line until the returned function is called. */
  subscribe(reader: (line: string) => void): () => void;
}

export function createDenyLog(options: DenyLogOptions): DenyLog {
  const { node } = options;
  const maxEntries = options.maxEntries ?? 200;
  const keep = options.keep ?? 1000;
  const readers = new Set<(line: string) => void>();
  const lines: string[] = [];
  /** Packets by flow at the last poll; undefined before the first, whose findings are old. */
  let seen: Map<string, number> | undefined;
  let total: number | undefined;

  const write = (entry: DenyEntry | DenyGap): void => {
    const line = JSON.stringify(entry);
    lines.push(line);
    if (lines.length > keep) lines.splice(0, lines.length - keep);
    for (const reader of readers) reader(line);
  };

  return {
    async poll() {
      const present = await options.denials?.();
      if (present !== undefined && present === total && seen !== undefined) return;
      const drops = await options.drops();
      total = present;
      const before = seen;
      seen = new Map(drops.map((drop) => [keyOf(drop), drop.packets]));
      if (drops.length > (options.maxFlows ?? 8192)) {
        await options.resetDrops();
        seen = new Map();
      }
      if (before === undefined) return;

      const grown: { drop: Drop; packets: number; isNew: boolean }[] = [];
      for (const drop of drops) {
        const known = before.get(keyOf(drop));
        // Fewer than before: the record was emptied or made anew in between.
        const packets =
          known === undefined || known > drop.packets ? drop.packets : drop.packets - known;
        if (packets > 0) grown.push({ drop, packets, isNew: known === undefined });
      }
      if (grown.length === 0) return;
      const time = (options.now?.() ?? new Date()).toISOString();
      const local = options.pods();
      const elsewhere = new Set(
        grown.flatMap(({ drop }) => [drop.source, drop.destination]).filter((a) => !local.has(a)),
      );
      const names = options.names?.(elsewhere);
      const end = (address: string): DenyEnd => {
        const pod = local.get(address);
        return pod === undefined
          ? { ...names?.get(address), address }
          : { address, namespace: pod.namespace, pod: pod.name };
      };
      // New flows first: they tell more than one that goes on.
      grown.sort((a, b) => Number(b.isNew) - Number(a.isNew) || b.packets - a.packets);
      for (const [index, { drop, packets, isNew }] of grown.entries()) {
        const judged = local.get(drop.direction === 'Egress' ? drop.source : drop.destination);
        const entry: DenyEntry = {
          time,
          node,
          verdict: drop.audited ? 'audited' : 'denied',
          direction: drop.direction,
          source: end(drop.source),
          destination: end(drop.destination),
          protocol: drop.protocol,
          ...(drop.port === undefined ? {} : { port: drop.port }),
          packets,
          policies: judged?.judgedBy[drop.direction] ?? [],
        };
        options.onFlow?.(entry, isNew);
        if (index < maxEntries) write(entry);
      }
      const left = grown.slice(maxEntries);
      if (left.length > 0)
        write({
          time,
          node,
          suppressed: left.length,
          packets: left.reduce((sum, one) => sum + one.packets, 0),
        });
    },
    recent: () => [...lines],
    subscribe(reader) {
      readers.add(reader);
      return () => readers.delete(reader);
    },
  };
}

function keyOf(drop: Drop): string {
  return [
    drop.audited ? 'a' : 'd',
    drop.direction,
    drop.source,
    drop.destination,
    drop.protocol,
    drop.port ?? '',
  ].join(' ');
}
