import { expect, it } from 'vitest';
import { readLesson } from './lesson.ts';

const cluster = `apiVersion: v1
kind: Pod
metadata: { namespace: a, name: one, labels: { app: one } }
spec: { containers: [{ name: app, image: app, ports: [{ containerPort: 80 }] }] }
---
apiVersion: v1
kind: Pod
metadata: { namespace: a, name: two }
`;
const policy = `apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: { name: deny }
spec: { podSelector: {}, policyTypes: [Ingress] }
`;

function lessonText(change: (text: string) => string = (text) => text): string {
  return change(`apiVersion: podwall/v1
kind: Lesson
metadata: { name: first }
spec:
  title: First
  point: A point
  story: A story
  questions:
    - from: a/one
      to: a/two
      answer: yes
      because: Because.
  task:
    text: Do it
    namespace: a
    deny: ['* -> a/two']
    otherwise: allowed
`);
}

function read(
  change?: (text: string) => string,
  files: Readonly<Record<string, string>> = {},
): ReturnType<typeof readLesson> {
  const all = {
    'lesson.yaml': lessonText(change),
    'cluster.yaml': cluster,
    'solution.yaml': policy,
  };
  return readLesson('1-first', 'first', 1, new Map(Object.entries({ ...all, ...files })));
}

function faults(change?: (text: string) => string, files?: Record<string, string>): string[] {
  const { lesson, diagnostics } = read(change, files);
  expect(lesson === undefined).toBe(diagnostics.length > 0);
  return diagnostics.map(({ message, range }) => `${range?.file}:${range?.start.line}: ${message}`);
}

it('reads a lesson with its defaults', () => {
  const { lesson, diagnostics } = read();
  expect(diagnostics).toEqual([]);
  expect(lesson).toMatchObject({
    name: 'first',
    ports: [{ protocol: 'TCP', port: 80 }],
    questions: [{ kind: 'reach', ask: 'Does a/one reach a/two on TCP 80?', answer: ['yes'] }],
    task: { kinds: ['NetworkPolicy'], keepGiven: false, otherwise: 'allowed', mistakes: [] },
  });
  expect(lesson?.task.denied).toEqual([
    { source: 'a/one', destination: 'a/two', port: { protocol: 'TCP', port: 80 } },
  ]);
  // As kubectl -n would put it there.
  expect(lesson?.solution[0]?.object.metadata.namespace).toBe('a');
});

it('asks who reaches a pod, and which side stops a connection', () => {
  const who = read((text) => text.replace('from: a/one', 'ask: Who?').replace('yes', '[a/one]'));
  expect(who.lesson?.questions[0]).toMatchObject({
    kind: 'sources',
    ask: 'Who?',
    choices: ['a/one'],
  });
  const whom = read((text) => text.replace('      to: a/two\n', '').replace('yes', '[]'));
  expect(whom.lesson?.questions[0]).toMatchObject({ kind: 'destinations', answer: [] });
  const side = read((text) => text.replace('yes', 'ingress'));
  expect(side.lesson?.questions[0]).toMatchObject({ kind: 'side', answer: ['ingress'] });
});

it.each<[what: string, change: (text: string) => string, message: string]>([
  [
    'a field nobody knows',
    (t) => t.replace('point:', 'pint:'),
    '1-first/lesson.yaml:6: unknown field; was point meant?',
  ],
  ['no text', (t) => t.replace('A story', "''"), '1-first/lesson.yaml:7: must say something'],
  [
    'a pod that is not there',
    (t) => t.replace('to: a/two', 'to: a/three'),
    '1-first/lesson.yaml:9: the lesson has no a/three',
  ],
  [
    'a port without listener',
    (t) => t.replace('answer:', 'port: 81\n      answer:'),
    '1-first/lesson.yaml:9: a/two does not listen on TCP 81',
  ],
  [
    'a bad answer',
    (t) => t.replace('yes', 'perhaps'),
    '1-first/lesson.yaml:11: answer must be yes, no, egress, ingress, both or neither',
  ],
  [
    'a demand without arrow',
    (t) => t.replace('* -> a/two', 'a/two'),
    '1-first/lesson.yaml:16: "a/two" is not FROM -> TO [PORTS]',
  ],
  [
    'a demand about nobody',
    (t) => t.replace('* -> a/two', 'b/* -> a/two'),
    '1-first/lesson.yaml:16: the lesson has no b/*',
  ],
  [
    'a demand about itself',
    (t) => t.replace('* -> a/two', 'a/two -> a/two'),
    '1-first/lesson.yaml:16: "a/two -> a/two" names no connection',
  ],
  [
    'a demand and its opposite',
    (t) => t.replace('deny:', "allow: ['a/one -> a/two']\n    deny:"),
    '1-first/lesson.yaml:13: a/one → a/two TCP 80 is both allowed and denied',
  ],
  [
    'no rest',
    (t) => t.replace('otherwise: allowed', 'otherwise: maybe'),
    '1-first/lesson.yaml:17: must be allowed or denied or before, not "maybe"',
  ],
  [
    'another name',
    (t) => t.replace('name: first', 'name: second'),
    '1-first/lesson.yaml:3: must be first, as the folder is called',
  ],
  [
    'no lesson',
    () => policy,
    '1-first/lesson.yaml:3: lesson.yaml must hold one Lesson of podwall/v1',
  ],
  [
    'an unknown host',
    (t) => t.replace('  questions', '  outside: [moon]\n  questions'),
    '1-first/lesson.yaml:8: there is no outside host moon; there are world-a, world-b, db-net, internet',
  ],
])('says where: %s', (_, change, message) => {
  expect(faults(change)).toContain(message);
});

it('says which files are wrong', () => {
  expect(faults(undefined, { 'given.yaml': cluster }).join()).toContain('given.yaml holds a Pod');
  expect(faults(undefined, { 'mistake-x.yaml': policy }).join()).toContain('is used by nothing');
  expect(faults((t) => `${t}    mistakes: { slip: Wrong }\n`).join()).toContain(
    'mistake-slip.yaml is missing',
  );
  expect(faults(undefined, { 'cluster.yaml': policy }).join()).toContain(
    "a lesson's cluster is made of Namespaces and Pods",
  );
  expect(faults(undefined, { 'cluster.yaml': 'a: [' }).join()).toContain('1-first/cluster.yaml');
});
