/**
 * The three ways in which talking to an API server fails: its answer (a `Status`), the way there,
 * and the configuration. Knows nothing of retries; callers decide.
 */

/** The `details` of a `Status` answer, as far as podwall reads them. */
export interface StatusDetails {
  readonly name?: string;
  readonly group?: string;
  readonly kind?: string;
  readonly uid?: string;
  readonly retryAfterSeconds?: number;
  readonly causes?: readonly {
    readonly reason?: string;
    readonly message?: string;
    readonly field?: string;
  }[];
}

const reasonOfStatus: Readonly<Record<number, string>> = {
  400: 'BadRequest',
  401: 'Unauthorized',
  403: 'Forbidden',
  404: 'NotFound',
  405: 'MethodNotAllowed',
  406: 'NotAcceptable',
  409: 'Conflict',
  410: 'Expired',
  415: 'UnsupportedMediaType',
  422: 'Invalid',
  429: 'TooManyRequests',
  500: 'InternalError',
  503: 'ServiceUnavailable',
  504: 'Timeout',
};

/** An answer of the API server that is not a success. `message` is the server's own. */
export class KubeApiError extends Error {
  /** HTTP status, or the `code` of a Status that came inside a watch. */
  readonly status: number;
  readonly reason: string;
  readonly details: StatusDetails | undefined;
  /** Seconds that the server asks to wait before the next try. */
  readonly retryAfter: number | undefined;
  /** `metadata.continue` of a 410 on a paged list: a token for an inconsistent rest. */
  readonly continueToken: string | undefined;

  constructor(fields: {
    status: number;
    reason?: string | undefined;
    message: string;
    details?: StatusDetails | undefined;
    retryAfter?: number | undefined;
    continueToken?: string | undefined;
  }) {
    super(fields.message);
    this.name = 'KubeApiError';
    this.status = fields.status;
    this.reason = fields.reason || (reasonOfStatus[fields.status] ?? 'Unknown');
    this.details = fields.details;
    this.retryAfter = fields.retryAfter ?? fields.details?.retryAfterSeconds;
    this.continueToken = fields.continueToken;
  }

  /** True for 410 in both of its spellings: the history that was asked for is gone. */
  get expired(): boolean {
    return this.status === 410 || this.reason === 'Expired' || this.reason === 'Gone';
  }
}

/** The server could not be reached, or the connection broke. `code` is Node's (`ECONNREFUSED`) or our own. */
export class ConnectionError extends Error {
  readonly code: string;

  constructor(message: string, code: string, cause?: unknown) {
    super(message, cause === undefined ? undefined : { cause });
    this.name = 'ConnectionError';
    this.code = code;
  }
}

/** A fault in kubeconfig, credentials or the in-cluster environment; the message names file and field. */
export class KubeconfigError extends Error {
  readonly hint: string | undefined;

  constructor(message: string, hint?: string, cause?: unknown) {
    super(message, cause === undefined ? undefined : { cause });
    this.name = 'KubeconfigError';
    this.hint = hint;
  }
}

interface StatusBody {
  readonly kind?: string;
  readonly message?: string;
  readonly reason?: string;
  readonly code?: number;
  readonly details?: StatusDetails | null;
  readonly metadata?: { readonly continue?: string } | null;
}

/** Reads a `Status` (or whatever a proxy sent in its place) into an error. */
export function errorOfStatus(status: number, body: unknown, retryAfter?: number): KubeApiError {
  if (typeof body === 'object' && body !== null && (body as StatusBody).kind === 'Status') {
    const answer = body as StatusBody;
    const code = typeof answer.code === 'number' && answer.code > 0 ? answer.code : status;
    return new KubeApiError({
      status: code,
      reason: typeof answer.reason === 'string' ? answer.reason : undefined,
      message: answer.message || `the server answered ${code}`,
      details: answer.details ?? undefined,
      retryAfter,
      continueToken: answer.metadata?.continue || undefined,
    });
  }
  const text = typeof body === 'string' ? body.replace(/\s+/g, ' ').trim().slice(0, 200) : '';
  const message = `the server answered ${status}${text === '' ? '' : `: ${text}`}`;
  return new KubeApiError({ status, message, retryAfter });
}

/** The error to report when `error` may be anything. */
export function errorText(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
