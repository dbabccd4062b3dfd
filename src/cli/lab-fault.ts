/**
 * `podwall lab fault …`: trouble on order in the API of the running lab. Turns command lines into
 * orders and answers into text. Must not know how a fault is made.
 */
import type { Command } from 'commander';
import type { AdminOrder, FaultRule, ListedFault } from '../lab/fault-orders.ts';
import { CliError, type ExitCode, type Io } from './command.ts';

type Options = Record<string, unknown>;
type Effect = Omit<FaultRule, 'id' | 'resource' | 'verb' | 'user' | 'probability' | 'times'>;

export function declareFault(command: Command): void {
  command
    .command('fault')
    .description('Trouble on order: spoil requests and watches of the API of the running lab.')
    .argument('<fault>', 'what goes wrong, see below; list and clear show and end it')
    .argument('[value...]', 'of the fault')
    .option('--resource <plural>', 'only requests on this, for example pods')
    .option('--verb <verb>', 'only get, list, watch, create, update, patch, delete, …')
    .option('--user <name>', 'only of podwall-admin (kubeconfig) or podwall-agent (--agents)')
    .option('--times <n>', 'strike this often, then never again (default without end)')
    .option('--probability <p>', 'strike by chance, above 0 up to 1 (default 1)')
    .option('--retry-after <seconds>', 'what the answer of `code` says about coming again')
    .option('--end <how>', 'how `short` ends watches: close, reset, expire or stall', 'close')
    .option('-o, --output <format>', 'text or json', 'text')
    .addHelpText(
      'after',
      `
Watches that are open now:
  close, reset        they end in order, or by a cut connection
  expire              they end with 410: who follows has to list again
  stall, resume       nothing comes any more, until resume
  repeat, replay [n]  the last event, or the last n (10), come again
Requests from now on, until cleared:
  code <code>         401, 403, 404, 409, 410, 429, 500, 502, 503 or 504
  cut                 the connection is cut instead of an answer
  slow <ms>           answers come late
  pages <n>           lists come in pages of at most n
  split <bytes>       answers come in pieces
  partial <bytes>     answers break off after so many bytes
  short <ms>          watches end after so long
  duplicate           every event of a watch comes twice
  no-bookmarks, no-watchlist, no-end-bookmark
  late-delete <ms>    pods stay known after their address is free
At once:
  compact             history is forgotten: who resumes gets 410
  skip <n>            resource versions jump
  restart [ms]        connections are cut, and refused for so long (200)
  rotate-token        new token in the kubeconfig, the old one gets 401
  reuse-ip <from> <to>  pod <to> is said to have the address of pod <from>

Examples:
  podwall lab fault code 429 --retry-after 2 --times 5
  podwall lab fault code 403 --resource networkpolicies
  podwall lab fault slow 3000 --resource pods --verb list
  podwall lab fault short 5000 --end reset --probability 0.5
  podwall lab fault expire --resource pods
  podwall lab fault rotate-token --user podwall-agent
  podwall lab fault list
  podwall lab fault clear`,
    );
}

interface Given {
  readonly what: string;
  readonly values: readonly string[];
  readonly options: Options;
}

/** Fault of a rule by the word for it; `unit` says what its value counts. */
const rules: Readonly<
  Record<string, { readonly unit?: string; effect(value: number, options: Options): Effect }>
> = {
  code: {
    unit: 'code',
    effect: (code, options) => {
      const after = numberOf(options, 'retryAfter', '--retry-after');
      return { code, ...(after === undefined ? {} : { retryAfterSeconds: after }) };
    },
  },
  cut: { effect: () => ({ reset: true }) },
  slow: { unit: 'ms', effect: (delayMs) => ({ delayMs }) },
  pages: { unit: 'n', effect: (pageSize) => ({ pageSize }) },
  split: { unit: 'bytes', effect: (splitBytes) => ({ splitBytes }) },
  partial: { unit: 'bytes', effect: (cutBytes) => ({ cutBytes }) },
  short: {
    unit: 'ms',
    effect: (watchForMs, options) => ({
      watchForMs,
      watchEnd: options['end'] as NonNullable<FaultRule['watchEnd']>,
    }),
  },
  duplicate: { effect: () => ({ duplicate: true }) },
  'no-bookmarks': { effect: () => ({ noBookmarks: true }) },
  'no-watchlist': { effect: () => ({ noWatchList: true }) },
  'no-end-bookmark': { effect: () => ({ dropEndBookmark: true }) },
  'late-delete': { unit: 'ms', effect: (lateDeleteMs) => ({ lateDeleteMs }) },
};

const watchOrders = {
  close: 'closeWatches',
  reset: 'resetWatches',
  expire: 'expireWatches',
  stall: 'stallWatches',
  resume: 'resumeWatches',
  repeat: 'repeatEvents',
} as const;

const others = [
  'replay',
  'compact',
  'skip',
  'restart',
  'rotate-token',
  'reuse-ip',
  'list',
  'clear',
];

/** Options that say something in an order of each kind. */
const optionsOf = {
  rule: ['resource', 'verb', 'user', 'times', 'probability'],
  watches: ['resource', 'user'],
};

function numberOf(options: Options, key: string, flag: string): number | undefined {
  const text = options[key] as string | undefined;
  if (text === undefined) return undefined;
  const value = Number(text);
  if (text.trim() === '' || !Number.isFinite(value)) {
    throw new CliError(`${flag} ${text} is no number`, 2);
  }
  return value;
}

function valueOf({ what, values }: Given, unit: string): number {
  const [text = ''] = values;
  if (/^\d+$/.test(text)) return Number(text);
  throw new CliError(
    `fault ${what} needs a whole number`,
    2,
    `podwall lab fault ${what} <${unit}>; see podwall lab fault --help`,
  );
}

/** A fault must not be ordered with an option that changes nothing. */
function onlyOptions({ what, options }: Given, known: readonly string[]): void {
  const flags: Readonly<Record<string, string>> = { retryAfter: 'retry-after' };
  for (const key of ['resource', 'verb', 'user', 'times', 'probability', 'retryAfter', 'end']) {
    if (options[key] === undefined || known.includes(key)) continue;
    // It has a default.
    if (key === 'end' && options[key] === 'close') continue;
    throw new CliError(`fault ${what} takes no --${flags[key] ?? key}`, 2);
  }
}

function textOptions(options: Options, keys: readonly string[]): Record<string, string> {
  return Object.fromEntries(
    keys.flatMap((key) => (options[key] === undefined ? [] : [[key, options[key] as string]])),
  );
}

/** At most so many words after the fault's name. */
function onlyValues({ what, values }: Given, most: number): void {
  if (values.length > most)
    throw new CliError(`fault ${what}: too many words: ${values.join(' ')}`);
}

function orderOf(given: Given): AdminOrder {
  const { what, values, options } = given;
  const rule = Object.hasOwn(rules, what) ? rules[what] : undefined;
  if (rule !== undefined) {
    const own = what === 'code' ? ['retryAfter'] : what === 'short' ? ['end'] : [];
    onlyOptions(given, [...optionsOf.rule, ...own]);
    onlyValues(given, rule.unit === undefined ? 0 : 1);
    const effect = rule.effect(rule.unit === undefined ? 0 : valueOf(given, rule.unit), options);
    const times = numberOf(options, 'times', '--times');
    const probability = numberOf(options, 'probability', '--probability');
    return {
      order: 'addFault',
      rule: {
        ...effect,
        ...textOptions(options, ['resource', 'verb', 'user']),
        ...(times === undefined ? {} : { times }),
        ...(probability === undefined ? {} : { probability }),
      },
    };
  }
  if (Object.hasOwn(watchOrders, what)) {
    onlyOptions(given, optionsOf.watches);
    onlyValues(given, 0);
    const order = watchOrders[what as keyof typeof watchOrders];
    return { order, ...textOptions(options, ['resource', 'user']) };
  }
  return otherOrder(given, values);
}

function otherOrder(given: Given, values: readonly string[]): AdminOrder {
  const { what, options } = given;
  switch (what) {
    case 'replay':
      onlyOptions(given, optionsOf.watches);
      onlyValues(given, 1);
      return {
        order: 'replayEvents',
        ...textOptions(options, ['resource', 'user']),
        ...(values.length === 0 ? {} : { count: valueOf(given, 'n') }),
      };
    case 'compact':
      onlyOptions(given, []);
      onlyValues(given, 0);
      return { order: 'compact' };
    case 'skip':
      onlyOptions(given, []);
      onlyValues(given, 1);
      return { order: 'skipVersions', count: valueOf(given, 'n') };
    case 'restart':
      onlyOptions(given, []);
      onlyValues(given, 1);
      return {
        order: 'restart',
        ...(values.length === 0 ? {} : { downMs: valueOf(given, 'ms') }),
      };
    case 'rotate-token':
      onlyOptions(given, ['user']);
      onlyValues(given, 0);
      return { order: 'rotateToken', ...textOptions(options, ['user']) };
    case 'reuse-ip': {
      onlyOptions(given, []);
      onlyValues(given, 2);
      const [from = '', to = ''] = values;
      if (from === '' || to === '') {
        throw new CliError('fault reuse-ip needs two pods', 2, 'reuse-ip NS/POD NS/POD');
      }
      return { order: 'reuseAddress', from, to };
    }
    case 'list':
      onlyOptions(given, []);
      onlyValues(given, 0);
      return { order: 'listFaults' };
    default: {
      const known = [...Object.keys(watchOrders), ...Object.keys(rules), ...others];
      throw new CliError(`no such fault: ${what}`, 2, `one of ${known.join(', ')}`);
    }
  }
}

const count = (n: unknown, one: string, many = `${one}s`): string =>
  `${String(n)} ${n === 1 ? one : many}`;

function ruleText(rule: ListedFault): string {
  return Object.entries(rule)
    .filter(([key]) => key !== 'id')
    .map(([key, value]) => `${key}=${String(value)}`)
    .join(' ');
}

/** What happened, for people. */
function answerText(order: AdminOrder, answer: Readonly<Record<string, unknown>>): string {
  switch (order.order) {
    case 'addFault':
      return `${String(answer['id'])} is in force: ${ruleText(order.rule)}\n`;
    case 'listFaults': {
      const faults = answer['faults'] as readonly ListedFault[];
      const addresses = answer['addresses'] as readonly string[];
      const lines = faults.map((rule) => `${rule.id ?? ''}  ${ruleText(rule)}`);
      if (faults.length === 0) lines.push('no rules');
      lines.push(
        `${count(answer['watches'], 'open watch', 'open watches')}, ${String(answer['stalled'])} stalled`,
      );
      for (const pod of addresses) lines.push(`${pod} has the address of another pod`);
      return `${lines.join('\n')}\n`;
    }
    case 'clearFaults':
      return `${count(answer['removed'], 'rule')} removed, ${count(answer['resumed'], 'watch', 'watches')} resumed, ${count(answer['addresses'], 'address', 'addresses')} given back\n`;
    case 'removeFault':
      return `${order.id} removed\n`;
    case 'rotateToken':
      return `${String(answer['user'])} has a new token; the old one gets 401\n`;
    case 'reuseAddress':
      return `${order.to} is said to have ${String(answer['podIP'])}\n`;
    case 'compact':
    case 'skipVersions':
      return `the resource version is ${String(answer['version'])}\n`;
    case 'restart':
      return 'the API answers again\n';
    default:
      return `${count(answer['watches'], 'watch', 'watches')}\n`;
  }
}

/** Runs the verb on the lab whose files lie in `stateDir`. */
export async function runFault(
  io: Io,
  stateDir: string,
  args: readonly string[],
  options: Options,
): Promise<ExitCode> {
  const [what = '', ...values] = args;
  const output = options['output'] as string;
  if (output !== 'text' && output !== 'json') {
    throw new CliError(`no such output format: ${output}`, 2, 'use text or json');
  }
  const given = { what, values, options };
  const { orderFault } = await import('../lab/index.ts');
  const orders: AdminOrder[] = [];
  if (what === 'clear') {
    onlyOptions(given, []);
    orders.push(...values.map((id): AdminOrder => ({ order: 'removeFault', id })));
    if (orders.length === 0) orders.push({ order: 'clearFaults' });
  } else {
    orders.push(orderOf(given));
  }
  for (const order of orders) {
    let answer: Record<string, unknown>;
    try {
      answer = await orderFault(stateDir, order);
    } catch (error) {
      // The API says what is wrong with the order: that is the user's to mend.
      if (!(error instanceof Error) || error.name !== 'LabError') throw error;
      throw new CliError(error.message, /has no API/.test(error.message) ? 3 : 2);
    }
    const { token: _secret, ...shown } = answer;
    io.out(output === 'json' ? `${JSON.stringify(shown)}\n` : answerText(order, answer));
  }
  return 0;
}
