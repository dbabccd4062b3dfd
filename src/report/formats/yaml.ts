/** Reachability as YAML, the same document as JSON. */
import { stringify } from 'yaml';
import type { Format } from './format.ts';

export const yaml: Format = {
  name: 'yaml',
  mediaType: 'application/yaml',
  summary: 'the same document as YAML',
  render: (result) => stringify(result, { aliasDuplicateObjects: false }),
};
