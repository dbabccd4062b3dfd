/**
 * The doctor's endpoints in a cluster: a namespace with a listener and a client that connects without
 * end and prints what it met; its log is read. Needs no exec. Must not judge what it reads.
 */
import type { Readable } from 'node:stream';
import { KubeApiError } from '../client/errors.ts';
import type { Connection } from '../client/transport.ts';
import type { KubeObject } from '../k8s/types.ts';
import { clientLabels, listenerLabels, type Attempt, type DoctorSite } from './doctor.ts';

export interface ClusterSiteOptions {
  readonly connection: Connection;
  readonly namespace: string;
  readonly port: number;
  /** An image with a shell; the default commands are those of BusyBox. */
  readonly image: string;
  /** Shell text; `$PORT` is set. Must listen on it until it is ended. */
  readonly serverCommand?: string | undefined;
  /** Shell text; `$HOST` and `$PORT` are set. One connection, exit code 0 when it opened. */
  readonly clientCommand?: string | undefined;
  /** Node for the listener; default: the scheduler decides. */
  readonly node?: string | undefined;
  /** How long pods may take to start, in milliseconds. Default 120,000. */
  readonly startMs?: number;
  readonly pollMs?: number;
}

const defaultServer = 'mkdir -p /tmp/www && exec httpd -f -p "$PORT" -h /tmp/www';
const defaultClient = 'nc -w 1 "$HOST" "$PORT" </dev/null >/dev/null 2>&1';

/** A client that says nothing for so long is taken for dead. */
const silenceMs = 30_000;

interface PodAnswer {
  readonly status?: {
    readonly phase?: string;
    readonly podIP?: string;
    readonly reason?: string;
    readonly containerStatuses?: readonly {
      readonly ready?: boolean;
      readonly state?: {
        readonly waiting?: { readonly reason?: string; readonly message?: string };
        readonly running?: object;
      };
    }[];
  };
}

export function createClusterSite(options: ClusterSiteOptions): DoctorSite {
  const { connection, namespace, port } = options;
  const inside = `/api/v1/namespaces/${encodeURIComponent(namespace)}`;
  let made = false;
  let log: Readable | undefined;
  let text = '';

  const create = (path: string, body: object, signal: AbortSignal): Promise<unknown> =>
    connection.request(path, { method: 'POST', body, signal });

  const startPod = async (
    name: string,
    labels: object,
    command: string,
    env: Readonly<Record<string, string>>,
    signal: AbortSignal,
  ): Promise<string> => {
    await create(`${inside}/pods`, podOf(name, labels, command, env, options), signal);
    const end = Date.now() + (options.startMs ?? 120_000);
    for (;;) {
      const pod = await connection.request<PodAnswer>(`${inside}/pods/${name}`, { signal });
      const { phase, podIP, containerStatuses = [] } = pod.status ?? {};
      const waiting = containerStatuses[0]?.state?.waiting;
      if (phase === 'Running' && podIP !== undefined && containerStatuses[0]?.ready !== false)
        return podIP;
      const why = waiting?.reason ?? pod.status?.reason ?? phase ?? 'no status';
      const hopeless = phase === 'Failed' || phase === 'Succeeded' || why === 'InvalidImageName';
      if (hopeless || Date.now() > end)
        throw new DoctorError(
          `pod ${namespace}/${name} does not run: ${why}${waiting?.message === undefined ? '' : `: ${waiting.message}`}`,
          'the image can be chosen with --image, the place with --node',
        );
      await pause(options.pollMs ?? 250, signal);
    }
  };

  /** Next line of the client's log. */
  const nextLine = async (signal: AbortSignal): Promise<string> => {
    const end = Date.now() + silenceMs;
    for (;;) {
      signal.throwIfAborted();
      if (Date.now() > end)
        throw new DoctorError(
          `pod ${namespace}/client printed nothing for ${silenceMs / 1000} s`,
          'the client command must end by itself; see --client-command',
        );
      const at = text.indexOf('\n');
      if (at >= 0) {
        const line = text.slice(0, at);
        text = text.slice(at + 1);
        return line;
      }
      try {
        log ??= await connection.open(`${inside}/pods/client/log`, {
          query: { follow: true, tailLines: 0 },
          accept: '*/*',
          signal,
        });
        const chunk = await read(log, silenceMs);
        if (chunk !== undefined) {
          text += chunk;
          continue;
        }
      } catch (error) {
        if (error instanceof KubeApiError && error.status === 403) throw error;
      }
      // The server ends long streams, and connections break: once more from now on.
      signal.throwIfAborted();
      log?.destroy();
      log = undefined;
      text = '';
      await pause(options.pollMs ?? 250, signal);
    }
  };

  return {
    async prepare(signal) {
      // Made as soon as the server may have seen it: an abort in between must not leave it behind.
      made = true;
      await create(
        '/api/v1/namespaces',
        {
          apiVersion: 'v1',
          kind: 'Namespace',
          metadata: { name: namespace, labels: { 'app.kubernetes.io/name': 'podwall-doctor' } },
        },
        signal,
      );
      const host = await startPod(
        'listener',
        listenerLabels,
        options.serverCommand ?? defaultServer,
        { PORT: String(port) },
        signal,
      );
      const once = options.clientCommand ?? defaultClient;
      await startPod(
        'client',
        clientLabels,
        `while :; do if ${once}; then echo open; else echo closed; fi; sleep 0.1; done`,
        { HOST: host, PORT: String(port) },
        signal,
      );
    },
    async add(policy: KubeObject, signal) {
      await create(
        `/apis/networking.k8s.io/v1/namespaces/${encodeURIComponent(namespace)}/networkpolicies`,
        policy,
        signal,
      );
    },
    async attempt(signal): Promise<Attempt> {
      // What was printed meanwhile is over.
      text = '';
      // The connection under way may have begun before; the one after it did not.
      await nextLine(signal);
      return (await nextLine(signal)).trim() === 'open' ? 'open' : 'closed';
    },
    async cleanup() {
      log?.destroy();
      if (!made) return;
      made = false;
      try {
        await connection.request(`/api/v1/namespaces/${encodeURIComponent(namespace)}`, {
          method: 'DELETE',
          timeoutMs: 15_000,
        });
      } catch (error) {
        if (error instanceof KubeApiError && error.status === 404) return;
        const why = error instanceof Error ? error.message : String(error);
        throw new DoctorError(
          `namespace ${namespace} could not be deleted (${why}); kubectl delete namespace ${namespace}`,
          '',
        );
      }
    },
  };
}

/** The examination could not be carried out; `hint` says what may help. */
export class DoctorError extends Error {
  override readonly name = 'DoctorError';
  readonly hint: string;
  constructor(message: string, hint: string) {
    super(message);
    this.hint = hint;
  }
}

function podOf(
  name: string,
  labels: object,
  command: string,
  env: Readonly<Record<string, string>>,
  options: ClusterSiteOptions,
): object {
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name, namespace: options.namespace, labels },
    spec: {
      ...(options.node === undefined || name !== 'listener' ? {} : { nodeName: options.node }),
      restartPolicy: 'Always',
      terminationGracePeriodSeconds: 0,
      automountServiceAccountToken: false,
      enableServiceLinks: false,
      // As the strictest pod security standard asks.
      securityContext: {
        runAsNonRoot: true,
        runAsUser: 65534,
        seccompProfile: { type: 'RuntimeDefault' },
      },
      containers: [
        {
          name: 'doctor',
          image: options.image,
          command: ['sh', '-c', command],
          env: Object.entries(env).map(([key, value]) => ({ name: key, value })),
          resources: {
            requests: { cpu: '10m', memory: '16Mi' },
            limits: { memory: '64Mi' },
          },
          securityContext: {
            allowPrivilegeEscalation: false,
            capabilities: { drop: ['ALL'] },
          },
        },
      ],
    },
  };
}

function pause(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const abort = (): void => {
      clearTimeout(timer);
      reject(signal.reason as Error);
    };
    const timer = setTimeout(() => {
      signal.removeEventListener('abort', abort);
      resolve();
    }, ms);
    signal.addEventListener('abort', abort, { once: true });
  });
}

/** The next piece of a stream; undefined at its end, when it breaks, or after `withinMs` without a byte. */
function read(stream: Readable, withinMs: number): Promise<string | undefined> {
  return new Promise((resolve) => {
    const finish = (result: string | undefined): void => {
      clearTimeout(timer);
      stream.off('data', onData).off('end', onEnd).off('close', onEnd);
      stream.pause();
      resolve(result);
    };
    const onData = (chunk: Buffer): void => finish(chunk.toString('utf8'));
    const onEnd = (): void => finish(undefined);
    const timer = setTimeout(onEnd, withinMs);
    // Stays for good: a stream that breaks between two reads must not end the process.
    if (stream.listenerCount('error') === 0) stream.on('error', () => {});
    stream.on('data', onData).once('end', onEnd).once('close', onEnd);
    if (stream.destroyed || stream.readableEnded) onEnd();
    else stream.resume();
  });
}
