/**
 * A verdict with everything its text needs: names, labels, near misses. Must not print.
 */
import { nearMisses } from '../engine/near-miss.ts';
import type { PodInfo, Snapshot } from '../engine/snapshot.ts';
import type { Connection, Endpoint, Verdict } from '../engine/verdict.ts';
import type { VerdictView } from '../report/verdict-text.ts';

/** One connection with the words for its ends. */
export interface NamedConnection {
  readonly source: string;
  readonly destination: string;
  readonly connection: Connection;
}

/** Without fixes: those are sought only where they are asked for. */
export function verdictView(
  snapshot: Snapshot,
  { source, destination, connection }: NamedConnection,
  verdict: Verdict,
  place: VerdictView['place'],
): VerdictView {
  const { protocol, port } = connection;
  const labels = (endpoint: Endpoint): PodInfo['labels'] | undefined =>
    endpoint.kind === 'pod' ? endpoint.pod.labels : undefined;
  const sourceLabels = labels(connection.source);
  const destinationLabels = labels(connection.destination);
  return {
    source,
    destination,
    on: port === undefined ? `${protocol}, any port` : `${protocol} ${port}`,
    verdict,
    nearMisses: nearMisses(snapshot, connection, [verdict.egress, verdict.ingress]),
    fixes: [],
    labels: {
      ...(sourceLabels === undefined ? {} : { source: sourceLabels }),
      ...(destinationLabels === undefined ? {} : { destination: destinationLabels }),
    },
    place,
  };
}
