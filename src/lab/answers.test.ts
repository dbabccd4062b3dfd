import { describe, expect, it } from 'vitest';
import { messageAnswer, netexecAnswer, type HttpReply, type NetexecActions } from './answers.ts';
import { httpAnswers } from './http-answers.ts';
import { udpQuestion } from './wire.ts';

const netexec = { kind: 'netexec', name: 'web' } as const;

describe('answers to datagrams and SCTP messages', () => {
  it.each([
    ['the endpoint by default', undefined, 'anything', 'prod/web\n'],
    ['serve-hostname', { kind: 'hostname', name: 'web' }, 'hostname\n', 'web'],
    ['porter', { kind: 'text', text: 'foo' }, 'hostname\n', 'foo'],
    ['netexec hostname', netexec, ' HostName\n', 'web'],
    ['netexec echo', netexec, 'echo Some Words', 'some words'],
    ['netexec clientip', netexec, 'clientip', '10.0.0.1:4000'],
    ['netexec, anything else', netexec, 'hello', undefined],
  ] as const)('%s', (_what, answer, question, said) => {
    expect(messageAnswer('prod/web', answer, question, '10.0.0.1:4000')).toBe(said);
  });

  it('a probe of the lab gets the full name from every server', () => {
    for (const answer of [undefined, netexec, { kind: 'text', text: 'foo' } as const]) {
      expect(messageAnswer('prod/web', answer, udpQuestion, '10.0.0.1:1')).toBe('prod/web\n');
    }
  });
});

describe('HTTP answers', () => {
  it('are the name, the text of porter, or its JSON with the method', () => {
    expect(httpAnswers('prod/web', undefined).reply('GET')).toMatch(/\r\n\r\nweb\n$/);
    expect(httpAnswers('prod/web', { kind: 'hostname', name: 'web' }).reply('GET')).toMatch(
      /\r\n\r\nweb$/,
    );
    const porter = httpAnswers('prod/web', { kind: 'text', text: 'foo', json: true });
    expect(porter.reply('POST')).toContain('content-type: application/json');
    expect(porter.reply('POST')).toMatch(/\r\n\r\n\{"Method":"POST","Body":"foo"\}$/);
    expect(porter.reply('HEAD')).toMatch(/\r\n\r\n$/);
  });
});

describe('agnhost netexec', () => {
  const orders: unknown[] = [];
  const actions: NetexecActions = {
    dial: async (order) => {
      orders.push(order);
      return { status: 200, body: '{}' };
    },
    shell: async (command) => ({ status: 200, body: command }),
  };
  const ask = (target: string): Promise<HttpReply> =>
    netexecAnswer('web', target, '10.0.0.1:4000', actions);

  it.each([
    ['/hostname', 200, 'web'],
    ['/hostName', 200, 'web'],
    ['/clientip', 200, '10.0.0.1:4000'],
    ['/echo?msg=a%20b', 200, 'a b'],
    ['/echo?msg=x&code=418', 418, 'x'],
    ['/echo?code=abc', 200, `argument 'code' must be an integer or empty, got "abc"\n`],
    ['/healthz', 200, ''],
    ['/dial?host=h&port=1', 400, 'request parameter not specified.\n'],
    ['/dial?host=h&port=1&request=x&tries=many', 400, 'tries parameter is invalid.\n'],
    ['/dial?host=h&port=1&request=x&protocol=icmp', 400, 'unsupported protocol. icmp\n'],
    ['/shell?cmd=id', 200, 'id'],
    ['/exit?code=1', 501, 'the lab does not play /exit of netexec\n'],
  ])('%s', async (target, status, body) => {
    expect(await ask(target)).toMatchObject({ status, body });
  });

  it('redirects, dials as asked, and tells the time', async () => {
    expect(await ask('/redirect?location=/echo&code=307')).toMatchObject({
      status: 307,
      headers: { location: '/echo' },
    });
    await ask('/dial?host=10.0.0.2&port=80&request=hostname&protocol=UDP&tries=3');
    expect(orders).toEqual([
      { protocol: 'udp', host: '10.0.0.2', port: '80', request: 'hostname', tries: 3 },
    ]);
    expect((await ask('/')).body).toMatch(/^NOW: \d{4}-/);
  });
});
