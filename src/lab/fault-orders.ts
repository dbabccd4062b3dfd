/**
 * Sends orders for faults to the admin socket of a running lab's API. Must not know what the orders
 * do.
 */
import { request } from 'node:http';
import type { AdminOrder } from './api/admin-orders.ts';
import { LabError } from './errors.ts';
import { faultSocketPath } from './state-dir.ts';

export type { AdminOrder } from './api/admin-orders.ts';
export type { FaultRule, ListedFault } from './api/faults.ts';

/** The answer to an order. Throws `LabError` with the API's words when it refuses. */
export function orderFault(stateDir: string, order: AdminOrder): Promise<Record<string, unknown>> {
  const body = JSON.stringify(order);
  return new Promise((resolve, reject) => {
    const out = request(
      {
        socketPath: faultSocketPath(stateDir),
        method: 'POST',
        path: '/',
        agent: false,
        headers: { 'Content-Type': 'application/json', 'Content-Length': Buffer.byteLength(body) },
      },
      (reply) => {
        const chunks: Buffer[] = [];
        reply.on('data', (chunk: Buffer) => chunks.push(chunk));
        reply.on('error', reject);
        reply.on('end', () => {
          const answer = JSON.parse(Buffer.concat(chunks).toString('utf8')) as {
            readonly error?: string;
          };
          if (reply.statusCode === 200) resolve(answer);
          else reject(new LabError(answer.error ?? 'the API refused the order'));
        });
      },
    );
    out.on('error', (error: NodeJS.ErrnoException) => {
      const gone = error.code === 'ENOENT' || error.code === 'ECONNREFUSED';
      reject(gone ? new LabError('this lab has no API, or it has ended') : error);
    });
    out.end(body);
  });
}
