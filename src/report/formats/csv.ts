/** Reachability as comma-separated values (RFC 4180), one line a pair and port range. */
import type { ReachabilityConnection } from '../reachability.ts';
import type { Format } from './format.ts';

function field(text: string): string {
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

function lines(one: ReachabilityConnection, decided: string): string[][] {
  if (one.allow === 'all') return [[one.src, one.dst, 'all', '', '', decided]];
  return one.allow.map(({ protocol, port, endPort }) => [
    one.src,
    one.dst,
    protocol,
    String(port),
    String(endPort ?? port),
    decided,
  ]);
}

export const csv: Format = {
  name: 'csv',
  mediaType: 'text/csv',
  summary: 'one line for each open pair and port range',
  render({ connections, unknown }) {
    const rows = [
      ['source', 'destination', 'protocol', 'port', 'endPort', 'verdict'],
      ...connections.flatMap((one) => lines(one, 'allowed')),
      ...unknown.flatMap((one) => lines(one, 'unknown')),
    ];
    return rows.map((row) => `${row.map(field).join(',')}\r\n`).join('');
  },
};
