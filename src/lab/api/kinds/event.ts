/**
 * Events, served both as v1 and as events.k8s.io/v1 from one bucket (kept in the v1 form).
 */
import { type ApiObject, type JsonObject, numberAt, objectAt, stringAt } from '../object.ts';
import { humanDuration, resource, type Column, type ResourceType } from '../resource.ts';

const columns: readonly Column[] = [
  { name: 'Last Seen', type: 'string' },
  { name: 'Type', type: 'string' },
  { name: 'Reason', type: 'string' },
  { name: 'Object', type: 'string' },
  { name: 'Subobject', type: 'string', priority: 1 },
  { name: 'Source', type: 'string', priority: 1 },
  { name: 'Message', type: 'string' },
  { name: 'First Seen', type: 'string', priority: 1 },
  { name: 'Count', type: 'string', priority: 1 },
  { name: 'Name', type: 'string', priority: 1 },
];

function row(event: ApiObject, now: number): (string | number)[] {
  const v1 = event.apiVersion === 'v1' ? event : fromNew(event);
  const seen = (field: string): string => {
    const text = stringAt(v1, field) || stringAt(v1, 'eventTime');
    return text === '' ? '<unknown>' : humanDuration(now - Date.parse(text));
  };
  const involved = objectAt(v1, 'involvedObject');
  return [
    seen('lastTimestamp'),
    stringAt(v1, 'type'),
    stringAt(v1, 'reason'),
    `${stringAt(involved, 'kind').toLowerCase()}/${stringAt(involved, 'name')}`,
    stringAt(involved, 'fieldPath'),
    [stringAt(v1, 'source', 'component'), stringAt(v1, 'source', 'host')]
      .filter(Boolean)
      .join(', '),
    stringAt(v1, 'message').trim(),
    seen('firstTimestamp'),
    numberAt(v1, 'count') ?? 1,
    v1.metadata.name,
  ];
}

const drop = (object: JsonObject): JsonObject =>
  Object.fromEntries(Object.entries(object).filter(([, value]) => value !== undefined));

function toNew(event: ApiObject): ApiObject {
  return drop({
    apiVersion: 'events.k8s.io/v1',
    kind: 'Event',
    metadata: event.metadata,
    eventTime: event['eventTime'] ?? null,
    series: event['series'],
    reportingController:
      stringAt(event, 'reportingComponent') || stringAt(event, 'source', 'component'),
    reportingInstance: stringAt(event, 'reportingInstance'),
    action: event['action'],
    reason: event['reason'],
    regarding: event['involvedObject'],
    related: event['related'],
    note: event['message'],
    type: event['type'],
    deprecatedSource: event['source'],
    deprecatedFirstTimestamp: event['firstTimestamp'],
    deprecatedLastTimestamp: event['lastTimestamp'],
    deprecatedCount: event['count'],
  }) as ApiObject;
}

function fromNew(event: ApiObject): ApiObject {
  return drop({
    apiVersion: 'v1',
    kind: 'Event',
    metadata: event.metadata,
    involvedObject: event['regarding'] ?? {},
    reason: event['reason'],
    message: event['note'],
    source: event['deprecatedSource'] ?? {},
    firstTimestamp: event['deprecatedFirstTimestamp'] ?? null,
    lastTimestamp: event['deprecatedLastTimestamp'] ?? null,
    count: event['deprecatedCount'],
    type: event['type'],
    eventTime: event['eventTime'] ?? null,
    series: event['series'],
    action: event['action'],
    related: event['related'],
    reportingComponent: event['reportingController'] ?? '',
    reportingInstance: event['reportingInstance'] ?? '',
  }) as ApiObject;
}

/** Field selectors name the same facts differently in the two versions. */
function selectable(event: ApiObject): Record<string, string> {
  const v1 = event.apiVersion === 'v1' ? event : fromNew(event);
  const values: Record<string, string> = {
    reason: stringAt(v1, 'reason'),
    type: stringAt(v1, 'type'),
    reportingComponent: stringAt(v1, 'reportingComponent'),
    reportingController: stringAt(v1, 'reportingComponent'),
    source: stringAt(v1, 'source', 'component') || stringAt(v1, 'reportingComponent'),
  };
  for (const part of [
    'kind',
    'namespace',
    'name',
    'uid',
    'apiVersion',
    'resourceVersion',
    'fieldPath',
  ]) {
    const value = stringAt(v1, 'involvedObject', part);
    values[`involvedObject.${part}`] = value;
    values[`regarding.${part}`] = value;
  }
  return values;
}

export const eventKinds: readonly ResourceType[] = [
  resource({
    group: '',
    version: 'v1',
    plural: 'events',
    kind: 'Event',
    schema: 'core.v1.Event',
    shortNames: ['ev'],
    columns,
    row,
    selectable,
  }),
  resource({
    group: 'events.k8s.io',
    version: 'v1',
    plural: 'events',
    kind: 'Event',
    schema: 'events.v1.Event',
    shortNames: ['ev'],
    bucket: '/events',
    columns,
    row,
    selectable,
    convert: { out: toNew, in: fromNew },
  }),
];
