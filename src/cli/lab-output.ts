/**
 * What `podwall lab` prints: objects as kubectl's tables, probe reports as table or matrix. Must not
 * talk to a lab.
 */
import { stringify } from 'yaml';
import { compileSelector, formatSelector } from '../k8s/selector.ts';
import type { KubeObject, LabelSelector, Node, Pod } from '../k8s/types.ts';
import type { LabPort, LabStatus, ProbeOutcome, ProbeReport, ProbeResult } from '../lab/types.ts';
import { paint, renderMatrixBlock, type CellState, type MatrixCell } from '../report/matrix.ts';

/** Columns padded to their widest cell, three blanks apart, as kubectl prints them. */
export function renderTable(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const all = [head, ...rows];
  const widths = head.map((_, column) => Math.max(...all.map((row) => (row[column] ?? '').length)));
  const lines = all.map((row) =>
    row
      .map((cell, column) => cell.padEnd(widths[column] ?? 0))
      .join('   ')
      .trimEnd(),
  );
  return `${lines.join('\n')}\n`;
}

/** `45s`, `12m`, `3h`, `2d` since an ISO time. */
export function formatAge(since: string | null | undefined, now: number): string {
  if (since === undefined || since === null) return '<unknown>';
  return formatDuration(now - Date.parse(since));
}

export function formatDuration(milliseconds: number): string {
  const seconds = Math.max(0, Math.floor(milliseconds / 1000));
  if (seconds < 120) return `${seconds}s`;
  if (seconds < 7200) return `${Math.floor(seconds / 60)}m`;
  if (seconds < 172_800) return `${Math.floor(seconds / 3600)}h`;
  return `${Math.floor(seconds / 86_400)}d`;
}

interface Column {
  readonly head: string;
  readonly wide?: true;
  cell(object: KubeObject, now: number): string;
}

const nameColumn: Column = { head: 'NAME', cell: (object) => object.metadata.name ?? '' };
const ageColumn: Column = {
  head: 'AGE',
  cell: (object, now) => formatAge(object.metadata.creationTimestamp, now),
};
const labelsColumn: Column = {
  head: 'LABELS',
  wide: true,
  cell: (object) =>
    Object.entries(object.metadata.labels ?? {})
      .map(([key, value]) => `${key}=${value}`)
      .join(',') || '<none>',
};

function isReady(pod: Pod): boolean {
  return pod.status?.phase === 'Running';
}

function declaredPorts(pod: Pod): string {
  const ports = (pod.spec?.containers ?? []).flatMap((container) => container.ports ?? []);
  return ports.map((port) => `${port.containerPort}/${port.protocol ?? 'TCP'}`).join(',');
}

const columnsOf: Readonly<Record<string, readonly Column[]>> = {
  Pod: [
    nameColumn,
    { head: 'READY', cell: (pod) => (isReady(pod as Pod) ? '1/1' : '0/1') },
    { head: 'STATUS', cell: (pod) => (pod as Pod).status?.phase ?? 'Pending' },
    ageColumn,
    { head: 'IP', cell: (pod) => (pod as Pod).status?.podIP ?? '<none>' },
    { head: 'NODE', cell: (pod) => (pod as Pod).spec?.nodeName ?? '<none>' },
    {
      head: 'IPS',
      wide: true,
      cell: (pod) => (pod as Pod).status?.podIPs?.map(({ ip }) => ip).join(',') ?? '<none>',
    },
    { head: 'PORTS', wide: true, cell: (pod) => declaredPorts(pod as Pod) || '80/TCP' },
    labelsColumn,
  ],
  Node: [
    nameColumn,
    { head: 'STATUS', cell: () => 'Ready' },
    ageColumn,
    { head: 'POD-CIDRS', cell: (node) => (node as Node).spec?.podCIDRs?.join(',') ?? '' },
    {
      head: 'INTERNAL-IP',
      cell: (node) => (node as Node).status?.addresses?.map((one) => one.address).join(',') ?? '',
    },
    labelsColumn,
  ],
  Namespace: [nameColumn, { head: 'STATUS', cell: () => 'Active' }, ageColumn, labelsColumn],
  NetworkPolicy: [
    nameColumn,
    {
      head: 'POD-SELECTOR',
      cell: (policy) => {
        const spec = policy.spec as { podSelector?: LabelSelector } | undefined;
        return formatSelector(compileSelector(spec?.podSelector ?? {}));
      },
    },
    ageColumn,
  ],
};

/** Objects of one kind as kubectl's table; with a NAMESPACE column when asked. */
export function renderObjects(
  kind: string,
  objects: readonly KubeObject[],
  options: { readonly wide: boolean; readonly namespaces: boolean; readonly now: number },
): string {
  const columns = (columnsOf[kind] ?? [nameColumn, ageColumn, labelsColumn]).filter(
    (column) => options.wide || column.wide !== true,
  );
  const head = columns.map((column) => column.head);
  const rows = objects.map((object) => columns.map((column) => column.cell(object, options.now)));
  if (!options.namespaces) return renderTable(head, rows);
  return renderTable(
    ['NAMESPACE', ...head],
    rows.map((row, index) => [objects[index]?.metadata.namespace ?? '', ...row]),
  );
}

/** As kubectl: one object as it is, several as a List. */
export function renderMachine(
  objects: readonly KubeObject[],
  format: 'json' | 'yaml',
  single: boolean,
): string {
  const value =
    single && objects.length === 1
      ? objects[0]
      : { apiVersion: 'v1', kind: 'List', metadata: {}, items: objects };
  return format === 'json'
    ? `${JSON.stringify(value, null, 2)}\n`
    : stringify(value, { version: '1.1', aliasDuplicateObjects: false });
}

const states: Readonly<Record<ProbeOutcome, CellState>> = {
  OPEN: 'open',
  DROPPED: 'closed',
  REFUSED: 'refused',
  'NO-LISTENER': 'none',
  ERROR: 'error',
};

const outcomeColors: Readonly<Record<ProbeOutcome, string>> = {
  OPEN: '32',
  DROPPED: '31',
  REFUSED: '31',
  'NO-LISTENER': '33',
  ERROR: '35',
};

function evidenceText(result: ProbeResult): string {
  const { drop } = result.evidence;
  if (result.reason !== undefined) return result.reason;
  if (drop === undefined) return '';
  const packets = drop.packets === 1 ? '1 packet' : `${drop.packets} packets`;
  return `${drop.direction.toLowerCase()} at ${drop.node}, ${packets}`;
}

/** One line per probe. */
export function renderProbeTable(report: ProbeReport, color: boolean): string {
  const rows = report.results.map((result) => [
    result.source,
    result.destination,
    `${result.protocol}/${result.port}`,
    result.destinationAddress,
    result.outcome,
    result.outcome === 'OPEN' ? `${result.latencyMs.toFixed(1)} ms` : '',
    evidenceText(result),
  ]);
  const head = ['FROM', 'TO', 'PORT', 'ADDRESS', 'OUTCOME', 'LATENCY', 'EVIDENCE'];
  const table = renderTable(head, rows);
  if (!color) return table;
  return table.replaceAll(/ (OPEN|DROPPED|REFUSED|NO-LISTENER|ERROR)(?= |$)/gm, (_, outcome) => {
    const known = outcome as ProbeOutcome;
    return ` ${paint(known, outcomeColors[known], true)}`;
  });
}

export const probeLegend =
  '● open  ○ dropped by policy  × refused  E error  blank: nothing listens there, or not probed';

/** One matrix per port and family, rows reach columns. */
export function renderProbeMatrix(
  report: ProbeReport,
  options: { readonly color: boolean; readonly columns: number },
): string {
  const blocks: string[] = [];
  for (const family of [4, 6] as const) {
    for (const port of report.ports) {
      const mine = report.results.filter(
        (result) =>
          result.family === family &&
          result.protocol === port.protocol &&
          result.port === port.port,
      );
      if (mine.length === 0) continue;
      blocks.push(renderMatrixBlock(matrixBlock(report, mine, port, family), options));
    }
  }
  const title = report.simulated ? 'SIMULATED: no packet was sent\n' : '';
  return `${title}${blocks.join('\n')}  ${probeLegend}\n`;
}

function matrixBlock(
  report: ProbeReport,
  results: readonly ProbeResult[],
  port: LabPort,
  family: 4 | 6,
): Parameters<typeof renderMatrixBlock>[0] {
  const byPair = new Map(results.map((one) => [`${one.source} ${one.destination}`, one]));
  const cells = report.sources.map((source) =>
    report.destinations.map((destination): MatrixCell => {
      const result = byPair.get(`${source} ${destination}`);
      return { state: result === undefined ? 'none' : states[result.outcome] };
    }),
  );
  return {
    heading: `${port.protocol} ${port.port} IPv${family}`,
    rows: report.sources,
    columns: report.destinations,
    matrices: [{ title: report.simulated ? 'simulated' : 'observed', cells }],
  };
}

/** `128 probes: 72 open, 56 dropped in 1.0 s (126/s)`. */
export function probeSummary(report: ProbeReport): string {
  const counts = new Map<ProbeOutcome, number>();
  for (const { outcome } of report.results) counts.set(outcome, (counts.get(outcome) ?? 0) + 1);
  const parts = [...counts].map(([outcome, count]) => `${count} ${outcome}`);
  const seconds = (report.wallMs / 1000).toFixed(1);
  const rate = Math.round(report.perSecond);
  return `${report.results.length} probes: ${parts.join(', ')} in ${seconds} s (${rate}/s)`;
}

export function renderStatus(status: LabStatus): string {
  const lines = [
    `state      up for ${formatDuration(status.uptimeMs)}, as ${status.privileges}`,
    `pods       ${status.readyPods} of ${status.pods} ready`,
    `policies   ${status.policies}`,
    `stack      ${status.config.stack}, ${status.config.wiring === 'bridge' ? 'pods on bridges' : 'pods routed'}`,
    ...(status.pid === undefined ? [] : [`process    ${status.pid}`]),
    ...(status.stateDir === undefined ? [] : [`state in   ${status.stateDir}`]),
    ...(status.stateFile === undefined ? [] : [`objects in ${status.stateFile}`]),
    ...(status.api === undefined
      ? []
      : [`API        ${status.api.server}`, `kubeconfig ${status.api.kubeconfig}`]),
  ];
  const nodes = renderTable(
    ['NODE', 'ADDRESSES', 'POD-CIDRS', 'PODS', 'PROGRAM'],
    status.nodes.map((node) => [
      node.name,
      node.addresses.join(','),
      node.podCidrs.join(','),
      String(node.pods),
      node.revision,
    ]),
  );
  const outside = renderTable(
    ['OUTSIDE', 'ADDRESSES', 'LISTENS'],
    status.outside.map((host) => [
      host.name,
      host.addresses.join(','),
      (host.ports ?? []).map((port) => `${port.port}/${port.protocol}`).join(','),
    ]),
  );
  return `${lines.join('\n')}\n\n${nodes}${status.outside.length > 0 ? `\n${outside}` : ''}`;
}
