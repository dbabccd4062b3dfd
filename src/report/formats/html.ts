/** Reachability as one HTML page without scripts or outside references: heat map and list. */
import { formatAllow } from '../reachability.ts';
import { escapeXml, svgMatrix } from './svg.ts';
import type { Format } from './format.ts';

export const html: Format = {
  name: 'html',
  mediaType: 'text/html',
  summary: 'one page with heat map and list',
  render(result) {
    const rows = [
      ...result.connections.map((one) => ({ one, verdict: 'allowed' })),
      ...result.unknown.map((one) => ({ one, verdict: 'unknown' })),
    ].map(
      ({ one, verdict }) =>
        `<tr><td>${escapeXml(one.src)}</td><td>${escapeXml(one.dst)}</td><td>${escapeXml(formatAllow(one.allow))}</td><td>${verdict}</td></tr>`,
    );
    return `<!doctype html>
<html lang="en">
<meta charset="utf-8">
<title>podwall: reachability</title>
<style>
body{font:14px/1.4 system-ui,sans-serif;margin:2rem}
table{border-collapse:collapse}
td,th{border:1px solid #d0d7de;padding:.2rem .6rem;text-align:left}
</style>
<h1>Reachability</h1>
<p>${result.peers.length} peers, ${result.connections.length} open pairs, ${result.unknown.length} not decided. Rows are sources; a full disc is any port, a half disc some ports. Pairs that are not listed are closed.</p>
${svgMatrix(result)}
<table>
<thead><tr><th>Source</th><th>Destination</th><th>Open</th><th>Verdict</th></tr></thead>
<tbody>
${rows.join('\n')}
</tbody>
</table>
</html>
`;
  },
};
