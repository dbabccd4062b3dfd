/**
 * Services with their cluster addresses, and the endpoints behind them.
 */
import {
  type ApiObject,
  type JsonObject,
  at,
  ensureObject,
  listAt,
  numberAt,
  stringAt,
} from '../object.ts';
import {
  ageColumn,
  ageOf,
  type Cell,
  formatLabels,
  nameColumn,
  readVerbs,
  resource,
  type HookContext,
  type ResourceType,
} from '../resource.ts';
import { ApiError, type StatusCause } from '../status.ts';
import {
  duplicate,
  invalidValue,
  labelFault,
  labelsFaults,
  notSupported,
  required,
} from './faults.ts';

const serviceTypes = ['ClusterIP', 'ExternalName', 'LoadBalancer', 'NodePort'];
const protocols = ['SCTP', 'TCP', 'UDP'];
type IpFamily = 'IPv4' | 'IPv6';

const strings = (value: unknown): string[] =>
  Array.isArray(value) ? value.filter((item): item is string => typeof item === 'string') : [];

/** Addresses and node ports are promised in the reply to the create, so they are taken here. */
function allocate(service: ApiObject, old: ApiObject | undefined, context: HookContext): void {
  const spec = ensureObject(service, 'spec');
  const before = old ? ensureObject(old, 'spec') : {};
  if (spec['type'] === 'ExternalName') {
    for (const field of ['clusterIP', 'clusterIPs', 'ipFamilies', 'ipFamilyPolicy'])
      delete spec[field];
    return;
  }
  if (spec['clusterIP'] === undefined || spec['clusterIP'] === '')
    if (before['clusterIP'] !== undefined) {
      spec['clusterIP'] = before['clusterIP'];
      spec['clusterIPs'] ??= before['clusterIPs'];
    }
  const others = context.store
    .list('/services')
    .objects.filter(
      (o) => o.metadata.uid !== service.metadata.uid || service.metadata.uid === undefined,
    );
  const policy = stringAt(spec, 'ipFamilyPolicy') || 'SingleStack';
  const wished = strings(spec['ipFamilies']) as IpFamily[];
  const available = context.addresses.families;
  const families = wished.length > 0 ? [...wished] : [available[0] ?? 'IPv4'];
  if (policy !== 'SingleStack')
    for (const family of available) if (!families.includes(family)) families.push(family);
  spec['ipFamilies'] ??= families;
  spec['ipFamilyPolicy'] ??= families.length > 1 ? 'RequireDualStack' : 'SingleStack';
  if (spec['clusterIP'] === 'None') spec['clusterIPs'] ??= ['None'];
  else {
    const used = new Set(others.flatMap((o) => strings(at(o, 'spec', 'clusterIPs'))));
    const ips = strings(spec['clusterIPs']);
    const first = stringAt(spec, 'clusterIP');
    if (first !== '' && ips.length === 0) ips.push(first);
    if (!old || ips.length < families.length)
      families.forEach((family, index) => {
        const wish = ips[index];
        if (wish !== undefined && wish !== '') {
          if (!context.addresses.contains(wish))
            throw clusterIpError(
              service,
              wish,
              'the provided network does not match the current range',
            );
          if (used.has(wish))
            throw clusterIpError(service, wish, 'provided IP is already allocated');
          return;
        }
        const ip = context.addresses.clusterIp(family, used);
        if (ip === undefined) throw clusterIpError(service, '', 'range is full');
        used.add(ip);
        ips[index] = ip;
      });
    spec['clusterIP'] = ips[0];
    spec['clusterIPs'] = ips;
  }
  if (spec['type'] === 'NodePort' || spec['type'] === 'LoadBalancer') {
    const taken = new Set(
      others.flatMap((o) => listAt(o, 'spec', 'ports').map((p) => numberAt(p, 'nodePort') ?? 0)),
    );
    for (const port of listAt(spec, 'ports')) {
      const earlier = listAt(before, 'ports').find(
        (p) => p['port'] === port['port'] && p['protocol'] === port['protocol'],
      );
      port['nodePort'] ??= earlier?.['nodePort'] ?? context.addresses.nodePort(taken);
      taken.add(Number(port['nodePort']));
    }
  } else for (const port of listAt(spec, 'ports')) delete port['nodePort'];
}

function clusterIpError(service: ApiObject, ip: string, why: string): ApiError {
  const field = 'spec.clusterIPs';
  const message = `Invalid value: ${JSON.stringify(ip)}: failed to allocate IP ${ip}: ${why}`;
  return new ApiError(
    422,
    'Invalid',
    `Service "${service.metadata.name}" is invalid: ${field}: ${message}`,
    {
      name: service.metadata.name,
      kind: 'Service',
      causes: [{ reason: 'FieldValueInvalid', message, field }],
    },
  );
}

function serviceFaults(service: ApiObject, old: ApiObject | undefined): StatusCause[] {
  const faults: StatusCause[] = [];
  const spec = ensureObject(service, 'spec');
  const nameFault = labelFault(service.metadata.name);
  if (nameFault) faults.push(invalidValue('metadata.name', service.metadata.name, nameFault));
  const type = stringAt(spec, 'type');
  if (!serviceTypes.includes(type)) faults.push(notSupported('spec.type', type, serviceTypes));
  const ports = listAt(spec, 'ports');
  const headless = spec['clusterIP'] === 'None';
  if (type === 'ExternalName') {
    if (stringAt(spec, 'externalName') === '') faults.push(required('spec.externalName'));
  } else if (ports.length === 0 && !headless) faults.push(required('spec.ports'));
  faults.push(...labelsFaults(spec['selector'], 'spec.selector'));
  const seen = new Set<string>();
  const names = new Set<string>();
  ports.forEach((port, index) => {
    const path = `spec.ports[${index}]`;
    const name = stringAt(port, 'name');
    if (name === '' && ports.length > 1) faults.push(required(`${path}.name`));
    if (name !== '' && names.has(name)) faults.push(duplicate(`${path}.name`, name));
    names.add(name);
    const number = numberAt(port, 'port') ?? 0;
    if (number < 1 || number > 65535)
      faults.push(invalidValue(`${path}.port`, number, 'must be between 1 and 65535, inclusive'));
    const protocol = stringAt(port, 'protocol');
    if (!protocols.includes(protocol))
      faults.push(notSupported(`${path}.protocol`, protocol, protocols));
    const target = port['targetPort'];
    if (typeof target === 'number' && (target < 1 || target > 65535))
      faults.push(
        invalidValue(`${path}.targetPort`, target, 'must be between 1 and 65535, inclusive'),
      );
    const key = `${protocol}/${number}`;
    if (seen.has(key)) faults.push(duplicate(path, port));
    seen.add(key);
  });
  const before = stringAt(old, 'spec', 'clusterIP');
  if (old && before !== '' && type !== 'ExternalName' && before !== stringAt(spec, 'clusterIP'))
    faults.push(
      invalidValue('spec.clusterIPs[0]', strings(spec['clusterIPs']), 'may not change once set'),
    );
  return faults;
}

const portText = (port: JsonObject): string => {
  const node = numberAt(port, 'nodePort');
  return `${String(port['port'])}${node ? `:${node}` : ''}/${stringAt(port, 'protocol')}`;
};

const service: ResourceType = resource({
  group: '',
  version: 'v1',
  plural: 'services',
  kind: 'Service',
  schema: 'core.v1.Service',
  shortNames: ['svc'],
  categories: ['all'],
  hasStatus: true,
  columns: [
    nameColumn,
    { name: 'Type', type: 'string' },
    { name: 'Cluster-IP', type: 'string' },
    { name: 'External-IP', type: 'string' },
    { name: 'Port(s)', type: 'string' },
    ageColumn,
    { name: 'Selector', type: 'string', priority: 1 },
  ],
  row: (object, now) => [
    object.metadata.name,
    stringAt(object, 'spec', 'type'),
    stringAt(object, 'spec', 'clusterIP') || '<none>',
    stringAt(object, 'spec', 'externalName') ||
      strings(at(object, 'spec', 'externalIPs')).join(',') ||
      (stringAt(object, 'spec', 'type') === 'LoadBalancer' ? '<pending>' : '<none>'),
    listAt(object, 'spec', 'ports').map(portText).join(',') || '<none>',
    ageOf(object, now),
    formatLabels((at(object, 'spec', 'selector') as JsonObject | undefined) ?? {}),
  ],
  applyDefaults(object) {
    const spec = ensureObject(object, 'spec');
    spec['type'] ??= 'ClusterIP';
    spec['sessionAffinity'] ??= 'None';
    if (spec['type'] !== 'ExternalName') spec['internalTrafficPolicy'] ??= 'Cluster';
    if (spec['type'] === 'NodePort' || spec['type'] === 'LoadBalancer')
      spec['externalTrafficPolicy'] ??= 'Cluster';
    for (const port of listAt(spec, 'ports')) {
      port['protocol'] ??= 'TCP';
      if (port['targetPort'] === undefined || port['targetPort'] === 0 || port['targetPort'] === '')
        if (port['port'] !== undefined) port['targetPort'] = port['port'];
    }
  },
  prepare(object, old, context) {
    if (!old) object['status'] = { loadBalancer: {} };
    allocate(object, old, context);
  },
  validate: serviceFaults,
  selectable: (object) => ({
    'spec.clusterIP': stringAt(object, 'spec', 'clusterIP'),
    'spec.type': stringAt(object, 'spec', 'type'),
  }),
});

function some(addresses: string[]): string {
  if (addresses.length === 0) return '<none>';
  const rest = addresses.length - 3;
  return addresses.slice(0, 3).join(',') + (rest > 0 ? ` + ${rest} more...` : '');
}

const endpoints: ResourceType = resource({
  group: '',
  version: 'v1',
  plural: 'endpoints',
  singular: 'endpoints',
  kind: 'Endpoints',
  schema: 'core.v1.Endpoints',
  shortNames: ['ep'],
  verbs: readVerbs,
  columns: [nameColumn, { name: 'Endpoints', type: 'string' }, ageColumn],
  row(object, now): Cell[] {
    const all = listAt(object, 'subsets').flatMap((subset) =>
      listAt(subset, 'addresses').flatMap((address) => {
        const ports = listAt(subset, 'ports');
        const ip = stringAt(address, 'ip');
        return ports.length === 0 ? [ip] : ports.map((p) => `${ip}:${String(p['port'])}`);
      }),
    );
    return [object.metadata.name, some(all), ageOf(object, now)];
  },
});

const endpointSlice: ResourceType = resource({
  group: 'discovery.k8s.io',
  version: 'v1',
  plural: 'endpointslices',
  kind: 'EndpointSlice',
  schema: 'discovery.v1.EndpointSlice',
  columns: [
    nameColumn,
    { name: 'AddressType', type: 'string' },
    { name: 'Ports', type: 'string' },
    { name: 'Endpoints', type: 'string' },
    ageColumn,
  ],
  row: (object, now) => [
    object.metadata.name,
    stringAt(object, 'addressType'),
    some(listAt(object, 'ports').map((p) => numberAt(p, 'port')?.toString() ?? '*')) || '<unset>',
    some(listAt(object, 'endpoints').flatMap((e) => strings(e['addresses']))),
    ageOf(object, now),
  ],
  validate: (object) =>
    ['IPv4', 'IPv6', 'FQDN'].includes(stringAt(object, 'addressType'))
      ? []
      : [notSupported('addressType', object['addressType'], ['FQDN', 'IPv4', 'IPv6'])],
});

export const serviceKinds: readonly ResourceType[] = [service, endpoints, endpointSlice];
