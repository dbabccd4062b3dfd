/**
 * Paths that are documents, not resources: version, health, discovery, OpenAPI.
 */
import type { ServerResponse } from 'node:http';
import {
  groupDocument,
  resourceList,
  rootDocument,
  serverVersion,
  type Document,
} from './discovery.ts';
import { openApiDocument, openApiIndex, openApiV2ContentType } from './openapi.ts';
import type { ApiRequest } from './request.ts';
import { pathNotFound } from './status.ts';

/** Answers a path that is not a resource. Error: 404. */
export function serveDocument(request: ApiRequest, response: ServerResponse): void {
  const document = documentAt(request);
  if (!document) throw pathNotFound();
  if (request.method !== 'GET' && request.method !== 'HEAD') throw pathNotFound();
  const headers = {
    'Content-Type': document.contentType,
    'Cache-Control': document.etag === undefined ? 'no-cache, private' : 'public',
    Vary: 'Accept',
    ...(document.etag === undefined ? {} : { ETag: document.etag }),
  };
  if (document.etag !== undefined && request.raw.headers['if-none-match'] === document.etag) {
    response.writeHead(304, headers).end();
    return;
  }
  response.writeHead(200, { ...headers, 'Content-Length': Buffer.byteLength(document.body) });
  response.end(document.body);
}

function documentAt(request: ApiRequest): Document | undefined {
  const { path } = request;
  const json = (body: string): Document => ({ contentType: 'application/json', body });
  const accept = request.accept ?? '';
  switch (path) {
    case '/version':
      return json(`${JSON.stringify(serverVersion)}\n`);
    case '/healthz':
    case '/livez':
    case '/readyz':
      return { contentType: 'text/plain; charset=utf-8', body: 'ok' };
    case '/api':
    case '/apis':
      return rootDocument(path === '/api', accept, request.raw.headers.host ?? '');
    case '/openapi/v3':
      return json(openApiIndex());
    case '/openapi/v2':
      return { contentType: openApiV2ContentType, body: '' };
    case '/':
      return json(JSON.stringify({ paths: ['/api', '/apis', '/openapi/v3', '/version'] }));
    default: {
      const steps = path.split('/').slice(1);
      if (path.startsWith('/openapi/v3/')) {
        const body = openApiDocument(steps.slice(2).join('/'));
        return body === undefined ? undefined : json(body);
      }
      if (steps[0] === 'api' && steps.length === 2) return resourceList('', steps[1] ?? '');
      if (steps[0] === 'apis' && steps.length === 2) return groupDocument(steps[1] ?? '');
      if (steps[0] === 'apis' && steps.length === 3)
        return resourceList(steps[1] ?? '', steps[2] ?? '');
      return undefined;
    }
  }
}
