/** Reachability as a matrix: any port, some ports, none, not decided. */
import { formatAllow } from '../reachability.ts';
import { paint } from '../matrix.ts';
import type { Format } from './format.ts';

export const matrix: Format = {
  name: 'matrix',
  mediaType: 'text/plain',
  summary: 'sources × destinations: ● any port, ◐ some, ○ none, ? not decided',
  render({ peers, connections, unknown, within }, { color, columns }) {
    // Where one port was asked for, all of it is that port.
    const whole = within === undefined ? 'all' : JSON.stringify(within);
    const state = new Map<string, string>();
    const key = (src: string, dst: string): string => `${src}\u0000${dst}`;
    for (const one of connections)
      state.set(
        key(one.src, one.dst),
        one.allow === 'all' || JSON.stringify(one.allow) === whole ? '●' : '◐',
      );
    for (const one of unknown) {
      if (!state.has(key(one.src, one.dst))) state.set(key(one.src, one.dst), '?');
    }
    const colors: Record<string, string> = { '●': '32', '◐': '36', '○': '31', '?': '33', '·': '2' };
    // Pairs that do not touch a pod are nobody's policy.
    const podless = new Set(
      peers.filter(({ kind }) => kind === 'node' || kind === 'ipBlock').map(({ id }) => id),
    );
    const cell = (src: string, dst: string): string => {
      const none = podless.has(src) && podless.has(dst) ? ' ' : '○';
      const glyph = src === dst ? '·' : (state.get(key(src, dst)) ?? none);
      return paint(glyph, colors[glyph] ?? '0', color);
    };
    const number = String(peers.length).length;
    const label = Math.max(...peers.map((peer) => peer.id.length), 0) + number + 3;
    // Columns that do not fit go into further blocks.
    const perBlock = Math.max(1, Math.floor((columns - label) / (number + 1)));
    const full = within === undefined ? 'any port' : formatAllow(within);
    const blocks: string[] = [`● ${full}  ◐ some ports  ○ none  ? not decided  · itself`];
    for (let from = 0; from < peers.length; from += perBlock) {
      const group = peers.slice(from, from + perBlock);
      const heads = group.map((_, index) => String(from + index + 1).padStart(number));
      const lines = [''.padEnd(label) + heads.join(' ')];
      for (const [row, peer] of peers.entries()) {
        const name = `${String(row + 1).padStart(number)}  ${peer.id}`.padEnd(label);
        const cells = group.map((other) => ' '.repeat(number - 1) + cell(peer.id, other.id));
        lines.push(name + cells.join(' '));
      }
      blocks.push(lines.join('\n'));
    }
    return `${blocks.join('\n\n')}\n`;
  },
};
