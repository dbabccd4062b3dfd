/** Reachability as JSON, the document itself. */
import type { Format } from './format.ts';

export const json: Format = {
  name: 'json',
  mediaType: 'application/json',
  summary: 'the document, podwall/v1',
  render: (result) => `${JSON.stringify(result, null, 2)}\n`,
};
