/**
 * Resident memory and idle CPU of the agent as a process, with real nft in a private network
 * namespace. The API server is the tests' fake, in this process. Build first (`npm run bench` does).
 * Without numbers: 10,000 pods with 2,000 policies, then 100,000 with 10,000.
 *
 *   node --import tsx bench/agent-memory.ts [pods [policies=2000]]
 */
import { spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { startFakeApi } from '../test/client/fake-api.ts';
import { askSocket } from '../src/agent/http.ts';
import type { AgentStatus } from '../src/agent/agent.ts';
import { cluster } from './agent-cluster.ts';

const numbers = process.argv
  .slice(2)
  .filter((word) => /^\d+$/.test(word))
  .map(Number);

async function measure(podCount: number, policyCount: number): Promise<void> {
  const directory = mkdtempSync(join(tmpdir(), 'podwall-bench-'));
  const socket = join(directory, 'sock');
  const api = await startFakeApi();
  // What policy does not need, to make objects as large as real ones: about 3 kB.
  const managedFields = [
    {
      manager: 'kubelet',
      fieldsV1: Object.fromEntries(
        Array.from({ length: 60 }, (_, i) => [`f:field-${i}`, { 'f:type': {}, '.': {} }]),
      ),
    },
  ];
  for (const object of cluster(podCount, policyCount)) {
    api.put({ ...object, metadata: { ...object.metadata, managedFields } } as typeof object);
  }
  const kubeconfig = join(directory, 'kubeconfig');
  writeFileSync(
    kubeconfig,
    JSON.stringify({
      'current-context': 'x',
      clusters: [{ name: 'c', cluster: { server: api.url } }],
      contexts: [{ name: 'x', context: { cluster: 'c' } }],
    }),
  );
  const holder = spawn('unshare', ['--net', 'sh', '-c', 'echo up; exec cat'], {
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  await new Promise((resolve) => holder.stdout.once('data', resolve));
  const agent = spawn(
    process.execPath,
    [
      // What was built, as users run it: a loader would be half as much again.
      new URL('../bin/podwall.js', import.meta.url).pathname,
      'agent',
      '--node=node-1',
      '--listen=',
      '--log-level=warn',
      `--kubeconfig=${kubeconfig}`,
      `--socket=${socket}`,
      `--netns=/proc/${holder.pid}/ns/net`,
      `--state-file=${join(directory, 'state')}`,
    ],
    { stdio: ['ignore', 'inherit', 'inherit'] },
  );

  function usage(): { rss: number; peak: number; cpuSeconds: number } {
    const status = readFileSync(`/proc/${agent.pid}/status`, 'utf8');
    const number = (name: string): number =>
      Number(new RegExp(`${name}:\\s+(\\d+)`).exec(status)?.[1] ?? 0) / 1000;
    const fields = readFileSync(`/proc/${agent.pid}/stat`, 'utf8').split(') ')[1]?.split(' ') ?? [];
    return {
      rss: number('VmRSS'),
      peak: number('VmHWM'),
      cpuSeconds: (Number(fields[11]) + Number(fields[12])) / 100,
    };
  }
  const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));
  function line(what: string): void {
    const { rss, peak, cpuSeconds } = usage();
    console.log(
      `${what.padEnd(34)} rss ${rss.toFixed(0).padStart(4)} MB  peak ${peak.toFixed(0).padStart(4)} MB  cpu ${cpuSeconds.toFixed(1)} s`,
    );
  }

  console.log(`${podCount} pods, ${policyCount} policies, node ${process.version}`);
  for (;;) {
    await pause(200);
    try {
      if (((await askSocket(socket, '/status')) as AgentStatus).ready) break;
    } catch {
      // Not listening yet.
    }
  }
  line('converged');
  const pods = api.objects('Pod');
  for (let i = 0; i < 2_000; i += 1) {
    const pod = pods[(i * 37) % pods.length];
    if (pod)
      api.put({
        ...pod,
        metadata: { ...pod.metadata, labels: { ...pod.metadata.labels, app: `app-${i % 10}` } },
      });
    if (i % 20 === 0) await pause(50);
  }
  await pause(3_000);
  line('after 2000 label changes in 5 s');
  await pause(12_000);
  const before = usage().cpuSeconds;
  await pause(20_000);
  console.log(
    `idle: ${(((usage().cpuSeconds - before) / 20) * 100).toFixed(2)} % of a CPU over 20 s`,
  );
  line('idle');
  agent.kill('SIGKILL');
  holder.stdin.end();
  await api.close();
  rmSync(directory, { recursive: true });
}

const [podCount, policyCount = 2_000] = numbers;
if (podCount !== undefined) await measure(podCount, policyCount);
else {
  await measure(10_000, 2_000);
  await measure(100_000, 10_000);
}
