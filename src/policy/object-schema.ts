/**
 * The schema parts that every policy kind shares: object metadata and label selectors.
 * Must not know any policy kind.
 */
import type { FieldSchema } from './policy-kind.ts';

const string: FieldSchema = { type: 'string' };
const stringMap: FieldSchema = { type: 'map', values: string };
const stringList: FieldSchema = { type: 'list', items: string };

export const objectMetaSchema: FieldSchema = {
  type: 'object',
  fields: {
    name: string,
    generateName: string,
    namespace: string,
    selfLink: string,
    uid: string,
    resourceVersion: string,
    generation: { type: 'integer', format: 'int64' },
    creationTimestamp: string,
    deletionTimestamp: string,
    deletionGracePeriodSeconds: { type: 'integer', format: 'int64' },
    labels: stringMap,
    annotations: stringMap,
    ownerReferences: {
      type: 'list',
      items: {
        type: 'object',
        fields: {
          apiVersion: string,
          kind: string,
          name: string,
          uid: string,
          controller: { type: 'boolean' },
          blockOwnerDeletion: { type: 'boolean' },
        },
      },
    },
    finalizers: stringList,
    managedFields: { type: 'list', items: { type: 'any' } },
  },
};

export const labelSelectorSchema: FieldSchema = {
  type: 'object',
  fields: {
    matchLabels: stringMap,
    matchExpressions: {
      type: 'list',
      items: {
        type: 'object',
        fields: { key: string, operator: string, values: stringList },
      },
    },
  },
};

/** The whole object around a spec schema. */
export function objectSchema(parts: Readonly<Record<string, FieldSchema>>): FieldSchema {
  return {
    type: 'object',
    fields: { apiVersion: string, kind: string, metadata: objectMetaSchema, ...parts },
  };
}
