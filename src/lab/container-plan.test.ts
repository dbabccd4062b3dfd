import { describe, expect, it } from 'vitest';
import type { Container, Pod } from '../k8s/types.ts';
import { agnhostPorts, planPod } from './container-plan.ts';

const path = '/usr/bin:/bin';

const pod = (...containers: Container[]): Pod => ({
  apiVersion: 'v1',
  kind: 'Pod',
  metadata: { namespace: 'a', name: 'b' },
  spec: { containers },
});

describe('what a container is on a machine without its image', () => {
  it('a program of the machine is run, with its arguments', () => {
    const plan = planPod(
      pod({
        name: 'c',
        image: 'busybox',
        command: ['sh', '-c'],
        args: ['exit 3'],
        ports: [{ containerPort: 80 }],
      }),
      path,
    );
    expect(plan).toEqual({
      init: [],
      commands: [{ container: 'c', argv: ['sh', '-c', 'exit 3'] }],
      ports: [],
    });
  });

  it('a program that is not there, or arguments of an image: its ports answer', () => {
    const ports = [{ containerPort: 9000 }, { containerPort: 9000, protocol: 'UDP' as const }];
    for (const container of [
      { command: ['/app/server-of-an-image'] },
      { args: ['--verbose'] },
      { args: ['no-program-of-this-name'] },
      {},
    ]) {
      const plan = planPod(pod({ name: 'c', image: 'shop/cart', ports, ...container }), path);
      expect(plan.commands).toEqual([]);
      expect(plan.ports).toEqual([
        { protocol: 'TCP', port: 9000 },
        { protocol: 'UDP', port: 9000 },
      ]);
    }
  });

  it('TCP 80 for a pod that says nothing, no listener beside a command', () => {
    expect(planPod(pod({ name: 'c', image: 'nginx' }), path).ports).toEqual([
      { protocol: 'TCP', port: 80 },
    ]);
    expect(planPod(pod({ name: 'c', image: 'x', args: ['sleep', '1'] }), path).ports).toEqual([]);
  });

  it('agnhost servers become listeners that answer as they would', () => {
    const plan = planPod(
      pod(
        {
          name: 'tcp',
          command: ['/agnhost', 'serve-hostname', '--tcp', '--http=false', '--port', '80'],
        },
        {
          name: 'udp',
          command: ['/agnhost', 'serve-hostname', '--udp', '--http=false', '--port=81'],
        },
        {
          name: 'sctp',
          command: ['/agnhost', 'porter'],
          env: [{ name: 'SERVE_SCTP_PORT_80', value: 'foo' }],
        },
        { name: 'refuses', command: ['/agnhost', 'serve-hostname', '--udp'] },
      ),
      path,
    );
    expect(plan.ports).toEqual([
      {
        protocol: 'TCP',
        port: 80,
        answer: { kind: 'hostname', name: 'b', raw: true },
        container: 'tcp',
      },
      { protocol: 'UDP', port: 81, answer: { kind: 'hostname', name: 'b' }, container: 'udp' },
      { protocol: 'SCTP', port: 80, answer: { kind: 'text', text: 'foo' }, container: 'sctp' },
    ]);
    expect(agnhostPorts(['serve-hostname'], {}, 'b')).toEqual([
      { protocol: 'TCP', port: 9376, answer: { kind: 'hostname', name: 'b' } },
    ]);
    const netexec = { kind: 'netexec', name: 'b' };
    expect(agnhostPorts(['netexec'], {}, 'b')).toEqual([
      { protocol: 'TCP', port: 8080, answer: netexec },
      { protocol: 'UDP', port: 8081, answer: netexec },
    ]);
    expect(agnhostPorts(['netexec', '--udp-port', '-1', '--sctp-port=9'], {}, 'b')).toEqual([
      { protocol: 'TCP', port: 8080, answer: netexec },
      { protocol: 'SCTP', port: 9, answer: netexec },
    ]);
    const env = { SERVE_PORT_1: 'a', SERVE_UDP_PORT_2: 'b', SERVE_TLS_PORT_3: 'c', OTHER: 'd' };
    expect(
      agnhostPorts(['porter'], env, 'b').map(({ protocol, port }) => `${protocol}/${port}`),
    ).toEqual(['TCP/1', 'UDP/2', 'TCP/3']);
    expect(agnhostPorts(['pause'], {}, 'b')).toEqual([]);
  });

  it('without a path nothing is run', () => {
    expect(planPod(pod({ name: 'c', command: ['sh'] }), '').commands).toEqual([]);
  });

  it('init containers: a program is run, what needs an image or a volume says why it is not', () => {
    const init = (container: Omit<Container, 'name'> & { volumeMounts?: unknown[] }): unknown => {
      const { spec, ...rest } = pod({ name: 'c' });
      const initContainers = [{ name: 'i', ...container }];
      return planPod({ ...rest, spec: { ...spec, initContainers } }, path).init[0];
    };
    const argv = ['sh', '-c', 'true'];
    const command = { container: 'i', argv };
    expect(init({ command: argv })).toEqual({ container: 'i', sidecar: false, command });
    expect(init({ command: argv, restartPolicy: 'Always' })).toMatchObject({ sidecar: true });
    expect(init({ command: argv, volumeMounts: [{}] })).toMatchObject({
      note: expect.stringContaining('volumes') as string,
    });
    expect(init({ command: ['/app/migrate'] })).toMatchObject({
      note: expect.stringContaining('the program /app/migrate') as string,
    });
    expect(init({ image: 'shop/init' })).toMatchObject({
      note: expect.stringContaining('its image') as string,
    });
  });
});
