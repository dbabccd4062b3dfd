/**
 * The files in deploy/ agree with the program: rights with what the client asks, arguments with the
 * agent's options, chart with kustomization. Neither a cluster, helm nor an image builder is run: the
 * chart's templates are filled in here, as far as they go beyond plain YAML.
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Ajv } from 'ajv';
import { Command } from 'commander';
import { describe, expect, it } from 'vitest';
import { agent } from '../src/cli/commands/agent.ts';
import { policyResources } from '../src/client/resource.ts';
import type { KubeObject } from '../src/k8s/types.ts';
import { parseManifests } from '../src/manifest/parse.ts';
import { run } from '../src/system/exec.ts';

const kubectl = await run('kubectl', ['version', '--client']).catch(() => undefined);
if (kubectl === undefined) console.warn('kubectl kustomize is not tested: no kubectl here');

const folder = join(import.meta.dirname, '..', 'deploy');
const read = (name: string): string => readFileSync(join(folder, name), 'utf8');

function objectsOf(name: string, text: string = read(name)): KubeObject[] {
  const { objects, diagnostics } = parseManifests({ file: name, text });
  expect(diagnostics.filter((one) => one.severity === 'error')).toEqual([]);
  return objects.map(({ object }) => object);
}

/** Plain YAML without a kind: dressed up for our reader of manifests. */
function plain(name: string): Record<string, unknown> {
  const dressed = `apiVersion: v1\nkind: Values\nmetadata: {name: x}\nvalues:\n${read(name).replaceAll(/^/gm, '  ')}`;
  return (objectsOf(name, dressed)[0] as unknown as { values: Record<string, unknown> }).values;
}

/** Go templates as far as the chart uses them; any other expression stays and fails the parse. */
function rendered(name: string): KubeObject[] {
  const values = plain('helm/podwall/values.yaml');
  const at = (path: string): unknown =>
    path
      .split('.')
      .reduce<unknown>((inner, key) => (inner as Record<string, unknown>)[key], values);
  const text = read(`helm/podwall/templates/${name}`)
    .replaceAll(/^\s*\{\{- range \.Values\.extraArgs \}\}\n[\s\S]*?\{\{- end \}\}\n/gm, '')
    .replaceAll(
      /\n(\s*)\{\{- toYaml \.Values\.(\S+) \| nindent \d+ \}\}/g,
      (_all, indent, path) => {
        return `\n${String(indent)}${JSON.stringify(at(String(path)))}`;
      },
    )
    .replaceAll(/\{\{ printf "%s:%s" [^}]*\}\}/g, `${String(at('image.repository'))}:0.1.0`)
    .replaceAll(/\{\{ \.Values\.([\w.]+) \| quote \}\}/g, (_all, path) =>
      JSON.stringify(String(at(String(path)))),
    )
    .replaceAll(/\{\{ \.Values\.([\w.]+) \}\}/g, (_all, path) => String(at(String(path))))
    .replaceAll('{{ .Release.Namespace }}', 'podwall');
  expect(text).not.toContain('{{');
  return objectsOf(name, text);
}

interface Rule {
  readonly apiGroups: string[];
  readonly resources: string[];
  readonly verbs: string[];
}
interface Container {
  readonly args: string[];
  readonly env: {
    name: string;
    valueFrom: { configMapKeyRef?: { name: string; key: string }; fieldRef?: object };
  }[];
  readonly securityContext: object;
  readonly image: string;
  readonly volumeMounts: { mountPath: string }[];
}
interface PodSpec {
  readonly containers: Container[];
}
const podSpec = (object: KubeObject | undefined): PodSpec => {
  if (object === undefined) throw new Error('no DaemonSet');
  return (object.spec as { template: { spec: PodSpec } }).template.spec;
};
const find = (objects: KubeObject[], kind: string): KubeObject | undefined =>
  objects.find((object) => object.kind === kind);

describe('deploy/', () => {
  const daemonSet = objectsOf('kustomize/daemonset.yaml')[0];
  const [container] = podSpec(daemonSet).containers as [Container];

  it('the kustomization names every file', () => {
    const [kustomization] = objectsOf('kustomize/kustomization.yaml');
    const { resources, namespace } = kustomization as unknown as {
      resources: string[];
      namespace: string;
    };
    const all = resources.flatMap((name) => objectsOf(`kustomize/${name}`));
    expect(all.map(({ kind }) => kind)).toEqual([
      'Namespace',
      'ServiceAccount',
      'ClusterRole',
      'ClusterRoleBinding',
      'ConfigMap',
      'DaemonSet',
    ]);
    for (const object of all)
      if (object.metadata.namespace !== undefined)
        expect(object.metadata.namespace).toBe(namespace);
  });

  it.skipIf(kubectl === undefined)(
    'kubectl kustomize builds it, with the version as tag',
    async () => {
      const { code, stdout, stderr } = await run('kubectl', [
        'kustomize',
        join(folder, 'kustomize'),
      ]);
      expect([code, stderr]).toEqual([0, '']);
      const built = objectsOf('built.yaml', stdout);
      expect(built.map(({ kind }) => kind).toSorted()).toEqual(
        [
          'Namespace',
          'ServiceAccount',
          'ClusterRole',
          'ClusterRoleBinding',
          'ConfigMap',
          'DaemonSet',
        ].toSorted(),
      );
      const expected = structuredClone(daemonSet);
      const text = JSON.stringify(expected).replace('"image":"podwall"', '"image":"podwall:0.1.0"');
      expect(find(built, 'DaemonSet')).toEqual(JSON.parse(text));
    },
  );

  it('rights: exactly what the agent reads, and Events', () => {
    const { rules } = find(objectsOf('kustomize/rbac.yaml'), 'ClusterRole') as unknown as {
      rules: Rule[];
    };
    const granted = rules.flatMap(({ apiGroups, resources, verbs }) =>
      apiGroups.flatMap((group) =>
        resources.flatMap((resource) => verbs.map((verb) => `${verb} ${group}/${resource}`)),
      ),
    );
    const needed = policyResources.flatMap(({ apiVersion, plural }) => {
      const group = apiVersion.includes('/') ? apiVersion.split('/')[0] : '';
      return ['list', 'watch'].map((verb) => `${verb} ${group}/${plural}`);
    });
    expect(granted.toSorted()).toEqual([...needed, 'create /events'].toSorted());
  });

  it('arguments are options of `podwall agent`, their values come from the ConfigMap and are valid', () => {
    const command = new Command('agent');
    agent.declare(command);
    const config = (
      find(objectsOf('kustomize/config.yaml'), 'ConfigMap') as unknown as {
        data: Record<string, string>;
      }
    ).data;
    const env = new Map(container.env.map((one) => [one.name, one.valueFrom.configMapKeyRef?.key]));
    for (const [name, key] of env)
      if (name !== 'NODE_NAME') expect(config).toHaveProperty([key ?? '']);
    expect([...env.values()].filter((key) => key !== undefined).toSorted()).toEqual(
      Object.keys(config).toSorted(),
    );
    const filled = container.args.map((arg) =>
      arg.replaceAll(
        /\$\((\w+)\)/g,
        (_all, name) => config[env.get(String(name)) ?? ''] ?? 'node-1',
      ),
    );
    expect(filled.slice(0, 2)).toEqual(['agent', 'run']);
    for (const arg of filled.slice(2)) {
      const [flag, value] = arg.split('=') as [string, string];
      expect(command.options.map((option) => option.long)).toContain(flag);
      expect(value).not.toBe('');
    }
    // Refused values are refused by the command, not by commander: the texts say what there is.
    const said = command.helpInformation();
    for (const key of ['mode', 'deny', 'unknown-pod', 'deny-log', 'log-level']) {
      const option = command.options.find(({ long }) => long === `--${key}`);
      expect(option?.description).toContain(config[key]);
      expect(said).toContain(`--${key}`);
    }
  });

  it('the container has CAP_NET_ADMIN only, a read-only root, and places to write', () => {
    expect(container.securityContext).toMatchObject({
      privileged: false,
      allowPrivilegeEscalation: false,
      readOnlyRootFilesystem: true,
      capabilities: { drop: ['ALL'], add: ['NET_ADMIN'] },
    });
    const writes = container.args.flatMap(
      (arg) => /^--(?:socket|state-file)=(.*)$/.exec(arg)?.[1] ?? [],
    );
    expect(writes).toHaveLength(2);
    for (const path of [...writes, '/tmp/x'])
      expect(container.volumeMounts.some(({ mountPath }) => path.startsWith(`${mountPath}/`))).toBe(
        true,
      );
    expect(podSpec(daemonSet)).toMatchObject({
      hostNetwork: true,
      priorityClassName: 'system-node-critical',
      tolerations: [{ operator: 'Exists' }],
    });
  });

  it('the chart with its default values is the kustomization', () => {
    const chart = [...rendered('rbac.yaml'), ...rendered('daemonset.yaml')];
    const [kustomize] = objectsOf('kustomize/config.yaml') as unknown as {
      data: Record<string, string>;
    }[];
    for (const object of objectsOf('kustomize/rbac.yaml'))
      expect(find(chart, object.kind)).toEqual(object);
    const text = JSON.stringify(daemonSet)
      .replaceAll(/\$\(PODWALL_(\w+)\)/g, (_all, name: string) =>
        String(kustomize?.data[name.toLowerCase().replaceAll('_', '-')]),
      )
      .replace('"image":"podwall"', '"image":"podwall:0.1.0","imagePullPolicy":"IfNotPresent"');
    const expected = JSON.parse(text) as KubeObject;
    const [own] = podSpec(expected).containers;
    own?.env.splice(1);
    expect(find(chart, 'DaemonSet')).toEqual(expected);
  });

  it('the values keep their schema, and the schema knows every value', () => {
    const schema = JSON.parse(read('helm/podwall/values.schema.json')) as {
      properties: Record<string, unknown>;
    };
    const valid = new Ajv({ strict: true }).compile(schema);
    const values = plain('helm/podwall/values.yaml');
    expect(valid(values), JSON.stringify(valid.errors)).toBe(true);
    expect(Object.keys(schema.properties).toSorted()).toEqual(
      [...Object.keys(values), 'global'].toSorted(),
    );
    expect(valid({ ...values, mode: 'permissive' })).toBe(false);
    expect(valid({ ...values, odd: 1 })).toBe(false);
  });

  it('the versions are those of the package', () => {
    const { version } = JSON.parse(read('../package.json')) as { version: string };
    const chart = read('helm/podwall/Chart.yaml');
    expect(chart).toContain(`\nversion: ${version}\n`);
    expect(chart).toContain(`\nappVersion: ${version}\n`);
    expect(read('kustomize/kustomization.yaml')).toContain(`newTag: ${version}`);
  });

  it('the image has what the program needs', () => {
    const text = read('Dockerfile');
    expect(text).toMatch(/^FROM node:20-bookworm-slim$/m);
    expect(text).toMatch(/apt-get install .*\bnftables\b/);
    const copied = [...text.matchAll(/^COPY --from=build \/src\/(\S+)/gm)].map(([, path]) => path);
    expect(copied).toEqual(expect.arrayContaining(['package.json', 'bin', 'dist', 'node_modules']));
    expect(text).toContain('/opt/podwall/bin/podwall.js');
  });
});
