import { describe } from 'vitest';
import { runContract, pods } from './dataplane.ts';
import type { Subject } from './dataplane.ts';
import { buildSnapshot } from '../../src/engine/build.ts';
import { parseAddress } from '../../src/net/address.ts';
import type { Address } from '../../src/net/address.ts';
import { compileNode } from '../../src/dataplane/compile.ts';
import { createMemoryBackend } from '../../src/dataplane/simulate.ts';

function memorySubject(): Subject {
  const backends = { 1: createMemoryBackend(), 2: createMemoryBackend() };
  const addressOf = (name: string, family: 4 | 6): Address => {
    const pod = pods.find((known) => known.name === name);
    const text =
      pod === undefined
        ? name
        : family === 4
          ? `10.244.${pod.node}.${pod.host}`
          : `fd00:244:${pod.node}::${pod.host}`;
    return parseAddress(text) as Address;
  };
  return {
    enforce: async (objects) => {
      const { snapshot } = buildSnapshot(objects.map((object) => ({ object })));
      for (const node of [1, 2] as const)
        await backends[node].apply(compileNode(snapshot, `node-${node}`));
    },
    probe: async ({ from, to, protocol, port, family }) => {
      const packet = {
        source: addressOf(from, family),
        destination: addressOf(to, family),
        protocol,
        port,
      };
      const crossed = new Set(
        [from, to].flatMap((name) => pods.find((pod) => pod.name === name)?.node ?? []),
      );
      for (const node of crossed)
        if (backends[node].send(packet).outcome === 'denied') return 'denied';
      return 'allowed';
    },
  };
}

describe('the memory backend keeps the contract', () => {
  const subject = memorySubject();
  runContract(() => subject);
});
