/** The runtime of real pods with the daemon and the programs replaced: what is asked for, in which order. */
import { PassThrough } from 'node:stream';
import { describe, expect, it } from 'vitest';
import type { ApiObject, JsonObject } from './api/object.ts';
import type { ContainerChange, PodRuntime } from './api/runtime.ts';
import type { PodProcess } from './pod-process.ts';
import { createPodRuntime } from './pod-runtime.ts';
import type { LabListener } from './types.ts';

interface FakeProgram extends PodProcess {
  readonly argv: readonly string[];
  readonly env: Readonly<Record<string, string>>;
  readonly signals: string[];
  readonly stdout: PassThrough;
  end(code: number): void;
}

interface World {
  readonly runtime: PodRuntime;
  /** Calls to the daemon: method, and the ports it was told to answer. */
  readonly calls: string[];
  readonly programs: FakeProgram[];
  /** `container state #restarts`, in order. */
  readonly changes: string[];
  program(index: number): Promise<FakeProgram>;
}

function world(options: { readonly obedient?: boolean } = {}): World {
  const calls: string[] = [];
  const programs: FakeProgram[] = [];
  const changes: string[] = [];
  const runtime = createPodRuntime({
    root: '/proc/1/ns/mnt',
    dns: '10.96.0.10',
    async call(method, params) {
      const { ports } = params as { ports?: { protocol: string; port: number }[] };
      const told = ports?.map(({ protocol, port }) => `${protocol}/${port}`).join() ?? '';
      calls.push(`${method} ${told}`.trim());
      if (method === 'podWire')
        return { podIPs: ['10.244.1.2'], hostIP: '192.168.200.11', netns: '/run/netns/p' };
      return [];
    },
    run(place, argv) {
      let end: (code: number) => void = () => {};
      let over = false;
      const exit = new Promise<number>((resolve) => {
        end = (code) => {
          over = true;
          resolve(code);
        };
      });
      const signals: string[] = [];
      const stdout = new PassThrough();
      const made: FakeProgram = {
        argv,
        env: place.env,
        stdin: new PassThrough(),
        stdout,
        stderr: new PassThrough(),
        ended: exit,
        exit,
        signals,
        end,
        kill() {
          if (over) return;
          signals.push('KILL');
          end(137);
        },
        signal(name) {
          signals.push(name);
          if (options.obedient !== false) end(143);
        },
      };
      programs.push(made);
      return made;
    },
  });
  runtime.onChange?.(({ container, state, restartCount }: ContainerChange) => {
    const detail = state.kind === 'terminated' ? ` ${state.exitCode}` : '';
    changes.push(`${container} ${state.kind}${detail} #${restartCount}`);
  });
  const program = async (index: number): Promise<FakeProgram> => {
    await expect.poll(() => programs.length).toBeGreaterThan(index);
    const found = programs[index];
    if (found === undefined) throw new Error(`program ${index} was not started`);
    return found;
  };
  return { runtime, calls, programs, changes, program };
}

const podOf = (spec: JsonObject): ApiObject => ({
  apiVersion: 'v1',
  kind: 'Pod',
  metadata: { name: 'p', namespace: 'ns', uid: 'u' },
  spec: { nodeName: 'node-1', ...spec },
});
const shell = (name: string, script: string, more: JsonObject = {}): JsonObject => ({
  name,
  image: 'busybox',
  command: ['sh', '-c', script],
  ...more,
});
const refTo = (container: string): Parameters<PodRuntime['exec']>[0] => ({
  namespace: 'ns',
  name: 'p',
  uid: 'u',
  container,
});
const logOf = async ({ runtime }: World, container: string, previous = false): Promise<string> => {
  let text = '';
  const options = { follow: false, timestamps: false, previous };
  for await (const chunk of await runtime.logs(refTo(container), options)) text += String(chunk);
  return text;
};

describe('pods of the lab', () => {
  it('policy is in force before the first instruction, addresses are told before that', async () => {
    const made = world();
    const order: string[] = [];
    await made.runtime.start(podOf({ containers: [shell('c', 'x')] }), ({ podIPs }) => {
      order.push(...podIPs, ...made.calls, String(made.programs.length));
    });
    expect(order).toEqual(['10.244.1.2', 'podWire', '0']);
    expect(made.calls).toEqual(['podWire', 'podOpen']);
    expect(made.changes).toEqual(['c running #0']);
  });

  it('init containers run in order; nothing answers before they are done', async () => {
    const made = world();
    await made.runtime.start(
      podOf({
        initContainers: [shell('a', '1'), { name: 'image', image: 'x' }, shell('b', '2')],
        containers: [{ name: 'web', image: 'nginx', ports: [{ containerPort: 8080 }] }],
      }),
    );
    expect(made.changes).toEqual([
      ...['a', 'image', 'b', 'web'].map((name) => `${name} waiting #0`),
      'a running #0',
    ]);
    expect(made.calls).toEqual(['podWire', 'podOpen']);
    (await made.program(0)).end(0);
    const second = await made.program(1);
    expect(second.argv.at(-1)).toBe('2');
    expect(made.changes.slice(5)).toEqual([
      'a terminated 0 #0',
      'image terminated 0 #0',
      'b running #0',
    ]);
    expect(made.calls).toHaveLength(2);
    second.end(0);
    await expect.poll(() => made.changes.at(-1)).toBe('web running #0');
    expect(made.calls.at(-1)).toBe('podOpen TCP/8080');
  });

  it('restartPolicy Never: a failed init container is the end', async () => {
    const made = world();
    await made.runtime.start(
      podOf({
        restartPolicy: 'Never',
        initContainers: [shell('a', '1')],
        containers: [shell('c', '2')],
      }),
    );
    (await made.program(0)).end(1);
    await expect.poll(() => made.changes.at(-1)).toBe('a terminated 1 #0');
    expect(made.programs).toHaveLength(1);
  });

  it('a container that ends is started again, with its log kept', async () => {
    const made = world();
    await made.runtime.start(podOf({ containers: [shell('c', 'x')] }));
    const first = await made.program(0);
    first.stdout.write('first\n');
    await expect.poll(() => logOf(made, 'c')).toBe('first\n');
    await expect(logOf(made, 'c', true)).rejects.toThrow(
      'previous terminated container "c" in pod "p" not found',
    );
    first.end(3);
    await made.program(1);
    expect(made.changes).toEqual(['c running #0', 'c terminated 3 #0', 'c running #1']);
    expect(await logOf(made, 'c', true)).toBe('first\n');
    expect(await logOf(made, 'c')).toBe('');
  });

  it('a script that wants programs of its image: its ports are answered, and the log says so', async () => {
    const made = world();
    const ports = [{ containerPort: 6379 }];
    await made.runtime.start(podOf({ containers: [shell('c', 'exec redis-server', { ports })] }));
    (await made.program(0)).end(127);
    await expect.poll(() => made.calls.at(-1)).toBe('podOpen TCP/6379');
    expect(made.changes).toEqual(['c running #0', 'c running #0']);
    expect(await logOf(made, 'c')).toContain('its ports are answered instead');
    expect(made.programs).toHaveLength(1);
  });

  it('without ports a missing program is an error like any other', async () => {
    const made = world();
    await made.runtime.start(podOf({ containers: [shell('c', 'exec nothing')] }));
    (await made.program(0)).end(127);
    await expect.poll(() => made.changes).toContain('c terminated 127 #0');
  });

  it('stop asks first, and kills when the grace is over', async () => {
    const polite = world();
    await polite.runtime.start(podOf({ containers: [shell('c', 'x')] }));
    await polite.runtime.stop('u', 30);
    expect((await polite.program(0)).signals).toEqual(['SIGTERM']);
    const deaf = world({ obedient: false });
    await deaf.runtime.start(podOf({ containers: [shell('c', 'x')] }));
    await deaf.runtime.stop('u', 0.05);
    expect((await deaf.program(0)).signals).toEqual(['SIGTERM', 'KILL']);
    // Being stopped is no end to be reported, nor begun again.
    expect(deaf.changes).toEqual(['c running #0']);
    expect(deaf.calls.at(-1)).toBe('podStop');
    await expect(
      deaf.runtime.exec(refTo('c'), { command: ['x'], tty: false, stdin: false }),
    ).rejects.toThrow('the pod does not run');
  });

  it('programs see the environment of their container, their arguments expanded', async () => {
    const made = world();
    const env = [{ name: 'A', value: 'b' }];
    await made.runtime.start(podOf({ containers: [shell('c', 'echo $(A) $$', { env })] }));
    expect(await made.program(0)).toMatchObject({
      argv: ['sh', '-c', 'echo b $'],
      env: { A: 'b', HOSTNAME: 'p' },
    });
    await made.runtime.exec(refTo('c'), { command: ['env'], tty: false, stdin: false });
    expect(await made.program(1)).toMatchObject({ argv: ['env'], env: { A: 'b' } });
  });

  it('who attaches first sees what was said before, and gets no exit code', async () => {
    const made = world();
    await made.runtime.start(
      podOf({ restartPolicy: 'Never', containers: [shell('c', 'x', { stdin: true })] }),
    );
    const program = await made.program(0);
    program.stdout.write('prompt> ');
    await new Promise(setImmediate);
    const session = await made.runtime.attach?.(refTo('c'), { stdin: true, tty: false });
    expect(String(session?.stdout.read())).toBe('prompt> ');
    program.end(5);
    expect(await session?.exit).toBe(0);
    await expect(made.runtime.attach?.(refTo('c'), { stdin: true, tty: false })).rejects.toThrow(
      'runs no command to attach to',
    );
  });

  it('an ephemeral container runs once; one that cannot run says why', async () => {
    const made = world();
    await made.runtime.start(podOf({ containers: [{ name: 'c', image: 'nginx' }] }));
    made.runtime.startEphemeral?.('u', shell('d', 'look'));
    (await made.program(0)).end(2);
    await expect.poll(() => made.changes).toEqual(['d running #0', 'd terminated 2 #0']);
    made.runtime.startEphemeral?.('u', { name: 'e', image: 'x', command: ['/no/such/program'] });
    expect(made.changes.at(-1)).toBe('e terminated 128 #0');
    expect(await logOf(made, 'e')).toContain('this machine has no program /no/such/program');
  });
});

describe('containers that the lab plays', () => {
  const agnhost = (name: string, args: string[], env: JsonObject[] = []): JsonObject => ({
    name,
    image: 'agnhost',
    command: ['/agnhost', ...args],
    env,
  });

  it('say what they would say; who came is in the log of the container that would listen', async () => {
    let opened: LabListener[] = [];
    const runtime = createPodRuntime({
      root: '/proc/1/ns/mnt',
      dns: '10.96.0.10',
      async call(method, params) {
        if (method === 'podWire')
          return { podIPs: ['10.244.1.2'], hostIP: '192.168.200.11', netns: '/run/netns/p' };
        if (method === 'podOpen') opened = (params as { ports: LabListener[] }).ports;
        if (method !== 'visits') return [];
        return [{ number: 1, at: 0, protocol: 'SCTP', port: 81, from: '10.244.1.9' }];
      },
    });
    await runtime.start(
      podOf({
        containers: [
          agnhost('first', ['serve-hostname', '--tcp', '--http=false', '--port=80']),
          agnhost('second', ['porter'], [{ name: 'SERVE_SCTP_PORT_81', value: 'foo' }]),
          agnhost('third', ['netexec'], [{ name: 'WHO', value: 'me' }]),
        ],
      }),
    );
    expect(
      opened.map(({ protocol, port, container }) => `${protocol}/${port} ${container}`),
    ).toEqual(['TCP/80 first', 'SCTP/81 second', 'TCP/8080 third', 'UDP/8081 third']);
    // Its /shell runs where programs of the container would.
    expect(opened[2]?.answer).toMatchObject({
      kind: 'netexec',
      name: 'p',
      place: { root: '/proc/1/ns/mnt', env: { WHO: 'me' }, resolver: { namespace: 'ns' } },
    });
    const world = { runtime } as World;
    expect(await logOf(world, 'second')).toContain('SCTP 81 from 10.244.1.9');
    expect(await logOf(world, 'first')).toBe('');
  });
});
