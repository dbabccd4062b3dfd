/**
 * The lessons that other implementations paid for, with packets. Every lesson runs on six clusters at
 * once: pods routed and on a bridge, IPv4, IPv6 and both. docs/reference/lessons.md names them all.
 */
import { afterAll, beforeAll, describe } from 'vitest';
import { runContract } from '../contract/dataplane.ts';
import { canMakeBed } from './dataplane/bed.ts';
import { inFamilies, makeLessonCluster } from './enforcement/cluster.ts';
import type { LessonCluster } from './enforcement/cluster.ts';
import { identityLessons } from './enforcement/identity.ts';
import { connectionLessons } from './enforcement/connections.ts';
import { ruleLessons } from './enforcement/rules.ts';
import { serviceLessons } from './enforcement/services.ts';
import { nodeLessons } from './enforcement/node.ts';
import { pathLessons } from './enforcement/paths.ts';

const impossible = await canMakeBed();
if (impossible !== undefined) console.warn(`lessons skipped: ${impossible}`);

describe.skipIf(impossible !== undefined)('routed and bridged pods; IPv4, IPv6 and both', () => {
  const clusters: LessonCluster[] = [];
  beforeAll(async () => {
    for (const stack of ['dual', 'ipv4', 'ipv6'] as const)
      clusters.push(
        ...(await Promise.all([
          makeLessonCluster('routed', stack),
          makeLessonCluster('bridge', stack),
        ])),
      );
  });
  afterAll(async () => {
    await Promise.all(clusters.map((cluster) => cluster.close()));
  });
  /** Waits for all, so that a failing cluster leaves nothing running behind the next lesson. */
  const each = async (lesson: (cluster: LessonCluster) => Promise<void>): Promise<void> => {
    const ends = await Promise.allSettled(clusters.map(lesson));
    const faults = ends.flatMap((end, index) =>
      end.status === 'rejected' ? [`${clusters[index]?.title}: ${wordsOf(end.reason)}`] : [],
    );
    if (faults.length > 0) throw new Error(faults.join('\n\n'));
  };

  describe('keep the contract', () => {
    runContract(() => ({
      enforce: (objects) =>
        each(async (cluster) => {
          await cluster.enforce(inFamilies(objects, cluster.families));
        }),
      probe: async ({ from, to, protocol, port, family }) => {
        const having = clusters.filter((cluster) => cluster.families.includes(family));
        const flow = `${from} ${to} ${protocol}/${port}`;
        const answers = await Promise.all(
          having.map((cluster) => cluster.attempt(flow, family, 600)),
        );
        const [first] = answers;
        if ((first !== 'open' && first !== 'timeout') || answers.some((answer) => answer !== first))
          throw new Error(
            `${flow}: ${having.map(({ title }, index) => `${title}: ${answers[index]}`).join('; ')}`,
          );
        return first === 'open' ? 'allowed' : 'denied';
      },
    }));
  });

  identityLessons(each);
  ruleLessons(each);
  pathLessons(each);
  serviceLessons(each);
  connectionLessons(each);
  // What one kernel is enough for.
  nodeLessons((lesson) => lesson(clusters[0] as LessonCluster));
});

/** With what was found, which a message of `expect` leaves out. */
function wordsOf(reason: unknown): string {
  const { message, actual, expected } = reason as Error & { actual?: unknown; expected?: unknown };
  return actual === undefined
    ? message
    : `${message}\nfound    ${JSON.stringify(actual)}\nexpected ${JSON.stringify(expected)}`;
}
