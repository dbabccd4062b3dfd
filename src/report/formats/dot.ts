/** Reachability as a Graphviz graph, one cluster a namespace. */
import { formatAllow, type ReachabilityPeer } from '../reachability.ts';
import type { Format } from './format.ts';

function quote(text: string): string {
  return `"${text.replaceAll('\\', '\\\\').replaceAll('"', '\\"')}"`;
}

function node(peer: ReachabilityPeer): string {
  const shape = peer.kind === 'ipBlock' ? 'ellipse' : 'box';
  return `${quote(peer.id)} [label=${quote(peer.name ?? peer.id)} shape=${shape}];`;
}

export const dot: Format = {
  name: 'dot',
  mediaType: 'text/vnd.graphviz',
  summary: 'a Graphviz graph',
  render({ peers, connections, unknown }) {
    const namespaces = [...new Set(peers.map((peer) => peer.namespace))];
    const groups = namespaces.flatMap((namespace, index) => {
      const nodes = peers.filter((peer) => peer.namespace === namespace).map(node);
      if (namespace === undefined) return nodes.map((line) => `  ${line}`);
      return [
        `  subgraph cluster_${index} {`,
        `    label=${quote(namespace)};`,
        ...nodes.map((line) => `    ${line}`),
        '  }',
      ];
    });
    const edges = [
      ...connections.map(
        (one) =>
          `  ${quote(one.src)} -> ${quote(one.dst)} [label=${quote(formatAllow(one.allow))}];`,
      ),
      ...unknown.map(
        (one) =>
          `  ${quote(one.src)} -> ${quote(one.dst)} [label=${quote(`? ${formatAllow(one.allow)}`)} style=dashed];`,
      ),
    ];
    return `digraph reachability {\n  rankdir=LR;\n${[...groups, ...edges].join('\n')}\n}\n`;
  },
};
