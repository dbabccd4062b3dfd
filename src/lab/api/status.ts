/**
 * Errors as the API server says them: a Status object with code, reason and causes. Knows no kind.
 */
import type { JsonObject } from './object.ts';

export interface StatusCause {
  reason: string;
  message: string;
  field?: string;
}

export interface StatusDetails {
  name?: string;
  group?: string;
  kind?: string;
  uid?: string;
  causes?: StatusCause[];
  retryAfterSeconds?: number;
}

/** Thrown anywhere below the router; becomes the reply. */
export class ApiError extends Error {
  readonly code: number;
  readonly reason: string;
  readonly details: StatusDetails | undefined;
  constructor(code: number, reason: string, message: string, details?: StatusDetails) {
    super(message);
    this.name = 'ApiError';
    this.code = code;
    this.reason = reason;
    this.details = details;
  }
}

/** Group and plural of a resource, for messages. */
export interface ResourceName {
  readonly group: string;
  readonly plural: string;
}

const qualified = (r: ResourceName): string =>
  r.group === '' ? r.plural : `${r.plural}.${r.group}`;
const detailsOf = (r: ResourceName, name: string): StatusDetails => ({
  name,
  ...(r.group === '' ? {} : { group: r.group }),
  kind: r.plural,
});

export function statusOf(error: ApiError): JsonObject {
  return {
    kind: 'Status',
    apiVersion: 'v1',
    metadata: {},
    status: 'Failure',
    message: error.message,
    reason: error.reason,
    ...(error.details ? { details: error.details } : {}),
    code: error.code,
  };
}

export const notFound = (r: ResourceName, name: string): ApiError =>
  new ApiError(404, 'NotFound', `${qualified(r)} "${name}" not found`, detailsOf(r, name));

export const pathNotFound = (): ApiError =>
  new ApiError(404, 'NotFound', 'the server could not find the requested resource', {});

export const alreadyExists = (r: ResourceName, name: string): ApiError =>
  new ApiError(
    409,
    'AlreadyExists',
    `${qualified(r)} "${name}" already exists`,
    detailsOf(r, name),
  );

export const conflict = (r: ResourceName, name: string, why?: string): ApiError =>
  new ApiError(
    409,
    'Conflict',
    `Operation cannot be fulfilled on ${qualified(r)} "${name}": ${
      why ??
      'the object has been modified; please apply your changes to the latest version and try again'
    }`,
    detailsOf(r, name),
  );

export const badRequest = (message: string): ApiError => new ApiError(400, 'BadRequest', message);

export const methodNotAllowed = (): ApiError =>
  new ApiError(
    405,
    'MethodNotAllowed',
    'the server does not allow this method on the requested resource',
    {},
  );

export const unsupportedMediaType = (type: string, accepted: readonly string[]): ApiError =>
  new ApiError(
    415,
    'UnsupportedMediaType',
    `the body of the request was in an unknown format - accepted media types include: ${accepted.join(', ')}${type === '' ? '' : ` (got ${type})`}`,
  );

export const notAcceptable = (accepted: readonly string[]): ApiError =>
  new ApiError(
    406,
    'NotAcceptable',
    `only the following media types are accepted: ${accepted.join(', ')}`,
  );

export const unauthorized = (): ApiError => new ApiError(401, 'Unauthorized', 'Unauthorized');

export const forbidden = (
  r: ResourceName,
  name: string,
  why: string,
  causes?: StatusCause[],
): ApiError =>
  new ApiError(
    403,
    'Forbidden',
    name === ''
      ? `${qualified(r)} is forbidden: ${why}`
      : `${qualified(r)} "${name}" is forbidden: ${why}`,
    { ...detailsOf(r, name), ...(causes ? { causes } : {}) },
  );

/** 410: the version asked for is no longer in the history, or a continue token is too old. */
export const expired = (message: string): ApiError => new ApiError(410, 'Expired', message);

/** 422 with one cause for each fault; `messages` are whole lines such as `spec.x: Required value`. */
export function invalid(
  kind: { readonly group: string; readonly kind: string },
  name: string,
  causes: readonly StatusCause[],
): ApiError {
  const lines = causes.map((cause) => `${cause.field ?? ''}: ${cause.message}`);
  const said = lines.length === 1 ? lines.join('') : `[${lines.join(', ')}]`;
  return new ApiError(
    422,
    'Invalid',
    `${kind.kind}${kind.group === '' ? '' : `.${kind.group}`} "${name}" is invalid: ${said}`,
    {
      name,
      ...(kind.group === '' ? {} : { group: kind.group }),
      kind: kind.kind,
      causes: [...causes],
    },
  );
}
