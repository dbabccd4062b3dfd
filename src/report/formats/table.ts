/** Reachability as aligned columns, one line an open pair. */
import { formatAllow, type ReachabilityConnection } from '../reachability.ts';
import { paint } from '../matrix.ts';
import type { Format } from './format.ts';

export const table: Format = {
  name: 'table',
  mediaType: 'text/plain',
  summary: 'one line for each open pair',
  render({ connections, unknown, peers }, { color }) {
    const line = (one: ReachabilityConnection, state: string): string[] => [
      one.src,
      one.dst,
      state === '' ? formatAllow(one.allow) : `${state} ${formatAllow(one.allow)}`,
    ];
    const rows = [
      ...connections.map((one) => line(one, '')),
      ...unknown.map((one) => line(one, 'UNKNOWN')),
    ];
    if (rows.length === 0) return `Nothing is open between ${peers.length} peers.\n`;
    const head = ['SOURCE', 'DESTINATION', 'OPEN'];
    const widths = [0, 1].map((column) =>
      Math.max(...[head, ...rows].map((row) => row[column]?.length ?? 0)),
    );
    const text = (row: readonly string[]): string =>
      `${row[0]?.padEnd(widths[0] ?? 0)}  ${row[1]?.padEnd(widths[1] ?? 0)}  ${row[2]}`;
    return `${[paint(text(head), '1', color), ...rows.map(text)].join('\n')}\n`;
  },
};
