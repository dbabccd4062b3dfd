/**
 * Packets of the dataplane benchmark and what they cost. Senders and servers are a shell's
 * `/dev/tcp` and `/dev/udp`, `dd`, and small scripts, ahead of other processes on a processor each, so
 * that next to nothing is measured but the kernel. Must not know the rulesets.
 */
import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { availableParallelism } from 'node:os';
import { writeFile } from 'node:fs/promises';
import { COPIES, inside, passed, probe, SENDER_ONLY_PORT, synPayload } from './bed.ts';
import type { Bed } from './bed.ts';
import { BULK_PORT, PORT, STREAM_PORT } from './shapes.ts';

const SYNS = '/run/podwall-bench-syns';
const MOST_PACKETS = 400_000;
/** What takes longer has hung, ahead of everything else on its processor. */
const LONGEST_MS = 30_000;

/** A file with the payloads of many datagrams, one after the other. */
export async function prepareSender(): Promise<void> {
  await writeFile(SYNS, Buffer.concat(Array.from({ length: MOST_PACKETS }, () => synPayload)));
}

/** Before a command: on this processor, ahead of everything else. Runs are short. */
function alone(processor: 0 | 1): string[] {
  return ['taskset', '-c', String(processor % availableParallelism()), 'chrt', '-f', '1'];
}

/** As {@link alone} for what may run for ever: the kernel's threads must get their share beside it. */
function favoured(processor: 0 | 1): string[] {
  return ['taskset', '-c', String(processor % availableParallelism()), 'nice', '-n', '-15'];
}

/** Sends `count` datagrams of 12 bytes, each by a write of its own; seconds that it took. */
async function send(namespace: string, host: string, port: number, count: number): Promise<number> {
  // A stream is established once an answer was seen.
  const open = port === STREAM_PORT ? 'printf x >&3; sleep 0.05;' : '';
  const script = `exec 3>/dev/udp/${host}/${port}; ${open} LC_ALL=C dd if=${SYNS} bs=12 count=${count} 2>&1 >&3`;
  const text = await inside(namespace, [...alone(0), 'bash', '-c', script], '', LONGEST_MS);
  const seconds = Number(/copied, ([\d.e-]+) s/.exec(text)?.[1]);
  if (!(seconds > 0)) throw new Error(`dd printed ${JSON.stringify(text)}`);
  return seconds;
}

/**
 * Nanoseconds for each of the packets that arrive, sent for about `seconds`.
 * @throws Error when not all of them passed: then the ruleset is wrong.
 */
async function cost(
  bed: Bed,
  from: string,
  host: string,
  port: number,
  copies: number,
  seconds: number,
): Promise<number> {
  const few = 200;
  const rule = port === STREAM_PORT ? 'stream' : 'syn';
  await probe(bed, rule);
  const first = await send(from, host, port, few);
  const count = Math.max(few, Math.min(MOST_PACKETS, Math.round((seconds / first) * few)));
  await probe(bed, rule);
  const took = await send(from, host, port, count);
  const arrived = await passed(bed);
  // A late packet of a real connection may be among them.
  if (arrived < count * copies)
    throw new Error(`${bed.node}: of ${count * copies} packets ${arrived} passed`);
  return (took / (count * copies)) * 1e9;
}

/** A SYN that a pod sends: system calls, the pod's stack, the node up to behind its rules. */
export function podSynCost(bed: Bed, host: string, seconds: number): Promise<number> {
  return cost(bed, bed.source, host, PORT, 1, seconds);
}

/** The part of {@link podSynCost} before the packet leaves the pod. */
export async function senderCost(bed: Bed, host: string, seconds: number): Promise<number> {
  const few = 1000;
  const first = await send(bed.source, host, SENDER_ONLY_PORT, few);
  const count = Math.min(MOST_PACKETS, Math.round((seconds / first) * few));
  return ((await send(bed.source, host, SENDER_ONLY_PORT, count)) / count) * 1e9;
}

/** A SYN that was copied inside the kernel: the node alone, in batches as from a network card. */
export function copiedSynCost(bed: Bed, host: string, seconds: number): Promise<number> {
  return cost(bed, bed.generator, host, PORT, COPIES, seconds);
}

/** A packet of an established UDP flow, copied inside the kernel. */
export function streamCost(bed: Bed, host: string, seconds: number): Promise<number> {
  return cost(bed, bed.generator, host, STREAM_PORT, COPIES, seconds);
}

/** Servers in the destination pod: one that closes each connection, one that sends for ever, an echo. */
const servers = `
const net = require('node:net');
const echo = require('node:dgram').createSocket('udp4');
echo.on('message', (text, { port, address }) => echo.send(text, port, address)); echo.bind(${STREAM_PORT});
net.createServer((s) => { s.on('error', () => {}); s.destroy(); }).listen(${PORT}, '0.0.0.0', 4096);
const block = Buffer.alloc(1 << 20);
net.createServer((s) => {
  s.on('error', () => {});
  const go = (error) => { if (!error) s.write(block, go); };
  go(); go();
}).listen(${BULK_PORT}, '0.0.0.0', () => console.log('up'));`;

export async function startServers(bed: Bed): Promise<ChildProcess> {
  const command = [...favoured(1), process.execPath, '-e', servers];
  const child = spawn('ip', ['netns', 'exec', bed.destination, ...command], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  await new Promise<void>((resolve, reject) => {
    child.stdout.once('data', () => resolve());
    child.once('exit', () => reject(new Error('the servers of the benchmark did not start')));
  });
  return child;
}

export interface Connects {
  /** Connections per second, one after the other. */
  readonly rate: number;
  /** Microseconds. */
  readonly p50: number;
  readonly p99: number;
}

export async function connects(bed: Bed, host: string, count: number): Promise<Connects> {
  await probe(bed, 'nothing');
  const script = `
for ((i = 0; i < ${count}; i++)); do
  a=$EPOCHREALTIME; exec 3<>/dev/tcp/${host}/${PORT}; b=$EPOCHREALTIME; exec 3>&-
  took[i]=$((\${b/[.,]/} - \${a/[.,]/})); [ $i = 0 ] && start=$a
done
echo $((\${EPOCHREALTIME/[.,]/} - \${start/[.,]/})) "\${took[@]}"`;
  const text = await inside(bed.source, [...alone(0), 'bash', '-c', script], '', LONGEST_MS);
  const [elapsed = NaN, ...each] = text.trim().split(' ').map(Number);
  if (each.length !== count) throw new Error(`${bed.source}: ${each.length} of ${count} connects`);
  each.sort((a, b) => a - b);
  return {
    rate: (count / elapsed) * 1e6,
    p50: each[Math.floor(count * 0.5)] as number,
    p99: each[Math.floor(count * 0.99)] as number,
  };
}

/** The best of short slices counts: other processes only ever take from them. */
const SLICE_MS = 20;

const receiver = `
const [host, slices] = process.argv.slice(1);
const buffer = Buffer.alloc(1 << 20); const rates = []; let bytes = 0; let start;
const s = require('node:net').connect({ host, port: ${BULK_PORT}, onread: { buffer, callback: (n) => {
  bytes += n; const now = process.hrtime.bigint(); start ??= now;
  const took = Number(now - start);
  if (took > ${SLICE_MS}e6) { rates.push(bytes * 8 / took); bytes = 0; start = now; }
  if (rates.length <= Number(slices)) return true;
  // The first is the start of the connection.
  console.log(Math.max(...rates.slice(1))); process.exit(0);
} } });
s.on('error', (error) => { throw error; });`;

/** Gbit/s of one TCP connection: the best slice of 20 ms. */
export async function bulk(bed: Bed, host: string, seconds: number): Promise<number> {
  await probe(bed, 'nothing');
  const slices = Math.max(3, Math.round((seconds * 1000) / SLICE_MS));
  const args = [process.execPath, '-e', receiver, host, String(slices)];
  return Number(await inside(bed.source, [...favoured(0), ...args], '', LONGEST_MS));
}
