import { describe, expect, it } from 'vitest';
import { readProtobuf } from './protobuf.ts';
import { ApiError } from './status.ts';

/** A writer for the tests only, so that reader and writer share nothing. */
type Part = readonly [field: number, value: number | string | boolean | readonly Part[] | Buffer];

function varint(value: number): Buffer {
  const bytes: number[] = [];
  let rest = BigInt.asUintN(64, BigInt(value));
  do {
    const low = Number(rest & 127n);
    rest >>= 7n;
    bytes.push(rest > 0n ? low | 128 : low);
  } while (rest > 0n);
  return Buffer.from(bytes);
}

function message(parts: readonly Part[]): Buffer {
  return Buffer.concat(
    parts.flatMap(([field, value]) => {
      if (typeof value === 'number' || typeof value === 'boolean')
        return [varint(field << 3), varint(Number(value))];
      const bytes = Buffer.isBuffer(value)
        ? value
        : typeof value === 'string'
          ? Buffer.from(value)
          : message(value);
      return [varint((field << 3) | 2), varint(bytes.length), bytes];
    }),
  );
}

const envelope = (apiVersion: string, kind: string, parts: readonly Part[]): Buffer =>
  Buffer.concat([
    Buffer.from('k8s\0'),
    message([
      [
        1,
        [
          [1, apiVersion],
          [2, kind],
        ],
      ],
      [2, message(parts)],
    ]),
  ]);

describe('protobuf bodies', () => {
  it('reads a namespace as client-go sends it', () => {
    const body = envelope('v1', 'Namespace', [
      [
        1,
        [
          [1, 'dev'],
          [2, ''],
          [7, 0],
          [8, []],
          [
            11,
            [
              [1, 'a'],
              [2, 'b'],
            ],
          ],
        ],
      ],
      [2, []],
      [3, [[1, '']]],
    ]);
    expect(readProtobuf(body)).toEqual({
      apiVersion: 'v1',
      kind: 'Namespace',
      metadata: { name: 'dev', labels: { a: 'b' } },
      spec: {},
      status: {},
    });
  });

  it('reads a deployment: pointers to zero stay, int-or-string, inline types, times', () => {
    const container: Part[] = [
      [1, 'c'],
      [2, 'nginx'],
      [
        6,
        [
          [1, 'http'],
          [2, 0],
          [3, 80],
          [4, 'TCP'],
        ],
      ],
      [
        10,
        [
          [
            1,
            [
              [
                2,
                [
                  [1, '/'],
                  [
                    2,
                    [
                      [1, 1],
                      [3, 'http'],
                    ],
                  ],
                ],
              ],
            ],
          ],
          [2, 0],
        ],
      ],
    ];
    const body = envelope('apps/v1', 'Deployment', [
      [
        1,
        [
          [1, 'd'],
          [8, [[1, 1_700_000_000]]],
        ],
      ],
      [
        2,
        [
          [1, 0],
          [
            2,
            [
              [
                1,
                [
                  [1, 'app'],
                  [2, 'd'],
                ],
              ],
            ],
          ],
          [
            3,
            [
              [1, []],
              [2, [[2, container]]],
            ],
          ],
          [
            4,
            [
              [1, 'RollingUpdate'],
              [
                2,
                [
                  [
                    1,
                    [
                      [1, 1],
                      [3, '25%'],
                    ],
                  ],
                  [
                    2,
                    [
                      [1, 0],
                      [2, 1],
                    ],
                  ],
                ],
              ],
            ],
          ],
        ],
      ],
    ]);
    expect(readProtobuf(body)).toEqual({
      apiVersion: 'apps/v1',
      kind: 'Deployment',
      metadata: { name: 'd', creationTimestamp: '2023-11-14T22:13:20Z' },
      spec: {
        replicas: 0,
        selector: { matchLabels: { app: 'd' } },
        template: {
          metadata: {},
          spec: {
            containers: [
              {
                name: 'c',
                image: 'nginx',
                ports: [{ name: 'http', containerPort: 80, protocol: 'TCP' }],
                livenessProbe: { httpGet: { path: '/', port: 'http' } },
              },
            ],
          },
        },
        strategy: {
          type: 'RollingUpdate',
          rollingUpdate: { maxUnavailable: '25%', maxSurge: 1 },
        },
      },
    });
  });

  it('reads secrets as base64 and options by the expected kind', () => {
    const secret = envelope('v1', 'Secret', [
      [1, [[1, 's']]],
      [
        2,
        [
          [1, 'k'],
          [2, Buffer.from([0, 255])],
        ],
      ],
      [3, 'Opaque'],
    ]);
    expect(readProtobuf(secret)).toMatchObject({ data: { k: 'AP8=' }, type: 'Opaque' });
    const options = envelope('', '', [
      [1, 0],
      [4, 'Background'],
    ]);
    expect(readProtobuf(options, { apiVersion: 'v1', kind: 'DeleteOptions' })).toMatchObject({
      gracePeriodSeconds: 0,
      propagationPolicy: 'Background',
    });
  });

  it('reads negative numbers and keeps a member called __proto__', () => {
    const body = envelope('v1', 'ConfigMap', [
      [
        1,
        [
          [1, 'c'],
          [7, -3],
        ],
      ],
      [
        2,
        [
          [1, '__proto__'],
          [2, 'x'],
        ],
      ],
    ]);
    const read = readProtobuf(body);
    expect(read['metadata']).toMatchObject({ generation: -3 });
    expect(Object.keys(read['data'] as object)).toEqual(['__proto__']);
  });

  const broken: [string, Buffer][] = [
    ['no magic', Buffer.from('{"a":1}')],
    ['an unknown kind', envelope('v1', 'Nonsense', [])],
    [
      'a length beyond the end',
      Buffer.concat([Buffer.from('k8s\0'), Buffer.from([0x12, 0x7f, 1])]),
    ],
    ['a varint without end', Buffer.concat([Buffer.from('k8s\0'), Buffer.alloc(20, 0xff)])],
    ['a group', Buffer.concat([Buffer.from('k8s\0'), Buffer.from([0x0b])])],
  ];
  it.each(broken)('refuses %s', (_name, body) => {
    expect(() => readProtobuf(body)).toThrow(ApiError);
  });
});
