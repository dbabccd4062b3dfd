/** Reachability as a matrix: any port, some ports, none, not decided. */
import { paint } from '../matrix.ts';
import type { Format } from './format.ts';

export const matrix: Format = {
  name: 'matrix',
  mediaType: 'text/plain',
  summary: 'sources × destinations: ● any port, ◐ some ports, ○ none, ? not decided',
  render({ peers, connections, unknown }, { color, columns }) {
    const state = new Map<string, string>();
    const key = (src: string, dst: string): string => `${src}\u0000${dst}`;
    for (const one of connections)
      state.set(key(one.src, one.dst), one.allow === 'all' ? '●' : '◐');
    for (const one of unknown) {
      if (!state.has(key(one.src, one.dst))) state.set(key(one.src, one.dst), '?');
    }
    const colors: Record<string, string> = { '●': '32', '◐': '36', '○': '31', '?': '33', '·': '2' };
    const cell = (src: string, dst: string): string => {
      const glyph = src === dst ? '·' : (state.get(key(src, dst)) ?? '○');
      return paint(glyph, colors[glyph] ?? '0', color);
    };
    const number = String(peers.length).length;
    const label = Math.max(...peers.map((peer) => peer.id.length), 0) + number + 3;
    // Columns that do not fit go into further blocks.
    const perBlock = Math.max(1, Math.floor((columns - label) / (number + 1)));
    const blocks: string[] = ['● any port  ◐ some ports  ○ none  ? not decided  · itself'];
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
