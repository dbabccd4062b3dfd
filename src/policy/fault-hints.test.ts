import { expect, it } from 'vitest';
import { forbidden, invalid, notSupported, required, type FieldError } from '../k8s/field-error.ts';
import { hintFor } from './fault-hints.ts';

const protocols = ['TCP', 'UDP', 'SCTP'];

const rows: readonly [FieldError, string | undefined][] = [
  [notSupported('p.protocol', 'tcp', protocols), 'Write TCP; upper and lower case matter.'],
  [
    notSupported('p.protocol', 'ICMP', protocols),
    'Network policies know TCP, UDP and SCTP only; ICMP cannot be written.',
  ],
  [notSupported('p.protocol', 'GRE', protocols), undefined],
  [notSupported('p.action', 'Allow', ['Accept']), 'In this version the action is Accept.'],
  [notSupported('p.action', 'Accept', ['Allow']), 'In this version the action is Allow.'],
  [
    required('f[0]', 'must specify a peer'),
    'For everyone leave from or to out; for every pod in the cluster write namespaceSelector: {}.',
  ],
  [required('metadata.name', ''), undefined],
  [
    forbidden('f[0]', 'may not specify both ipBlock and another peer'),
    'Peers of a list are alternatives: put the ipBlock into an entry of its own.',
  ],
  [
    invalid('p.port', '80', ''),
    'In quotes it is the name of a port; write the number without quotes.',
  ],
  [invalid('p.port', 'HTTP', ''), 'Port names are lower case: http.'],
  [invalid('p.port', '80-90', ''), 'A range is written with port and endPort.'],
  [invalid('p.port', '80,443', ''), 'Each port is an entry of its own.'],
  [invalid('p.port', 'metrics-exporter', ''), undefined],
  [invalid('p.port', 70000, ''), undefined],
  [
    invalid('p.endPort', 5, 'must be greater than or equal to `port`'),
    'port is the first port of the range, endPort the last.',
  ],
  [invalid('e[0].operator', 'Gt', ''), 'Operators are In, NotIn, Exists and DoesNotExist.'],
  [invalid('b.cidr', '10.0.0.1', ''), 'A single address is 10.0.0.1/32.'],
  [invalid('b.except[0]', '2001:DB8::1', ''), 'A single address is 2001:db8::1/128.'],
  [invalid('b.networks[3]', ' 10.0.0.0/8', ''), 'Remove the space around it.'],
  [
    invalid('b.cidr', '010.1.2.3/8', ''),
    'Write 10.0.0.0/8 to mean what earlier servers made of it.',
  ],
  [invalid('b.cidr', 'gateway', ''), undefined],
  [
    invalid('p.tcp.destinationPort.range', 'object', 'Start port must be less than End port'),
    'One port is written as number; in a range start is below end.',
  ],
];

it.each(rows)('%o', (error, hint) => {
  expect(hintFor(error)).toBe(hint);
});
