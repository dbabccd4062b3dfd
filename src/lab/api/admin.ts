/**
 * The admin socket: a Unix socket, apart from the API's port, on which tests and the lab order
 * faults. One JSON object each way.
 */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { rm } from 'node:fs/promises';
import { checkOrder, type AdminOrder } from './admin-orders.ts';
import { type ApiObject, at, type JsonObject, listAt, objectAt } from './object.ts';
import { kindOf } from './registry.ts';
import { adminUser, type ApiServer, type OpenWatch } from './server.ts';

export type { AdminOrder } from './admin-orders.ts';

/** What lies outside the server. */
export interface AdminHooks {
  /** A user has a new token: whoever hands it out does so now, before the answer. */
  onToken?(user: string, token: string): Promise<void>;
}

/** Carries out orders. An order that cannot be rejects; its message is the answer. */
export type Admin = (order: AdminOrder) => Promise<JsonObject>;

const replayedByDefault = 10;

export function createAdmin(server: ApiServer, hooks: AdminHooks = {}): Admin {
  const { store } = server.writer;
  const podType = kindOf('v1', 'Pod');
  /** Status fields that a reused address replaced, by key of the pod. */
  const taken = new Map<string, { readonly uid: string; readonly own: JsonObject }>();

  const chosen = ({ resource, user }: { resource?: string; user?: string }): OpenWatch[] =>
    [...server.watches].filter(
      (open) =>
        (resource === undefined || open.resource === resource) &&
        (user === undefined || open.user === user),
    );
  const podAt = (key: string): ApiObject => {
    const pod = store.get(podType.bucket, key);
    if (!pod) throw new Error(`no pod ${key}; name it NAMESPACE/POD`);
    return pod;
  };
  const addressesOf = (pod: ApiObject): JsonObject => ({
    podIP: at(pod, 'status', 'podIP'),
    podIPs: listAt(pod, 'status', 'podIPs'),
  });
  const setAddresses = (key: string, pod: ApiObject, addresses: JsonObject): void => {
    const status = { ...objectAt(pod, 'status'), ...addresses };
    store.put(podType.bucket, key, { ...pod, status });
  };
  /** Two pods with one address, as a late delete or a terminal pod leaves them behind. */
  const reuseAddress = (from: string, to: string): JsonObject => {
    const addresses = addressesOf(podAt(from));
    const target = podAt(to);
    if (addresses['podIP'] === undefined) throw new Error(`pod ${from} has no address yet`);
    const { uid = '' } = target.metadata;
    if (taken.get(to)?.uid !== uid) taken.set(to, { uid, own: addressesOf(target) });
    setAddresses(to, target, addresses);
    return { podIP: addresses['podIP'] };
  };
  const giveBack = (): number => {
    let count = 0;
    for (const [key, { uid, own }] of taken) {
      const pod = store.get(podType.bucket, key);
      if (pod?.metadata.uid !== uid) continue;
      setAddresses(key, pod, own);
      count += 1;
    }
    taken.clear();
    return count;
  };
  const onWatches = (order: AdminOrder & { resource?: string; user?: string }): JsonObject => {
    const watches = chosen(order);
    for (const open of watches)
      if (order.order === 'closeWatches') open.watch.close();
      else if (order.order === 'resetWatches') open.reset();
      else if (order.order === 'expireWatches') open.watch.expire();
      else if (order.order === 'repeatEvents') open.watch.repeat();
      else if (order.order === 'replayEvents') open.watch.replay(order.count ?? replayedByDefault);
      else open.watch.stall(order.order === 'stallWatches');
    return { watches: watches.length };
  };

  return async (order) => {
    switch (order.order) {
      case 'addFault':
        return { id: server.faults.add(order.rule) };
      case 'removeFault':
        if (!server.faults.remove(order.id)) throw new Error(`there is no fault ${order.id}`);
        return { removed: 1 };
      case 'clearFaults': {
        const removed = server.faults.list().length;
        server.faults.clear();
        const stalled = [...server.watches].filter(({ watch }) => watch.stalled());
        for (const { watch } of stalled) watch.stall(false);
        return { removed, resumed: stalled.length, addresses: giveBack() };
      }
      case 'listFaults':
        return {
          faults: server.faults.list(),
          watches: server.watches.size,
          stalled: [...server.watches].filter(({ watch }) => watch.stalled()).length,
          addresses: [...taken.keys()],
        };
      case 'closeWatches':
      case 'resetWatches':
      case 'stallWatches':
      case 'resumeWatches':
      case 'expireWatches':
      case 'repeatEvents':
      case 'replayEvents':
        return onWatches(order);
      case 'compact':
        store.compact();
        return { version: store.version() };
      case 'skipVersions':
        store.skipVersions(order.count);
        return { version: store.version() };
      case 'restart':
        await server.restart(order.downMs ?? 200);
        return {};
      case 'addToken':
        return {
          token: server.addToken(
            { name: order.user, groups: ['system:authenticated'] },
            order.token,
          ),
        };
      case 'revokeToken':
        server.revokeToken(order.token);
        return {};
      case 'rotateToken': {
        const user = order.user ?? adminUser;
        const { token, revoke } = server.rotateToken(user);
        await hooks.onToken?.(user, token);
        revoke();
        return { user, token };
      }
      case 'reuseAddress':
        return reuseAddress(order.from, order.to);
      case 'touch':
        store.put(podType.bucket, order.pod, podAt(order.pod));
        return {};
    }
  };
}

/** The longest order; it is an object of a few fields. */
const bodyLimit = 1 << 20;

async function readOrder(request: IncomingMessage): Promise<AdminOrder> {
  if (request.method !== 'POST') throw new Error('an order is a POST with a JSON object');
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of request as AsyncIterable<Buffer>) {
    size += chunk.length;
    if (size > bodyLimit) throw new Error('an order is not that long');
    chunks.push(chunk);
  }
  let given: unknown;
  try {
    given = JSON.parse(Buffer.concat(chunks).toString('utf8'));
  } catch {
    throw new Error('an order is a JSON object');
  }
  return checkOrder(given);
}

/** Listens at a path of the file system, for its owner only. */
export async function startAdminSocket(
  server: ApiServer,
  path: string,
  hooks: AdminHooks = {},
): Promise<{ stop(): Promise<void> }> {
  await rm(path, { force: true });
  const carryOut = createAdmin(server, hooks);
  const answer = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    let code = 200;
    let reply: JsonObject;
    try {
      reply = await carryOut(await readOrder(request));
    } catch (error) {
      code = 400;
      reply = { error: error instanceof Error ? error.message : String(error) };
    }
    response.writeHead(code, { 'Content-Type': 'application/json' });
    response.end(`${JSON.stringify(reply)}\n`);
  };
  const admin: Server = createServer((request, response) => void answer(request, response));
  await new Promise<void>((resolve, reject) => {
    admin.once('error', reject);
    // The socket is made inside `listen`: nobody else can open it in between.
    const before = process.umask(0o177);
    try {
      admin.listen(path, resolve);
    } finally {
      process.umask(before);
    }
  });
  return {
    stop: () =>
      new Promise((resolve) => {
        admin.closeAllConnections();
        admin.close(() => {
          resolve();
        });
      }),
  };
}
