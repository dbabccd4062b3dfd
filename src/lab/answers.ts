/**
 * What listeners say: the endpoint's name, or what the servers of `agnhost` would answer. Pure but for
 * the two requests of netexec that need the pod, which the caller carries out.
 */
import { udpQuestion } from './wire.ts';

/** Absent for a listener that says the name of its endpoint. `name`: what the pod calls itself. */
export type Answer =
  /** `agnhost serve-hostname`. `raw`: written on every TCP connection, without a request. */
  | { readonly kind: 'hostname'; readonly name: string; readonly raw?: true }
  /** `agnhost porter`. */
  | { readonly kind: 'text'; readonly text: string; readonly json?: true }
  /** `agnhost netexec`. `override`: served whatever is asked. `place`: where `/shell` and `/dial` run. */
  | {
      readonly kind: 'netexec';
      readonly name: string;
      readonly override?: string;
      readonly place?: NetexecPlace;
    };

export interface NetexecPlace {
  /** Path of the mount namespace of containers; absent: commands are not run. */
  readonly root?: string;
  readonly env: Readonly<Record<string, string>>;
  readonly resolver: { readonly namespace: string; readonly text: string };
  readonly hostname: string;
}

/** What a listener says to a datagram, or to an SCTP message; undefined: nothing. */
export function messageAnswer(
  endpoint: string,
  answer: Answer | undefined,
  question: string,
  from: string,
): string | undefined {
  // The lab's own probes ask for the full name, whatever is played there.
  if (answer === undefined || question === udpQuestion) return `${endpoint}\n`;
  if (answer.kind === 'hostname') return answer.name;
  if (answer.kind === 'text') return answer.text;
  const words = question.trim().toLowerCase();
  if (words === 'hostname') return answer.name;
  if (words === 'clientip') return from;
  return words.startsWith('echo ') ? words.slice('echo '.length) : undefined;
}

export interface HttpReply {
  readonly status: number;
  readonly body: string;
  readonly headers?: Readonly<Record<string, string>>;
}

export interface NetexecActions {
  dial(order: {
    readonly protocol: string;
    readonly host: string;
    readonly port: string;
    readonly request: string;
    readonly tries: number;
  }): Promise<HttpReply>;
  shell(command: string): Promise<HttpReply>;
}

const text = (body: string, status = 200): HttpReply => ({ status, body });

/** An HTTP status out of `code`; undefined when it is none. */
function statusOf(code: string): number | undefined {
  const status = Number(code);
  return /^\d+$/.test(code) && status >= 100 && status <= 999 ? status : undefined;
}

const badCode = (code: string): HttpReply =>
  text(`argument 'code' must be an integer or empty, got ${JSON.stringify(code)}\n`);

/** The answer of `agnhost netexec` to a request from `from` (address and port). */
export async function netexecAnswer(
  name: string,
  target: string,
  from: string,
  actions: NetexecActions,
): Promise<HttpReply> {
  const { pathname, searchParams } = new URL(target, 'http://pod');
  const value = (key: string): string => searchParams.get(key) ?? '';
  switch (pathname) {
    case '/hostname':
    case '/hostName':
      return text(name);
    case '/clientip':
      return text(from);
    case '/healthz':
      return text('');
    case '/echo': {
      const status = value('code') === '' ? 200 : statusOf(value('code'));
      return status === undefined ? badCode(value('code')) : text(value('msg'), status);
    }
    case '/redirect': {
      const status = value('code') === '' ? 302 : statusOf(value('code'));
      if (status === undefined) return badCode(value('code'));
      return { status, body: '', headers: { location: value('location') } };
    }
    case '/dial': {
      const protocol = (value('protocol') || 'http').toLowerCase();
      const tries = value('tries') === '' ? 1 : Number(value('tries'));
      if (!Number.isInteger(tries)) return text('tries parameter is invalid.\n', 400);
      if (value('request') === '') return text('request parameter not specified.\n', 400);
      if (!['http', 'udp', 'sctp'].includes(protocol)) {
        return text(`unsupported protocol. ${protocol}\n`, 400);
      }
      const [host, port, request] = [value('host'), value('port'), value('request')];
      return actions.dial({ protocol, host, port, request, tries });
    }
    case '/shell':
      return actions.shell(value('shellCommand') || value('cmd'));
    case '/exit':
    case '/shutdown':
    case '/upload':
      return text(`the lab does not play ${pathname} of netexec\n`, 501);
    default:
      return text(`NOW: ${new Date().toISOString()}`);
  }
}
