/**
 * The orders of the admin socket: which there are, and what each may say. An order that is
 * misspelt must not pass for a fault that never strikes. Must not know how orders are carried out.
 */
import type { FaultRule } from './faults.ts';
import { isObject, type JsonObject } from './object.ts';
import { resourceTypes } from './registry.ts';

/** Watches meant by an order; absent: every resource, every user. */
interface WatchChoice {
  /** Plural, `pods`. */
  readonly resource?: string;
  /** Name of the user of a token. */
  readonly user?: string;
}

/** What can be ordered. */
export type AdminOrder =
  | { readonly order: 'addFault'; readonly rule: FaultRule }
  | { readonly order: 'removeFault'; readonly id: string }
  /** Every rule goes, stalled watches flow again, pods get back addresses that were taken over. */
  | { readonly order: 'clearFaults' }
  | { readonly order: 'listFaults' }
  | ({
      readonly order:
        | 'closeWatches'
        | 'resetWatches'
        | 'stallWatches'
        | 'resumeWatches'
        | 'expireWatches'
        | 'repeatEvents';
    } & WatchChoice)
  /** Sends the last events again, old versions and all; default 10. */
  | ({ readonly order: 'replayEvents'; readonly count?: number } & WatchChoice)
  /** Forgets history: every resume from an older version gets 410. */
  | { readonly order: 'compact' }
  | { readonly order: 'skipVersions'; readonly count: number }
  | { readonly order: 'restart'; readonly downMs?: number }
  | { readonly order: 'addToken'; readonly user: string; readonly token?: string }
  | { readonly order: 'revokeToken'; readonly token: string }
  /** The user gets a new token, the old one gets 401 from now on; default `podwall-admin`. */
  | { readonly order: 'rotateToken'; readonly user?: string }
  /** The pod `to` takes the address of the pod `from` (`ns/name` each), as after a reuse. */
  | { readonly order: 'reuseAddress'; readonly from: string; readonly to: string }
  /** Sends the last state of the object again as a change, with a new version. */
  | { readonly order: 'touch'; readonly pod: string };

type Check = (value: unknown) => string | undefined;

const text: Check = (value) =>
  typeof value === 'string' && value !== '' ? undefined : 'must be a text that is not empty';
const flag: Check = (value) => (typeof value === 'boolean' ? undefined : 'must be true or false');
const whole =
  (least: number, most: number): Check =>
  (value) =>
    Number.isSafeInteger(value) && (value as number) >= least && (value as number) <= most
      ? undefined
      : `must be a whole number from ${least} to ${most}`;
const oneOf =
  (...values: readonly string[]): Check =>
  (value) =>
    values.includes(value as string) ? undefined : `must be one of ${values.join(', ')}`;

/** A rule for `pod` would never strike. */
const resource: Check = (value) => {
  if (resourceTypes.some(({ plural }) => plural === value)) return undefined;
  const meant = resourceTypes.find(
    ({ singular, kind, shortNames }) =>
      singular === value || kind === value || shortNames.includes(value as string),
  );
  return meant === undefined
    ? 'must be the plural of a resource served, as `kubectl api-resources` shows it'
    : `must be the plural, ${meant.plural}`;
};

const dayMs = 86_400_000;

/** Codes that are errors of an API server; others would be lies no client is made for. */
export const faultCodes: readonly number[] = [401, 403, 404, 409, 410, 429, 500, 502, 503, 504];

export const faultVerbs: readonly string[] = [
  'get',
  'list',
  'watch',
  'create',
  'update',
  'patch',
  'delete',
  'deletecollection',
];

const ruleFields: Readonly<Record<string, Check>> = {
  id: text,
  resource,
  verb: oneOf(...faultVerbs),
  user: text,
  probability: (value) =>
    typeof value === 'number' && value > 0 && value <= 1
      ? undefined
      : 'must be a number above 0 and at most 1',
  times: whole(1, 1e9),
  code: (value) =>
    faultCodes.includes(value as number) ? undefined : `must be one of ${faultCodes.join(', ')}`,
  retryAfterSeconds: whole(0, 3600),
  delayMs: whole(1, dayMs),
  reset: flag,
  pageSize: whole(1, 1e6),
  splitBytes: whole(1, 1e9),
  cutBytes: whole(0, 1e9),
  watchForMs: whole(1, dayMs),
  watchEnd: oneOf('close', 'reset', 'expire', 'stall'),
  noBookmarks: flag,
  noWatchList: flag,
  dropEndBookmark: flag,
  duplicate: flag,
  lateDeleteMs: whole(1, dayMs),
};

const matchFields = new Set(['id', 'resource', 'verb', 'user', 'probability', 'times']);

const choice = { resource, user: text };
const required = new Set(['rule', 'id', 'token', 'from', 'to', 'pod']);
const orders: Readonly<Record<string, Readonly<Record<string, Check>>>> = {
  addFault: { rule: checkRule },
  removeFault: { id: text },
  clearFaults: {},
  listFaults: {},
  closeWatches: choice,
  resetWatches: choice,
  stallWatches: choice,
  resumeWatches: choice,
  expireWatches: choice,
  repeatEvents: choice,
  replayEvents: { ...choice, count: whole(1, 100_000) },
  compact: {},
  skipVersions: { count: whole(1, 1e9) },
  restart: { downMs: whole(0, 600_000) },
  addToken: { user: text, token: text },
  revokeToken: { token: text },
  rotateToken: { user: text },
  reuseAddress: { from: text, to: text },
  touch: { pod: text },
};
/** Fields that are required by one order and optional in another. */
const requiredIn: Readonly<Record<string, readonly string[]>> = {
  addToken: ['user'],
  skipVersions: ['count'],
};

function checkRule(rule: unknown): string | undefined {
  if (!isObject(rule)) return 'must be an object';
  const fault = fieldFault(rule, ruleFields);
  if (fault !== undefined) return fault;
  const effects = Object.keys(rule).filter((field) => !matchFields.has(field));
  if (effects.length === 0) return 'has no effect: give code, delayMs, reset or another';
  if (rule['watchEnd'] !== undefined && rule['watchForMs'] === undefined)
    return 'watchEnd needs watchForMs';
  if (rule['retryAfterSeconds'] !== undefined && rule['code'] === undefined)
    return 'retryAfterSeconds needs code';
  if (rule['lateDeleteMs'] !== undefined) {
    if (effects.length > 1) return 'lateDeleteMs stands alone in its rule';
    if (rule['verb'] !== undefined || rule['user'] !== undefined)
      return 'lateDeleteMs takes no verb and no user';
    if (rule['resource'] !== undefined && rule['resource'] !== 'pods')
      return 'lateDeleteMs is about pods';
  }
  return undefined;
}

function fieldFault(
  value: JsonObject,
  fields: Readonly<Record<string, Check>>,
): string | undefined {
  for (const [field, given] of Object.entries(value)) {
    const check = Object.hasOwn(fields, field) ? fields[field] : undefined;
    if (check === undefined)
      return `has no field "${field}"; known: ${Object.keys(fields).join(', ') || 'none'}`;
    const fault = check(given);
    if (fault !== undefined) return fault.startsWith('has ') ? fault : `${field}: ${fault}`;
  }
  return undefined;
}

/** The order, if it is one. Throws an `Error` that says what is wrong with it. */
export function checkOrder(given: unknown): AdminOrder {
  if (!isObject(given)) throw new Error('an order is a JSON object');
  const { order, ...fields } = given;
  const known =
    typeof order === 'string' && Object.hasOwn(orders, order) ? orders[order] : undefined;
  if (typeof order !== 'string' || known === undefined)
    throw new Error(
      `unknown order ${JSON.stringify(order ?? null)}; known: ${Object.keys(orders).join(', ')}`,
    );
  const fault = fieldFault(fields, known);
  if (fault !== undefined) throw new Error(`${order}: ${fault}`);
  for (const field of Object.keys(known)) {
    const must = required.has(field) ? order !== 'addToken' : requiredIn[order]?.includes(field);
    if (must === true && fields[field] === undefined) throw new Error(`${order} needs ${field}`);
  }
  return given as unknown as AdminOrder;
}
