/**
 * Builds a kustomization with the tool the user has: `kubectl kustomize`, else `kustomize build`.
 * podwall has no kustomize of its own. Must not know what the objects mean.
 */
import type { ManifestResult } from '../manifest/parse.ts';
import { parseManifests } from '../manifest/parse.ts';
import { isMissingProgram, run } from './exec.ts';
import type { RunResult } from './exec.ts';

export interface KustomizeOptions {
  readonly cwd?: string;
  readonly env?: NodeJS.ProcessEnv;
  readonly signal?: AbortSignal;
  /** Remote bases are fetched over the network; default 120 s. */
  readonly timeoutMs?: number;
}

export type KustomizeResult =
  | { readonly ok: true; readonly text: string; readonly command: string }
  | {
      readonly ok: false;
      readonly code: 'kustomize-missing' | 'kustomize-failed';
      readonly message: string;
      readonly hint?: string;
    };

const tools: readonly (readonly [string, readonly string[]])[] = [
  ['kubectl', ['kustomize']],
  ['kustomize', ['build']],
];

/**
 * Runs the first of the tools that is on PATH.
 *
 * @throws ExecError when the tool was aborted or took too long.
 */
export async function buildKustomization(
  directory: string,
  options: KustomizeOptions = {},
): Promise<KustomizeResult> {
  for (const [command, args] of tools) {
    let result: RunResult;
    try {
      result = await run(command, [...args, '--', directory], {
        timeoutMs: options.timeoutMs ?? 120_000,
        ...(options.cwd === undefined ? {} : { cwd: options.cwd }),
        ...(options.env === undefined ? {} : { env: options.env }),
        ...(options.signal === undefined ? {} : { signal: options.signal }),
      });
    } catch (error) {
      if (isMissingProgram(error)) continue;
      throw error;
    }
    if (result.code === 0)
      return { ok: true, text: result.stdout, command: [command, ...args].join(' ') };
    const reason = plain(result.stderr) || `exit code ${result.code ?? result.signal}`;
    return {
      ok: false,
      code: 'kustomize-failed',
      message: `${[command, ...args].join(' ')} ${directory} failed: ${reason}`,
    };
  }
  return {
    ok: false,
    code: 'kustomize-missing',
    message: `cannot build ${directory}: neither kubectl nor kustomize is on PATH`,
    hint: 'install one of them, or give the built manifests: kustomize build DIR | podwall … -f -',
  };
}

/** kubectl wraps its message in a log line: `E1122 … "command failed" err="…"`. */
function plain(stderr: string): string {
  const text = stderr.trim();
  const [, quoted] = /^E\d{4} .*"command failed" err=("(?:[^"\\]|\\.)*")$/s.exec(text) ?? [];
  try {
    return quoted === undefined ? text : String(JSON.parse(quoted));
  } catch {
    return text;
  }
}

/** Builds and parses a kustomization. Positions are those in the built text. */
export async function readKustomization(
  directory: string,
  options: KustomizeOptions & { readonly maxBytes?: number } = {},
): Promise<ManifestResult> {
  const built = await buildKustomization(directory, options);
  if (!built.ok) {
    const { code, message, hint } = built;
    return {
      objects: [],
      diagnostics: [
        {
          code,
          severity: 'error',
          message,
          ...(hint === undefined ? {} : { hint }),
          range: { file: directory, start: { line: 1, column: 1 } },
        },
      ],
      skippedDocuments: 0,
    };
  }
  return parseManifests(
    { file: `${directory} (${built.command})`, text: built.text },
    options.maxBytes === undefined ? {} : { maxBytes: options.maxBytes },
  );
}
