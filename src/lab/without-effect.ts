/**
 * What of a manifest the lab keeps but does not act on, in one sentence. Pure; must not know why the
 * lab does not.
 */
import type { KubeObject } from '../k8s/types.ts';

type Fields = Readonly<Record<string, unknown>>;

const fieldsOf = (value: unknown): Fields =>
  typeof value === 'object' && value !== null ? (value as Fields) : {};
const listOf = (value: unknown): readonly Fields[] =>
  Array.isArray(value) ? value.map(fieldsOf) : [];

/** The pod spec of a pod or of a workload's template. */
function podSpecOf({ kind, spec }: KubeObject): Fields {
  const own = fieldsOf(spec);
  return kind === 'Pod' ? own : fieldsOf(fieldsOf(own['template'])['spec']);
}

const probes = ['livenessProbe', 'readinessProbe', 'startupProbe'];

/** `12 images, 24 probes, 3 volumes`; undefined when everything has its effect. */
export function withoutEffect(objects: readonly KubeObject[]): string | undefined {
  const counts = new Map<string, number>();
  const count = (one: string, many: string, found: number): void => {
    const key = `${one}/${many}`;
    counts.set(key, (counts.get(key) ?? 0) + found);
  };
  for (const object of objects) {
    const spec = podSpecOf(object);
    const containers = [...listOf(spec['initContainers']), ...listOf(spec['containers'])];
    const having = (field: string): number =>
      containers.filter((container) => Object.keys(fieldsOf(container[field])).length > 0).length;
    count('image', 'images', containers.filter(({ image }) => image !== undefined).length);
    count(
      'probe',
      'probes',
      probes.map(having).reduce((sum, found) => sum + found, 0),
    );
    count('volume', 'volumes', listOf(spec['volumes']).length);
    const claims = listOf(fieldsOf(object.spec)['volumeClaimTemplates']).length;
    count('volume claim', 'volume claims', claims);
    count('resource limit', 'resource limits', having('resources'));
    count('hook', 'hooks', having('lifecycle'));
    const variables = containers.flatMap((one) => [
      ...listOf(one['env']).filter(({ valueFrom }) => {
        const { configMapKeyRef, secretKeyRef } = fieldsOf(valueFrom);
        return configMapKeyRef !== undefined || secretKeyRef !== undefined;
      }),
      ...listOf(one['envFrom']),
    ]);
    count(
      'variable of a config map or secret',
      'variables of config maps or secrets',
      variables.length,
    );
    count('affinity', 'affinities', Object.keys(fieldsOf(spec['affinity'])).length > 0 ? 1 : 0);
  }
  const words = [...counts]
    .filter(([, found]) => found > 0)
    .map(([names, found]) => `${found} ${names.split('/')[found === 1 ? 0 : 1]}`);
  return words.length === 0 ? undefined : words.join(', ');
}
