/**
 * Nothing outlives `podwall lab down`, whatever was killed before it and when: the daemon, the API, the
 * agents or the first process, while the lab starts, while pods are made, and in peace.
 */
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import type { Io } from '../../src/cli/command.ts';
import { runCli } from '../../src/cli/main.ts';
import { connectLab, LabUnavailable, startLab } from '../../src/lab/index.ts';

const root = fileURLToPath(new URL('../..', import.meta.url));

async function whyNot(): Promise<string | undefined> {
  try {
    const config = { wiring: 'bridge', outside: [] } as const;
    await (await startLab(config, { lifetime: 'parent', api: true })).down();
    return undefined;
  } catch (error) {
    if (error instanceof LabUnavailable) return `${error.reason}; ${error.remedy}`;
    throw error;
  }
}

const unavailable = await whyNot();
if (unavailable !== undefined) console.log(`SKIPPED: crashes of the lab: ${unavailable}`);

interface Found {
  readonly pid: number;
  /** Clock ticks since boot; with the pid it names a process for good. */
  readonly start: string;
  readonly line: string;
}

/** Processes with this namespace, or whose command line has this text. */
function processes(matches: (pid: string, line: string) => boolean): Found[] {
  return readdirSync('/proc').flatMap((pid) => {
    if (!/^\d+$/.test(pid)) return [];
    try {
      const line = readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' ');
      if (!matches(pid, line)) return [];
      const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
      const start = stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19] ?? '';
      return [{ pid: Number(pid), start, line }];
    } catch {
      return [];
    }
  });
}

function namespaceOf(pid: number | string): string {
  try {
    return readlinkSync(`/proc/${pid}/ns/pid`);
  } catch {
    return '';
  }
}

const soak = process.env['PODWALL_SOAK'] !== undefined;
if (!soak) console.log('crashes of the lab: four moments; all eight under `npm run test:soak`');

/** Every moment costs seconds. */
function chosen<A, B>(always: readonly (readonly [A, B])[], more: readonly (readonly [A, B])[]) {
  return soak ? [...always, ...more] : [...always];
}

const pods = Array.from(
  { length: 6 },
  (_, index) => `
apiVersion: v1
kind: Pod
metadata: { name: p${index} }
spec:
  containers:
    - { name: run, image: x, command: [sh, -c, 'sleep 1000 & setsid sleep 1001 & sleep 1002'] }
    - { name: sctp, image: x, ports: [{ containerPort: 80, protocol: SCTP }] }
    - { name: tcp, image: x, ports: [{ containerPort: 80 }] }
`,
).join('---\n');

type Victim = 'daemon' | 'API' | 'agents' | 'first process' | 'unshare';

describe.skipIf(unavailable !== undefined)('crashes', () => {
  let runtime = '';
  const before = process.env['XDG_RUNTIME_DIR'];
  const temporaryBefore = process.env['TMPDIR'];

  async function podwall(
    argv: readonly string[],
    onText: (text: string) => void = () => {},
  ): Promise<{ code: number; text: string }> {
    let text = '';
    const add = (more: string): void => {
      text += more;
      onText(more);
    };
    const io: Io = {
      out: add,
      err: add,
      stdin: process.stdin,
      isTty: false,
      color: false,
      columns: 100,
      env: process.env,
      cwd: root,
      signal: new AbortController().signal,
    };
    return { code: await runCli([...argv], io), text };
  }

  /** Every process of the lab of this test: from its first one, which names the state directory. */
  function family(): { readonly outer: Found[]; readonly inner: Found[] } {
    const named = processes((_pid, line) => line.includes(join(runtime, 'podwall')));
    const own = namespaceOf('self');
    const namespaces = new Set(named.map(({ pid }) => namespaceOf(pid)));
    namespaces.delete(own);
    namespaces.delete('');
    return {
      outer: named.filter(({ line }) => line.startsWith('unshare ')),
      inner: processes((pid) => namespaces.has(namespaceOf(pid))),
    };
  }

  function victims(kind: Victim): Found[] {
    const { outer, inner } = family();
    switch (kind) {
      case 'unshare':
        return outer;
      case 'first process':
        return inner.filter(({ line }) => line.startsWith('sh -c'));
      case 'daemon':
        return inner.filter(({ line }) => /lab\/daemon\.[jt]s/.test(line));
      case 'API':
        return inner.filter(({ line }) => line.includes('lab/api-main.'));
      case 'agents':
        return inner.filter(({ line }) => / agent run /.test(line));
    }
  }

  function kill(kind: Victim): void {
    const found = victims(kind);
    expect(found.length, `${kind} among ${JSON.stringify(family())}`).toBeGreaterThan(0);
    for (const { pid } of found) process.kill(pid, 'SIGKILL');
  }

  /** `lab down` says all is well, and it is. */
  async function expectNothingLeft(members: readonly Found[]): Promise<void> {
    const down = await podwall(['lab', 'down']);
    expect(down, down.text).toMatchObject({ code: 0 });
    const left = (): string[] =>
      members
        .filter(({ pid, start }) => {
          const [now] = processes((one) => one === String(pid));
          return now?.start === start;
        })
        .map(({ pid, line }) => `${pid} ${line}`);
    await expect.poll(left, { timeout: 10_000 }).toEqual([]);
    expect(existsSync(join(runtime, 'podwall'))).toBe(false);
    expect((await podwall(['lab', 'status'])).text).toContain('no lab is running');
  }

  beforeAll(() => {
    runtime = mkdtempSync(join(tmpdir(), 'podwall-crash-'));
    process.env['XDG_RUNTIME_DIR'] = runtime;
    writeFileSync(join(runtime, 'pods.yaml'), pods);
    mkdirSync(join(runtime, 'tmp'));
    process.env['TMPDIR'] = join(runtime, 'tmp');
  });

  afterEach(async () => {
    await (await connectLab())?.down();
  });

  afterAll(() => {
    if (temporaryBefore === undefined) delete process.env['TMPDIR'];
    else process.env['TMPDIR'] = temporaryBefore;
    if (before === undefined) delete process.env['XDG_RUNTIME_DIR'];
    else process.env['XDG_RUNTIME_DIR'] = before;
    rmSync(runtime, { recursive: true, force: true });
  });

  const agents = ['lab', 'up', '--empty', '--agents', '--wiring', 'bridge', '--stack', 'ipv4'];

  it.each(
    chosen<Victim, string>(
      [
        ['API', 'starting the API'],
        ['daemon', 'agents'],
      ],
      [
        ['daemon', 'building'],
        ['first process', 'agents'],
      ],
    ),
  )('while it starts: the %s at "%s"', async (kind, moment) => {
    let members: Found[] = [];
    let killed = false;
    const up = podwall(agents, (text) => {
      if (killed || !text.includes(moment)) return;
      killed = true;
      void (async () => {
        // The process that was announced is there a moment later.
        for (let i = 0; i < 400 && victims(kind).length === 0; i++) await sleep(5);
        const { outer, inner } = family();
        members = [...outer, ...inner];
        kill(kind);
      })();
    });
    const { code, text } = await up;
    // It may be ready before its victim was found.
    if (code !== 0)
      expect(text).toMatch(/error: (the lab (ended while it started|has ended)|the API ended)/);
    await expect.poll(() => members.length).toBeGreaterThan(0);
    await expectNothingLeft(members);
  });

  it.each(
    chosen<Victim, number>(
      [
        ['daemon', 150],
        ['agents', 300],
      ],
      [
        ['daemon', 0],
        ['API', 150],
        ['daemon', 400],
        ['unshare', 700],
      ],
    ),
  )('while pods are made: the %s after %i ms', async (kind, afterMs) => {
    expect(await podwall(agents)).toMatchObject({ code: 0 });
    const apply = podwall(['lab', 'apply', '-f', join(runtime, 'pods.yaml')]);
    await sleep(afterMs);
    const { outer, inner } = family();
    kill(kind);
    // They come back, and the pods become ready: only the others end the lab.
    const { code, text } = await apply;
    expect(code, text).toBe(kind === 'agents' ? 0 : 3);
    await expectNothingLeft([...outer, ...inner, ...family().inner]);
  });

  it('in peace, with programs in pods: the daemon, then a second lab as if nothing was', async () => {
    expect(await podwall([...agents, '--nodes', '1'])).toMatchObject({ code: 0 });
    expect(await podwall(['lab', 'apply', '-f', join(runtime, 'pods.yaml')])).toMatchObject({
      code: 0,
    });
    await expect
      .poll(() => family().inner.filter(({ line }) => line.includes('sleep 100')).length)
      .toBeGreaterThanOrEqual(18);
    const { outer, inner } = family();
    expect(inner.filter(({ line }) => line.startsWith('perl')).length).toBe(6);
    kill('daemon');
    await expectNothingLeft([...outer, ...inner]);
    expect(await podwall(['lab', 'up', '--empty', '--stack', 'ipv4'])).toMatchObject({ code: 0 });
    const second = family();
    kill('API');
    await expectNothingLeft([...second.outer, ...second.inner]);
  });

  it('leaves no temporary file behind', () => {
    expect(readdirSync(tmpdir()).filter((name) => name.startsWith('podwall'))).toEqual([]);
  });
});
