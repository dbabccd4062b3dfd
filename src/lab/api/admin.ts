/**
 * The admin socket: a Unix socket, apart from the API's port, on which tests and the lab order
 * faults. One JSON object each way.
 */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { chmod, rm } from 'node:fs/promises';
import type { FaultRule } from './faults.ts';
import { at, isObject, type JsonObject, listAt, objectAt, stringAt } from './object.ts';
import { kindOf } from './registry.ts';
import type { ApiServer, OpenWatch } from './server.ts';

/** What can be ordered; `resource` and `user` narrow the watches meant. */
export type AdminOrder =
  | { readonly order: 'addFault'; readonly rule: FaultRule }
  | { readonly order: 'removeFault'; readonly id: string }
  | { readonly order: 'clearFaults' }
  | { readonly order: 'listFaults' }
  | {
      readonly order:
        | 'closeWatches'
        | 'resetWatches'
        | 'stallWatches'
        | 'resumeWatches'
        | 'expireWatches'
        | 'repeatEvents';
      readonly resource?: string;
      readonly user?: string;
    }
  /** Forgets history: every resume from an older version gets 410. */
  | { readonly order: 'compact' }
  | { readonly order: 'skipVersions'; readonly count: number }
  | { readonly order: 'restart'; readonly downMs?: number }
  | { readonly order: 'addToken'; readonly user: string; readonly token?: string }
  | { readonly order: 'revokeToken'; readonly token: string }
  /** The pod `to` takes the address of the pod `from` (`ns/name` each), as after a reuse. */
  | { readonly order: 'reuseAddress'; readonly from: string; readonly to: string }
  /** Sends the last state of the object again as a change, with a new version. */
  | { readonly order: 'touch'; readonly pod: string };

/** Carries out an order. Error: its message is the answer. */
export async function carryOut(server: ApiServer, order: AdminOrder): Promise<JsonObject> {
  const chosen = (resource?: string, user?: string): OpenWatch[] =>
    [...server.watches].filter(
      (open) =>
        (resource === undefined || open.resource === resource) &&
        (user === undefined || open.user === user),
    );
  switch (order.order) {
    case 'addFault':
      return { id: server.faults.add(order.rule) };
    case 'removeFault':
      return { removed: server.faults.remove(order.id) };
    case 'clearFaults':
      server.faults.clear();
      return {};
    case 'listFaults':
      return { faults: server.faults.list() };
    case 'closeWatches':
    case 'resetWatches':
    case 'stallWatches':
    case 'resumeWatches':
    case 'expireWatches':
    case 'repeatEvents': {
      const watches = chosen(order.resource, order.user);
      for (const open of watches)
        if (order.order === 'closeWatches') open.watch.close();
        else if (order.order === 'resetWatches') open.reset();
        else if (order.order === 'expireWatches') open.watch.expire();
        else if (order.order === 'repeatEvents') open.watch.repeat();
        else open.watch.stall(order.order === 'stallWatches');
      return { watches: watches.length };
    }
    case 'compact':
      server.writer.store.compact();
      return { version: server.writer.store.version() };
    case 'skipVersions':
      server.writer.store.skipVersions(order.count);
      return { version: server.writer.store.version() };
    case 'restart':
      await server.restart(order.downMs ?? 200);
      return {};
    case 'addToken':
      return {
        token: server.addToken({ name: order.user, groups: ['system:authenticated'] }, order.token),
      };
    case 'revokeToken':
      server.revokeToken(order.token);
      return {};
    case 'reuseAddress':
      return reuseAddress(server, order.from, order.to);
    case 'touch': {
      const { bucket } = kindOf('v1', 'Pod');
      const pod = server.writer.store.get(bucket, order.pod);
      if (!pod) throw new Error(`no pod ${order.pod}`);
      server.writer.store.put(bucket, order.pod, pod);
      return {};
    }
    default:
      throw new Error(`unknown order ${stringAt(order, 'order')}`);
  }
}

/** Two pods with one address, as a late delete or a terminal pod leaves them behind. */
function reuseAddress(server: ApiServer, from: string, to: string): JsonObject {
  const { store } = server.writer;
  const { bucket } = kindOf('v1', 'Pod');
  const source = store.get(bucket, from);
  const target = store.get(bucket, to);
  if (!source || !target) throw new Error(`no pod ${source ? to : from}`);
  const status = {
    ...objectAt(target, 'status'),
    podIP: at(source, 'status', 'podIP'),
    podIPs: listAt(source, 'status', 'podIPs'),
  };
  store.put(bucket, to, { ...target, status });
  return { podIP: status.podIP };
}

/** Listens at a path of the file system, for its owner only. */
export async function startAdminSocket(
  server: ApiServer,
  path: string,
): Promise<{ stop(): Promise<void> }> {
  await rm(path, { force: true });
  const answer = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    const chunks: Buffer[] = [];
    for await (const chunk of request as AsyncIterable<Buffer>) chunks.push(chunk);
    let code = 200;
    let reply: JsonObject;
    try {
      const order: unknown = JSON.parse(Buffer.concat(chunks).toString('utf8'));
      if (!isObject(order)) throw new Error('an order is a JSON object');
      reply = await carryOut(server, order as unknown as AdminOrder);
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
    admin.listen(path, resolve);
  });
  await chmod(path, 0o600);
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
