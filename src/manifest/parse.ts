/**
 * The parser of manifests with everything it may need at hand. Must not know of file systems or of
 * any kind's fields.
 */
import { readFullYaml } from './full-yaml.ts';
import { parseManifestsWith } from './parse-with.ts';
import type { ManifestInput, ManifestResult, ParseOptions } from './parse-with.ts';

export { defaultMaxBytes, tooLarge } from './parse-with.ts';
export type { ManifestInput, ManifestObject, ManifestResult, ParseOptions } from './parse-with.ts';

/** Parses every document of one input. Lists (`v1 List`, `PodList`, …) are replaced by their items. */
export function parseManifests(input: ManifestInput, options: ParseOptions = {}): ManifestResult {
  return parseManifestsWith(readFullYaml, input, options);
}
