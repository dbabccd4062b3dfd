/**
 * The corpus of policies sent to the lab's API: what the linter calls invalid is refused as 422 with
 * the same causes, what it accepts is created.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { Agent, request } from 'node:https';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import type { KubeObject } from '../../src/k8s/types.ts';
import { createFakeRuntime } from '../../src/lab/api/fake-runtime.ts';
import { findKind } from '../../src/lab/api/registry.ts';
import { startLabApi, type LabApi } from '../../src/lab/api/start.ts';
import { parseManifests } from '../../src/manifest/parse.ts';
import { checkPolicy } from '../../src/policy/index.ts';

let api: LabApi;
let agent: Agent;
beforeAll(async () => {
  api = await startLabApi({ runtime: createFakeRuntime(), seed: 2, recordEvents: false });
  agent = new Agent({ keepAlive: true, ca: api.certificate.cert });
});
afterAll(async () => {
  agent.destroy();
  await api.stop();
});

interface Status {
  readonly reason?: string;
  readonly message?: string;
  readonly details?: {
    readonly kind?: string;
    readonly causes?: readonly { field: string; reason: string; message: string }[];
  };
}

function create(
  object: KubeObject,
  fieldValidation: 'Strict' | 'Ignore',
): Promise<{ code: number; status: Status }> {
  const type = findKind(object.apiVersion, object.kind);
  if (type === undefined) throw new Error(`${object.apiVersion} ${object.kind} is not served`);
  const { hostname, port } = new URL(api.url);
  const version = `/apis/${type.group}/${type.version}`;
  const place = type.namespaced ? '/namespaces/default' : '';
  return new Promise((resolve, reject) => {
    const out = request(
      {
        hostname,
        port,
        agent,
        method: 'POST',
        // Nothing is kept: names of the corpus repeat.
        path: `${version}${place}/${type.plural}?dryRun=All&fieldValidation=${fieldValidation}`,
        headers: { Authorization: `Bearer ${api.token}`, 'Content-Type': 'application/json' },
      },
      (reply) => {
        let text = '';
        reply.on('data', (chunk: Buffer) => (text += chunk.toString('utf8')));
        reply.on('end', () =>
          resolve({ code: reply.statusCode ?? 0, status: JSON.parse(text) as Status }),
        );
      },
    );
    out.on('error', reject);
    const { namespace: _namespace, ...metadata } = object.metadata;
    out.end(JSON.stringify({ ...object, metadata }));
  });
}

interface Case {
  readonly file: string;
  readonly text: string;
  readonly object: KubeObject;
}

/**
 * Policies that say nothing of options, which a server does not have, nor of metadata that the path or
 * the server itself decides.
 */
function cases(folder: string): Case[] {
  const root = join(import.meta.dirname, folder);
  return readdirSync(root)
    .filter((name) => name.endsWith('.yaml') && !/meta-(namespace|generat)/.test(name))
    .toSorted()
    .flatMap((file) => {
      const text = readFileSync(join(root, file), 'utf8');
      if (/^# options: /m.test(text)) return [];
      const [parsed] = parseManifests({ file, text }).objects;
      return parsed === undefined ? [] : [{ file, text, object: parsed.object }];
    });
}

const fields = (object: KubeObject): string[] =>
  checkPolicy({ object }, { fieldValidation: 'warn' }).errors.map(({ path }) => path);

const invalid = cases('invalid');
const wrongType = invalid.filter(({ text }) => /^# expect: \S+ WrongType /m.test(text));
const unknownField = invalid.filter(({ text }) => /^# expect: \S+ UnknownField /m.test(text));
const faulty = invalid.filter(
  (one) => !wrongType.includes(one) && fields(one.object).length > 0,
);

it('every invalid policy of the corpus is one of these', () => {
  const known = new Set([...wrongType, ...unknownField, ...faulty]);
  expect(invalid.filter((one) => !known.has(one)).map(({ file }) => file)).toEqual([]);
  expect(new Set(faulty.map(({ object }) => object.kind)).size).toBe(4);
  expect([wrongType.length, unknownField.length, faulty.length].every((n) => n > 10)).toBe(true);
});

it.each(faulty)('$file: 422 with every cause', async ({ object }) => {
  const { code, status } = await create(object, 'Ignore');
  expect([code, status.message]).toEqual([422, expect.any(String)]);
  expect(status.reason).toBe('Invalid');
  expect(status.details?.kind).toBe(object.kind);
  const causes = status.details?.causes ?? [];
  expect(causes.map(({ field }) => field)).toEqual(fields(object));
  for (const cause of causes) {
    expect(cause.reason).toMatch(/^FieldValue[A-Z]/);
    expect(status.message).toContain(cause.message);
  }
});

it.each(wrongType)('$file: 400, it cannot be decoded', async ({ object }) => {
  const { code, status } = await create(object, 'Ignore');
  expect([code, status.reason, status.message]).toEqual([
    400,
    'BadRequest',
    expect.stringContaining('cannot unmarshal') as string,
  ]);
});

it.each(unknownField)('$file: 400 when fields are checked strictly', async ({ object }) => {
  const { code, status } = await create(object, 'Strict');
  expect([code, status.reason, status.message]).toEqual([
    400,
    'BadRequest',
    expect.stringContaining('strict decoding error: unknown field') as string,
  ]);
});

it.each(cases('valid'))('$file: created', async ({ object }) => {
  const { code, status } = await create(object, 'Ignore');
  expect([code, status.message]).toEqual([201, undefined]);
});
