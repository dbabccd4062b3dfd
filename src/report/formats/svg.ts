/** Reachability as a stand-alone SVG heat map: shape and colour, so it reads without colour too. */
import { formatAllow, type Reachability } from '../reachability.ts';
import type { Format } from './format.ts';

const size = 16;

export function escapeXml(text: string): string {
  return text
    .replaceAll('&', '&amp;')
    .replaceAll('<', '&lt;')
    .replaceAll('>', '&gt;')
    .replaceAll('"', '&quot;');
}

/** The `<svg>` element alone, for embedding. */
export function svgMatrix({ peers, connections, unknown }: Reachability): string {
  const position = new Map(peers.map((peer, index) => [peer.id, index]));
  const label = Math.max(...peers.map((peer) => peer.id.length), 4) * 7 + 12;
  const side = label + peers.length * size + 8;
  const at = (index: number): number => label + index * size;
  const marks = [
    ...connections.map((one) => ({ one, state: one.allow === 'all' ? 'all' : 'some' })),
    ...unknown.map((one) => ({ one, state: 'unknown' })),
  ].map(({ one, state }) => {
    const x = at(position.get(one.dst) ?? 0);
    const y = at(position.get(one.src) ?? 0);
    const title = `<title>${escapeXml(`${one.src} → ${one.dst}: ${state === 'unknown' ? 'unknown ' : ''}${formatAllow(one.allow)}`)}</title>`;
    if (state === 'all') {
      return `<circle cx="${x + 8}" cy="${y + 8}" r="6" fill="#1a7f37">${title}</circle>`;
    }
    if (state === 'some') {
      return `<path d="M${x + 8} ${y + 2}a6 6 0 0 1 0 12z" fill="#0969da">${title}</path>`;
    }
    return `<text x="${x + 5}" y="${y + 12}" fill="#9a6700">?${title}</text>`;
  });
  const names = peers.map((peer, index) => {
    const y = at(index) + 12;
    return `<text x="${label - 6}" y="${y}" text-anchor="end">${escapeXml(peer.id)}</text><text transform="translate(${at(index) + 12} ${label - 6}) rotate(-90)">${escapeXml(peer.id)}</text>`;
  });
  const lines = [...peers, undefined].map(
    (_, index) =>
      `<path d="M${label} ${at(index)}h${peers.length * size}M${at(index)} ${label}v${peers.length * size}" stroke="#d0d7de" fill="none"/>`,
  );
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${side} ${side}" width="${side}" height="${side}" font-family="monospace" font-size="12" role="img" aria-label="reachability of ${peers.length} peers">${lines.join('')}${names.join('')}${marks.join('')}</svg>`;
}

export const svg: Format = {
  name: 'svg',
  mediaType: 'image/svg+xml',
  summary: 'a heat map, rows are sources',
  render: (result) => `${svgMatrix(result)}\n`,
};
