/** Reachability as a Mermaid flowchart, for Markdown that renders it. */
import { formatAllow } from '../reachability.ts';
import type { Format } from './format.ts';

function quote(text: string): string {
  return `"${text.replaceAll('"', '#quot;')}"`;
}

export const mermaid: Format = {
  name: 'mermaid',
  mediaType: 'text/vnd.mermaid',
  summary: 'a Mermaid flowchart',
  render({ peers, connections, unknown }) {
    const ids = new Map(peers.map((peer, index) => [peer.id, `n${index}`]));
    const namespaces = [...new Set(peers.map((peer) => peer.namespace))];
    const nodes = namespaces.flatMap((namespace, index) => {
      const lines = peers
        .filter((peer) => peer.namespace === namespace)
        .map((peer) => `${ids.get(peer.id)}[${quote(peer.name ?? peer.id)}]`);
      if (namespace === undefined) return lines.map((line) => `  ${line}`);
      return [
        `  subgraph ns${index}[${quote(namespace)}]`,
        ...lines.map((line) => `    ${line}`),
        '  end',
      ];
    });
    const edges = [
      ...connections.map(
        (one) => `  ${ids.get(one.src)} -->|${quote(formatAllow(one.allow))}| ${ids.get(one.dst)}`,
      ),
      ...unknown.map(
        (one) =>
          `  ${ids.get(one.src)} -.->|${quote(`? ${formatAllow(one.allow)}`)}| ${ids.get(one.dst)}`,
      ),
    ];
    return `flowchart LR\n${[...nodes, ...edges].join('\n')}\n`;
  },
};
