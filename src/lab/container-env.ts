/**
 * The environment of a container and `$(NAME)` in its command, as the kubelet fills them in, as far as
 * the pod itself says: the lab mounts no config maps or secrets. Pure.
 */
import type { Container, Pod } from '../k8s/types.ts';

/** `$(NAME)` by its value; `$$` is a dollar; unknown names stay as they are. */
export function expand(text: string, known: Readonly<Record<string, string>>): string {
  return text.replaceAll(/\$\$|\$\(([^()]+)\)/g, (whole, name: string | undefined) =>
    name === undefined ? '$' : (known[name] ?? whole),
  );
}

/** What `fieldRef` can name, by field path. */
export function podFields(
  pod: Pod,
  addressed: { readonly podIPs: readonly string[]; readonly hostIP: string },
): (path: string) => string | undefined {
  const { name, namespace, uid, labels, annotations } = pod.metadata;
  const fields: Readonly<Record<string, string | undefined>> = {
    'metadata.name': name,
    'metadata.namespace': namespace,
    'metadata.uid': uid,
    'spec.nodeName': pod.spec?.nodeName,
    'spec.serviceAccountName': pod.spec?.serviceAccountName,
    'status.hostIP': addressed.hostIP,
    'status.podIP': addressed.podIPs[0],
    'status.podIPs': addressed.podIPs.join(','),
  };
  return (path) => {
    const match = /^metadata\.(labels|annotations)\['([^']+)'\]$/.exec(path);
    if (match?.[2] === undefined) return fields[path];
    return (match[1] === 'labels' ? labels : annotations)?.[match[2]] ?? '';
  };
}

/** Variables in the order given; later ones may use earlier ones. `field`: answers `fieldRef`. */
export function environmentOf(
  container: Container,
  field: (path: string) => string | undefined = () => undefined,
): Record<string, string> {
  const found: Record<string, string> = {};
  for (const variable of container.env ?? []) {
    const { name, value, valueFrom } = variable as typeof variable & {
      valueFrom?: { fieldRef?: { fieldPath?: string } };
    };
    const path = valueFrom?.fieldRef?.fieldPath;
    if (value !== undefined) found[name] = expand(value, found);
    else if (path !== undefined) {
      const known = field(path);
      if (known !== undefined) found[name] = known;
    }
  }
  return found;
}

/** What `hostname` says in a pod, as the kubelet chooses it; the kernel takes 64 characters. */
export function hostnameOf({ metadata, spec }: Pod): string {
  if (spec?.hostNetwork === true) return spec.nodeName ?? '';
  const { hostname = '' } = (spec ?? {}) as { hostname?: string };
  return (hostname || (metadata.name ?? '')).slice(0, 63);
}
