/**
 * Writes the file that points kubectl at the lab, readable by its owner only.
 */
import { chmod, rename, writeFile } from 'node:fs/promises';

export interface KubeconfigParts {
  readonly server: string;
  /** PEM of the authority; absent for plain HTTP. */
  readonly authority?: string;
  readonly token?: string;
  /** In place of the token: a file that holds it and may be replaced, as in a pod. */
  readonly tokenFile?: string;
  /** Name of cluster, user and context. */
  readonly name?: string;
}

/** The kubeconfig as JSON, which is YAML too. */
function kubeconfigText(parts: KubeconfigParts): string {
  const name = parts.name ?? 'podwall-lab';
  return `${JSON.stringify(
    {
      apiVersion: 'v1',
      kind: 'Config',
      clusters: [
        {
          name,
          cluster: {
            server: parts.server,
            ...(parts.authority === undefined
              ? {}
              : {
                  'certificate-authority-data': Buffer.from(parts.authority).toString('base64'),
                }),
          },
        },
      ],
      users: [
        {
          name,
          user:
            parts.tokenFile === undefined ? { token: parts.token } : { tokenFile: parts.tokenFile },
        },
      ],
      contexts: [{ name, context: { cluster: name, user: name, namespace: 'default' } }],
      'current-context': name,
    },
    null,
    2,
  )}\n`;
}

/** Writes it with mode 0600, whole or not at all. */
export function writeKubeconfig(file: string, parts: KubeconfigParts): Promise<void> {
  return writeSecret(file, kubeconfigText(parts));
}

/** Any text with mode 0600, whole or not at all. */
export async function writeSecret(file: string, text: string): Promise<void> {
  const temporary = `${file}.${process.pid}.tmp`;
  await writeFile(temporary, text, { mode: 0o600 });
  await chmod(temporary, 0o600);
  await rename(temporary, file);
}
