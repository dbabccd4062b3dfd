/**
 * Floods of first packets through node-1 and the counters that tell what became of them: counted
 * where the node receives and where it sends, and dropped there before conntrack keeps the
 * connection, so that every packet is the first of a connection and judged in full. Must not know
 * how rules change meanwhile.
 */
import type { Bed, PodProcess } from './bed.ts';

/** Packets of one kind, all to a port of their own between 7000 and 7099. */
export interface Stream {
  readonly from: string;
  /** Addresses. */
  readonly to: readonly string[];
  readonly port: number;
  /** What every state of the cluster during the flood says of them. */
  readonly allowed: boolean;
}

export interface FloodCount {
  readonly denied: number;
  /** Denied packets that the node sent on. */
  readonly leaked: number;
  readonly allowed: number;
  /** Allowed packets that the node did not send on. */
  readonly lost: number;
  readonly seconds: number;
}

export interface Flood {
  /** Of what was sent so far; what is inside the node at this moment counts as lost. */
  count(): Promise<FloodCount>;
  stop(): Promise<FloodCount>;
}

export interface FloodPace {
  /** Packets a sender sends at once, before copying. */
  readonly batch: number;
  readonly pauseMs: number;
}

/** @param sender the process of a pod */
export async function startFlood(
  bed: Bed,
  sender: (pod: string) => PodProcess,
  streams: readonly Stream[],
  pace: FloodPace = { batch: 8, pauseMs: 1 },
): Promise<Flood> {
  const counting = (name: string, hook: string, priority: number, verdict: string): string => `
  ${streams.map(({ port }) => `counter ${name}${port} { }`).join('\n  ')}
  chain ${name} { type filter hook ${hook} priority ${priority};
    ${streams.map(({ port }) => `udp dport ${port} counter name ${name}${port} ${verdict}`).join('\n    ')}
  }`;
  await bed.sh(`ip netns exec node-1 nft -f - <<'X'
add table inet probe
delete table inet probe
table inet probe {${counting('sent', 'prerouting', -400, '')}${counting('arrived', 'postrouting', 200, 'drop')}
}
X
`);
  const count = async (): Promise<FloodCount> => {
    const seconds = (performance.now() - began) / 1000;
    const listing = await bed.sh('ip netns exec node-1 nft list counters table inet probe');
    const found = new Map(
      [...listing.matchAll(/counter (\w+) \{\s+packets (\d+)/g)].map((match) => [
        match[1],
        Number(match[2]),
      ]),
    );
    const total = { denied: 0, leaked: 0, allowed: 0, lost: 0, seconds };
    for (const { port, allowed } of streams) {
      const sent = found.get(`sent${port}`) ?? NaN;
      const arrived = found.get(`arrived${port}`) ?? NaN;
      if (allowed) {
        total.allowed += sent;
        total.lost += sent - arrived;
      } else {
        total.denied += sent;
        total.leaked += arrived;
      }
    }
    return total;
  };
  const senders = [...new Set(streams.map(({ from }) => from))];
  const began = performance.now();
  await Promise.all(
    senders.map((name) => {
      const targets = streams
        .filter(({ from }) => from === name)
        .flatMap(({ to, port }) => to.map((host) => ({ host, port })));
      return sender(name).ask({
        do: 'flood',
        host: '',
        ports: [],
        targets,
        ...pace,
        maxMs: 1_800_000,
      });
    }),
  );
  return {
    count,
    stop: async () => {
      await Promise.all(senders.map((name) => sender(name).ask({ do: 'stop-flood' })));
      const { seconds } = await count();
      await new Promise((resolve) => setTimeout(resolve, 300));
      return { ...(await count()), seconds };
    },
  };
}

/** `2,000 denied packets, 0 leaked; …`, for the output of a test. */
export function formatCount({ denied, leaked, allowed, lost, seconds }: FloodCount): string {
  const rate = Math.round((denied + allowed) / seconds);
  return (
    `${denied} denied packets, ${leaked} leaked; ${allowed} allowed packets, ${lost} lost; ` +
    `${rate} first packets a second`
  );
}
