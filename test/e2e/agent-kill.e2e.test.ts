/**
 * The real agent, killed before and in the middle of each commit of an update by an nft that kills
 * whoever started it; a flood of denied and allowed first packets goes on all the time.
 */
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { KubeObject } from '../../src/k8s/types.ts';
import { run } from '../../src/system/exec.ts';
import { startFakeApi, type FakeApi } from '../client/fake-api.ts';
import { agentHome, converged, type AgentHome, type AgentProcess } from './agent/agent-process.ts';
import { canMakeBed, makeBed } from './dataplane/bed.ts';
import type { Bed, PodProcess } from './dataplane/bed.ts';
import { formatCount, startFlood } from './dataplane/flood.ts';
import { normalise } from './dataplane/ruleset.ts';
import { floodPods, streams, updateKinds, updates } from './dataplane/updates.ts';

const impossible = await canMakeBed();
if (impossible !== undefined) console.warn(`agent kill tests skipped: ${impossible}`);
const soak = process.env['PODWALL_SOAK'] === '1';

/**
 * Stands in for nft in the agent's PATH. Passes everything on to the real one (descriptor 3
 * is the file with long scripts); of its long-lived
 * form it counts the commits, and at the one that FATAL names kills the agent: `before` it is
 * written, or right `after`, while the kernel is at it.
 */
const fatalNft = (real: string): string => `#!${process.execPath}
const { spawn } = require('node:child_process');
const { existsSync, readFileSync } = require('node:fs');
const args = process.argv.slice(2);
const agent = process.ppid;
if (args[0] !== '-i') {
  const child = spawn(${JSON.stringify(real)}, args, { stdio: 'inherit' });
  for (const signal of ['SIGTERM', 'SIGINT']) process.on(signal, () => child.kill(signal));
  child.on('exit', (code) => process.exit(code ?? 1));
} else {
  const child = spawn(${JSON.stringify(real)}, args, { stdio: ['pipe', 'inherit', 'inherit', 3] });
  child.on('exit', (code) => process.exit(code ?? 1));
  let commits = 0;
  let rest = '';
  process.stdin.on('data', (data) => {
    const lines = (rest + data).split('\\n');
    rest = lines.pop();
    for (const line of lines) {
      const fatal = existsSync(process.env.FATAL) ? readFileSync(process.env.FATAL, 'utf8').split(' ') : [];
      const commit = !line.startsWith('list ') && line !== 'quit';
      if (commit && fatal[0] === 'before' && Number(fatal[1]) === commits) process.kill(agent, 'SIGKILL');
      else child.stdin.write(line + '\\n');
      if (commit && fatal[0] === 'after' && Number(fatal[1]) === commits) process.kill(agent, 'SIGKILL');
      if (commit) commits++;
    }
  });
  process.stdin.on('end', () => child.stdin.end());
}
`;

describe.skipIf(impossible !== undefined)('podwall agent, killed', () => {
  const directory = mkdtempSync(join(tmpdir(), 'podwall-nft-'));
  const fatal = join(directory, 'fatal');
  const processes = new Map<string, PodProcess>();
  let bed: Bed;
  let api: FakeApi;
  let home: AgentHome;

  beforeAll(async () => {
    const { stdout } = await run('sh', ['-c', 'PATH=$PATH:/usr/sbin:/sbin command -v nft']);
    writeFileSync(join(directory, 'nft'), fatalNft(stdout.trim()));
    chmodSync(join(directory, 'nft'), 0o755);
    // node-1 is flooded; `calm` has the same agent, whom nobody kills.
    bed = await makeBed(floodPods(64));
    await bed.sh('ip netns add calm; ip -n calm link set lo up');
    for (const { from } of streams)
      if (!processes.has(from)) processes.set(from, bed.process(from));
    api = await startFakeApi({ token: 'agent-token' });
    home = agentHome();
  });
  afterAll(async () => {
    await home?.close();
    await bed?.close();
    await api?.close();
    rmSync(directory, { recursive: true, force: true });
  });

  /** Makes the API's objects these. */
  const put = (objects: readonly KubeObject[]): void => {
    const wanted = new Set(objects.map(keyOf));
    for (const kind of ['Pod', 'NetworkPolicy', 'ClusterNetworkPolicy'])
      for (const object of api.objects(kind))
        if (!wanted.has(keyOf(object)))
          api.delete(kind, object.metadata.namespace, object.metadata.name ?? '');
    for (const object of objects) {
      const held = api.objects(object.kind).find((one) => keyOf(one) === keyOf(object));
      if (held === undefined || bare(held) !== bare(object)) api.put(object);
    }
  };
  const ruleset = async (netns: string): Promise<string> =>
    normalise(await bed.sh(`ip netns exec ${netns} nft list ruleset`));
  const flagsOf = (options: object): string[] =>
    'observe' in options ? ['--deny-log', 'off'] : [];
  const start = (where: string, flags: readonly string[], mortal: boolean): AgentProcess =>
    home.start({
      node: 'node-1',
      netns: bed.netns(where),
      api,
      flags: ['--audit-interval', '0', '--deny-log-interval', '3600', ...flags],
      env: mortal ? { PATH: `${directory}:${process.env['PATH']}`, FATAL: fatal } : {},
    });

  it('SIGKILL at every commit of every kind of update: nothing leaks, nothing is lost, and the next agent ends where one ends that was never killed', async () => {
    const stream = updates();
    put(stream.next().value.objects);
    let flags: string[] = [];
    let calm = start('calm', flags, false);
    await calm.says(converged);
    let agent = start('node-1', flags, false);
    await agent.says(converged);
    await agent.end('SIGKILL');
    const flood = await startFlood(bed, (name) => processes.get(name) as PodProcess, streams, {
      batch: 1,
      pauseMs: 10,
    });
    const kills = new Map<string, number>();
    let rounds = 0;
    // Each update is a new start, too: the agent that shall be killed finds the rules of the last one.
    for (let i = 0; i < updateKinds; i++) {
      const update = stream.next().value;
      put(update.objects);
      // Starting an agent takes a second: the short version goes through those with most commits.
      if (!soak && !['several at once', 'policy edited', 'frame upgrade'].includes(update.kind))
        continue;
      const other = flagsOf(update.options);
      if (other.join() !== flags.join()) {
        flags = other;
        await calm.end('SIGTERM');
        calm = start('calm', flags, false);
        await calm.says(converged);
      }
      for (let commit = 0; ; commit++) {
        const when = commit % 2 === 0 ? 'before' : 'after';
        writeFileSync(fatal, `${when} ${soak ? commit >> 1 : commit}`);
        agent = start('node-1', flags, true);
        const alive = await Promise.race([
          agent.says(converged).then(() => true),
          agent.ended.then(() => false),
        ]);
        rounds++;
        if (!alive) {
          kills.set(when, (kills.get(when) ?? 0) + 1);
          await agent.end('SIGKILL');
          expect(commit).toBeLessThan(20);
          continue;
        }
        await agent.end('SIGKILL');
        break;
      }
      const deadline = performance.now() + 20_000;
      while ((await ruleset('calm')) !== (await ruleset('node-1')) && performance.now() < deadline)
        await new Promise((resolve) => setTimeout(resolve, 50));
      expect(await ruleset('node-1'), update.kind).toBe(await ruleset('calm'));
    }
    rmSync(fatal, { force: true });
    const result = await flood.stop();
    console.info(
      `${rounds} starts, killed ${[...kills].map(([when, times]) => `${times} times ${when} a commit`).join(', ')}; ${formatCount(result)}`,
    );
    expect(result).toMatchObject({ leaked: 0, lost: 0 });
    expect(kills.get('before') ?? 0).toBeGreaterThan(2);
    expect(kills.get('after') ?? 0).toBeGreaterThan(2);
    expect(result.denied).toBeGreaterThan(10_000);
  }, 900_000);
});

function keyOf({ kind, metadata }: KubeObject): string {
  return `${kind} ${metadata.namespace ?? ''} ${metadata.name ?? ''}`;
}

/** The object without what the server adds. */
function bare(object: KubeObject): string {
  const { uid: _u, resourceVersion: _r, ...metadata } = object.metadata;
  return JSON.stringify({ ...object, metadata });
}
