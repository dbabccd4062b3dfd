/** Every output format of reachability, in the order in which help lists them. */
import { csv } from './csv.ts';
import { dot } from './dot.ts';
import type { Format } from './format.ts';
import { html } from './html.ts';
import { json } from './json.ts';
import { matrix } from './matrix.ts';
import { md } from './md.ts';
import { mermaid } from './mermaid.ts';
import { svg } from './svg.ts';
import { table } from './table.ts';
import { yaml } from './yaml.ts';

export type { Format, FormatOptions } from './format.ts';

export const formats: readonly Format[] = [
  table,
  matrix,
  json,
  yaml,
  csv,
  md,
  dot,
  mermaid,
  svg,
  html,
];
