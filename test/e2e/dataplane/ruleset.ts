/**
 * The tables of podwall in a kernel as text that compares byte for byte: without what packets and
 * time alone change. Must not know what the rules mean.
 */

/** Sets that packets fill. */
const recorded = /^(a?o[ei][46]x?|oall)$/;

/**
 * Listings (`nft list ruleset`) without other tables, counters, recorded flows, the epoch, and the
 * order in which objects were made. Which of the two table names is in use depends on the past, so it
 * becomes `T`; a second table at the same time is an object more.
 */
export function normalise(listing: string): string {
  const blocks: string[] = [];
  let table: string | undefined;
  let block: string[] | undefined;
  let name = '';
  for (const line of listing.split('\n')) {
    const opened = /^table (\S+ \S+) \{$/.exec(line);
    if (opened !== null) {
      table = /^inet podwall(_b)?$/.test(opened[1] as string) ? 'T' : undefined;
      if (table !== undefined) blocks.push('table');
    }
    if (table === undefined) continue;
    const start = /^\t(set|map|chain) (\S+) \{$/.exec(line);
    if (start !== null) {
      name = start[2] as string;
      block = [line];
    } else if (line === '\t}') {
      if (block !== undefined) blocks.push(sortElements(name, block));
      block = undefined;
    } else block?.push(line);
  }
  return (
    blocks
      .sort()
      .join('\n')
      .replaceAll(/packets \d+ bytes \d+/g, 'packets N')
      .replaceAll(/ct mark set ct mark & 0x[0-9a-f]+ \| 0x[0-9a-f]+/g, 'ct mark set EPOCH')
      // nft prints a mask of upper bits as a prefix.
      .replaceAll(/ct mark (& 0x[0-9a-f]+ == 0x[0-9a-f]+|0x[0-9a-f]+\/\d+)/g, 'ct mark EPOCH')
  );
}

function sortElements(name: string, lines: readonly string[]): string {
  const at = lines.findIndex((line) => line.includes('elements = {'));
  if (at < 0) return lines.join('\n');
  const head = lines.slice(0, at).join('\n');
  if (name === 'epoch') return `${head}\n\t\telements = { EPOCH }`;
  if (recorded.test(name)) return head;
  const elements = lines
    .slice(at)
    .join(' ')
    .replace(/^.*?elements = \{/, '')
    .replace(/\}\s*$/, '')
    .split(',')
    .map((element) => element.trim())
    .sort();
  return `${head}\n\t\telements = { ${elements.join(', ')} }`;
}
