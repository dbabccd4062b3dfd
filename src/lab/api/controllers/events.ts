/**
 * Records what happened to an object as an Event; repeats are counted, not added.
 */
import { type ApiObject, numberAt, stringAt, timestamp } from '../object.ts';
import { kindOf } from '../registry.ts';
import { keyOf } from '../resource.ts';
import type { Writer } from '../write.ts';

export type Recorder = (
  about: ApiObject,
  type: 'Normal' | 'Warning',
  reason: string,
  message: string,
) => void;

/** A recorder for one component, `kubelet`. An event lost to a vanished namespace is no error. */
export function createRecorder(writer: Writer, component: string, host = ''): Recorder {
  const eventType = kindOf('v1', 'Event');
  const known = new Map<string, string>();
  return (about, type, reason, message) => {
    const namespace = about.metadata.namespace ?? 'default';
    const fingerprint = `${about.metadata.uid ?? ''} ${reason} ${message}`;
    const now = timestamp(writer.now());
    const earlier = known.get(fingerprint);
    try {
      if (
        earlier !== undefined &&
        writer.store.get(eventType.bucket, keyOf(eventType, namespace, earlier))
      ) {
        writer.update(eventType, namespace, earlier, (old) => ({
          ...old,
          count: (numberAt(old, 'count') ?? 1) + 1,
          lastTimestamp: now,
        }));
        return;
      }
      const name = `${about.metadata.name}.${writer.store.version().toString(16).padStart(16, '0')}`;
      if (known.size > 5000) known.clear();
      known.set(fingerprint, name);
      writer.create(eventType, namespace, {
        apiVersion: 'v1',
        kind: 'Event',
        metadata: { name },
        involvedObject: {
          kind: about.kind,
          namespace: about.metadata.namespace,
          name: about.metadata.name,
          uid: about.metadata.uid,
          apiVersion: about.apiVersion,
          resourceVersion: about.metadata.resourceVersion,
        },
        reason,
        message,
        source: { component, ...(host === '' ? {} : { host }) },
        firstTimestamp: now,
        lastTimestamp: now,
        count: 1,
        type,
        eventTime: null,
        reportingComponent: component,
        reportingInstance: host,
      });
    } catch {
      // The namespace is going or gone.
    }
  };
}

/** Events live for an hour, as on a real server; looks once a minute. */
export function startEventExpiry(writer: Writer, lifetimeMs: number = 3_600_000): { stop(): void } {
  const { bucket } = kindOf('v1', 'Event');
  const timer = setInterval(
    () => {
      const oldest = writer.now() - lifetimeMs;
      for (const event of writer.store.list(bucket).objects) {
        const seen = stringAt(event, 'lastTimestamp') || (event.metadata.creationTimestamp ?? '');
        if (Date.parse(seen) < oldest)
          writer.store.remove(bucket, `${event.metadata.namespace ?? ''}/${event.metadata.name}`);
      }
    },
    Math.min(60_000, lifetimeMs),
  ).unref();
  return {
    stop() {
      clearInterval(timer);
    },
  };
}
