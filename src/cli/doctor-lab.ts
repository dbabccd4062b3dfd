/**
 * The doctor's endpoints in a lab: two pods, and connections by a program inside the client's network.
 * Must not judge what it sees, and must not ask podwall's own counters.
 */
import { clientLabels, listenerLabels, type Attempt, type DoctorSite } from '../agent/doctor.ts';
import type { KubeObject } from '../k8s/types.ts';
import { LabRefusal, type Lab } from '../lab/index.ts';

const attemptMs = 500;

/** One connection; prints what it met. Arguments: address, port, time limit. */
const connectOnce = `
const [host, port, limit] = process.argv.slice(1);
const say = (what) => { process.stdout.write(what); process.exit(0); };
const socket = require('node:net').connect({ host, port: Number(port) }, () => say('open'));
socket.on('error', () => say('closed'));
setTimeout(() => say('closed'), Number(limit));
`;

function pod(
  namespace: string,
  name: string,
  labels: Readonly<Record<string, string>>,
  port: number,
  node: string | undefined,
): KubeObject {
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name, namespace, labels },
    spec: {
      ...(node === undefined ? {} : { nodeName: node }),
      containers: [{ name: 'doctor', image: 'doctor', ports: [{ containerPort: port }] }],
    },
  };
}

export function createLabSite(
  lab: Lab,
  place: { readonly namespace: string; readonly port: number; readonly node?: string | undefined },
): DoctorSite {
  const { namespace, port, node } = place;
  let address = '';
  return {
    async prepare() {
      await lab.apply([
        { apiVersion: 'v1', kind: 'Namespace', metadata: { name: namespace } },
        pod(namespace, 'listener', listenerLabels, port, node),
        pod(namespace, 'client', clientLabels, port, undefined),
      ]);
      const [listener] = await lab.get('Pod', { namespace, name: 'listener' });
      address = (listener?.status as { podIP?: string } | undefined)?.podIP ?? '';
      if (address === '') throw new Error(`pod ${namespace}/listener has no address`);
    },
    async add(policy) {
      await lab.apply([policy]);
    },
    async attempt(signal): Promise<Attempt> {
      const { code, stdout, stderr } = await lab.exec(
        `${namespace}/client`,
        [process.execPath, '-e', connectOnce, address, String(port), String(attemptMs)],
        { signal },
      );
      signal.throwIfAborted();
      if (code !== 0) throw new Error(`the client did not run: ${stderr.trim()}`);
      return stdout === 'open' ? 'open' : 'closed';
    },
    async cleanup() {
      try {
        await lab.delete([{ kind: 'Namespace', name: namespace }]);
      } catch (error) {
        // It never came to be.
        if (!(error instanceof LabRefusal)) throw error;
      }
    },
  };
}
