/**
 * Labels of pods that operators make: policies that select them are no mistake although no manifest
 * has such pods. Must not know of policies.
 */
import type { Selector } from '../k8s/selector.ts';

/** A label key, with a value where the key alone says too little. */
const made: readonly { readonly key: string; readonly value?: string; readonly by: string }[] = [
  ...['prometheus', 'alertmanager', 'thanos-ruler'].map((value) => ({
    key: 'app.kubernetes.io/name',
    value,
    by: 'the Prometheus operator',
  })),
  { key: 'prometheus', by: 'the Prometheus operator' },
  { key: 'operator.prometheus.io/name', by: 'the Prometheus operator' },
  { key: 'alertmanager', by: 'the Prometheus operator' },
  { key: 'longhorn.io/component', by: 'Longhorn' },
  { key: 'longhorn.io/managed-by', by: 'Longhorn' },
  { key: 'strimzi.io/cluster', by: 'Strimzi' },
  { key: 'strimzi.io/name', by: 'Strimzi' },
  { key: 'strimzi.io/kind', by: 'Strimzi' },
  { key: 'cnpg.io/cluster', by: 'CloudNativePG' },
  { key: 'elasticsearch.k8s.elastic.co/cluster-name', by: 'Elastic Cloud on Kubernetes' },
  { key: 'kibana.k8s.elastic.co/name', by: 'Elastic Cloud on Kubernetes' },
  { key: 'common.k8s.elastic.co/type', by: 'Elastic Cloud on Kubernetes' },
  { key: 'redis.opstreelabs.in/name', by: 'a Redis operator' },
  { key: 'redis_setup_type', by: 'a Redis operator' },
  { key: 'app.kubernetes.io/managed-by', value: 'minio-operator', by: 'the MinIO operator' },
  { key: 'v1.min.io/tenant', by: 'the MinIO operator' },
  { key: 'acme.cert-manager.io/http01-solver', by: 'cert-manager' },
  { key: 'serving.knative.dev/service', by: 'Knative' },
  { key: 'tekton.dev/taskRun', by: 'Tekton' },
  { key: 'tekton.dev/pipelineRun', by: 'Tekton' },
  { key: 'spark-role', by: 'the Spark operator' },
  { key: 'workflows.argoproj.io/workflow', by: 'Argo Workflows' },
];

/** The operator that makes the pods a selector is after; undefined when none is known. */
export function madeByOperator(selector: Selector): string | undefined {
  for (const { key, operator, values } of selector.requirements) {
    if (operator !== 'In' && operator !== 'Exists') continue;
    const found = made.find(
      (one) => one.key === key && (one.value === undefined || values.includes(one.value)),
    );
    if (found !== undefined) return found.by;
  }
  return undefined;
}
