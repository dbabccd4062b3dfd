/**
 * The policy kinds: defaults and checks are those of `policy/`, which linter and agent share.
 */
import { policyKinds } from '../../../policy/index.ts';
import { fieldErrorReason, formatFieldError } from '../../../k8s/field-error.ts';
import { checkSchema, type TypeFault } from '../../../k8s/schema.ts';
import type { PolicyKind } from '../../../policy/policy-kind.ts';
import type { KubeObject } from '../../../k8s/types.ts';
import { at, stringAt, type ApiObject } from '../object.ts';
import {
  ageColumn,
  ageOf,
  type Column,
  formatLabelSelector,
  nameColumn,
  resource,
  type ResourceType,
} from '../resource.ts';
import { defineType, typeNamed } from '../schema.ts';
import type { StatusCause } from '../status.ts';

function columnsOf(kind: PolicyKind): {
  columns: readonly Column[];
  row: ResourceType['row'];
} {
  if (kind.kind === 'NetworkPolicy')
    return {
      columns: [nameColumn, { name: 'Pod-Selector', type: 'string' }, ageColumn],
      row: (object, now) => [
        object.metadata.name,
        formatLabelSelector(at(object, 'spec', 'podSelector')),
        ageOf(object, now),
      ],
    };
  if (kind.kind === 'BaselineAdminNetworkPolicy')
    return {
      columns: [nameColumn, ageColumn],
      row: (object, now) => [object.metadata.name, ageOf(object, now)],
    };
  const tier = kind.kind === 'ClusterNetworkPolicy';
  return {
    columns: [
      nameColumn,
      ...(tier ? [{ name: 'Tier', type: 'string' } as const] : []),
      { name: 'Priority', type: 'string' },
      ageColumn,
    ],
    row: (object, now) => [
      object.metadata.name,
      ...(tier ? [stringAt(object, 'spec', 'tier')] : []),
      Number(at(object, 'spec', 'priority') ?? 0),
      ageOf(object, now),
    ],
  };
}

function causes(kind: PolicyKind, object: ApiObject, old: ApiObject | undefined): StatusCause[] {
  return kind.validate(object as KubeObject, old ? { old: old } : {}).map((error) => {
    const text = formatFieldError(error);
    const prefix = `${error.path}: `;
    return {
      reason: fieldErrorReason(error.kind),
      message: text.startsWith(prefix) ? text.slice(prefix.length) : text,
      field: error.path,
    };
  });
}

function resourceOf(kind: PolicyKind): ResourceType {
  const [group = '', version = ''] = kind.apiVersion.split('/');
  const schema =
    kind.kind === 'NetworkPolicy'
      ? 'networking.v1.NetworkPolicy'
      : `policy.${version}.${kind.kind}`;
  if (!typeNamed(schema)) defineType(schema, kind.schema);
  const typeErrors = (object: ApiObject): readonly TypeFault[] =>
    checkSchema(object, kind.schema, '').typeErrors;
  return resource({
    group,
    version,
    plural: kind.plural,
    kind: kind.kind,
    schema,
    shortNames: [...kind.shortNames],
    namespaced: kind.namespaced,
    hasGeneration: true,
    hasStatus: kind.kind !== 'NetworkPolicy',
    ...columnsOf(kind),
    applyDefaults(object) {
      // Defaults assume JSON types that fit; the checks below say what does not.
      if (kind.typesAreFieldErrors !== true && typeErrors(object).length > 0) return;
      Object.assign(object, kind.applyDefaults(object as KubeObject));
    },
    validate(object, old) {
      // A custom resource is checked against its schema, types included.
      const wrong = kind.typesAreFieldErrors === true ? [] : typeErrors(object);
      if (wrong.length === 0) return causes(kind, object, old);
      return wrong.map((fault) => ({
        reason: 'FieldValueTypeInvalid',
        message: `Invalid value: "${fault.actual}": ${fault.path} in body must be of type ${fault.expected}: "${fault.actual}"`,
        field: fault.path,
      }));
    },
  });
}

export const policyResources: readonly ResourceType[] = policyKinds.map(resourceOf);
