/** Reachability as a Markdown table. */
import { formatAllow } from '../reachability.ts';
import type { Format } from './format.ts';

function escape(text: string): string {
  return text.replaceAll('|', '\\|');
}

export const md: Format = {
  name: 'md',
  mediaType: 'text/markdown',
  summary: 'a Markdown table',
  render({ connections, unknown }) {
    const row = (cells: readonly string[]): string => `| ${cells.map(escape).join(' | ')} |\n`;
    return [
      row(['Source', 'Destination', 'Open']),
      row(['---', '---', '---']),
      ...connections.map((one) => row([one.src, one.dst, formatAllow(one.allow)])),
      ...unknown.map((one) => row([one.src, one.dst, `unknown: ${formatAllow(one.allow)}`])),
    ].join('');
  },
};
